"""Sessions of `runark.workdir` for tests: ended, aged, killed, held by another process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from runark.record import MARKER
from runark.workdir import SessionDir
from support.apart import child_environment

__all__ = ["MARK", "aged", "ended", "held", "killed", "talking"]

MARK = os.fsdecode(MARKER)


def ended(base: Path, count: int = 1, prefix: str | None = None) -> list[Path]:
    """Sessions that have ended, the oldest first; each holds a file."""
    made = []
    for _ in range(count):
        with SessionDir(base, prefix=prefix).create() as session:
            (session.path / "result.txt").write_text("42")
        made.append(session.path)
    return made


def aged(session: Path, days: float) -> Path:
    """The session, as if it had run and ended so many days ago."""
    then = (datetime.now(timezone.utc) - timedelta(days=days)).isoformat()
    marker = session / MARK
    marker.write_text(re.sub(r'(START|END)_DATETIME: "[^"]*"', rf'\1_DATETIME: "{then}"', marker.read_text()))
    return session


def killed(base: Path) -> Path:
    """A session whose process was killed."""
    with held(base) as path:
        return path


def talking(code: str) -> subprocess.Popen[str]:
    """A process of this interpreter, with pipes to and from it."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
    )


@contextmanager
def held(base: Path) -> Iterator[Path]:
    """A session of another process, which is killed at the end."""
    code = (
        "import sys; from runark.workdir import SessionDir\n"
        f"session = SessionDir({os.fspath(base)!r}).create(); print(session.path, flush=True); sys.stdin.read()"
    )
    process = talking(code)
    assert process.stdout is not None and process.stdin is not None
    try:
        yield Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
