"""A batch tool that works in a managed directory: a clean one for every execution, old ones archived.

    python examples/word_count.py --base DIRECTORY [--jobs N] FILE...

Counts the words of each file, N files at a time. The results and the log are in DIRECTORY/count_<time>; the newest
twenty executions stay as they are for ten days, the others become archives beside them. Variables as
COUNT_SESSION_DIR_MAX_SESSION_DIRS and COUNT_SESSION_LOG_LEVEL change that, also from a file `.env`. Exits with 1 if a
file could not be read.
"""

from __future__ import annotations

import argparse
import contextvars
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import runark
from runark.workdir import LogConfig, SessionDir, SessionHandler

log = logging.getLogger("word_count")


def count(file: Path) -> Counter[str]:
    """How often each word is in the file; nothing if it cannot be read, which is logged."""
    try:
        words = file.read_text(encoding="utf-8", errors="replace").split()
    except OSError as error:
        log.error("%s: %s", file, error.strerror)
        return Counter()
    log.info("%s: %d words", file, len(words))
    return Counter(words)


def told(path: Path, error: Exception | None) -> None:
    """Say where the results are."""
    print(f"{path}: {'done' if error is None else error}")


def handler(base: Path) -> SessionHandler:
    """Sessions of this tool."""
    return SessionHandler(
        SessionDir(base, prefix="count_", env_prefix="COUNT_", env_file=".env"),
        LogConfig(env_prefix="COUNT_", env_file=".env", default_file_path="logs/count.log", default_level="info"),
        change_directory=False,  # the files may be named relative to where we are
        on_session_exit=told,
        on_before_prune=runark.archive_sessions,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Count words.")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    with handler(given.base).session_context() as session, ThreadPoolExecutor(given.jobs) as pool:
        # Threads have a context of their own: with a copy of this one their records are this session's.
        counted = [pool.submit(contextvars.copy_context().run, count, file) for file in given.files]
        total = sum((one.result() for one in counted), Counter[str]())
        (session.path / "words.json").write_text(json.dumps(total, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0 if all(file.is_file() for file in given.files) else 1


if __name__ == "__main__":
    sys.exit(main())
