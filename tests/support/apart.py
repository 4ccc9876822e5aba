"""Run an engine in a process of its own: with fewer rights, or to be killed.

`python -m support.apart` reads one pickled request from stdin and writes the pickled answer to stdout.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["call", "child_environment", "run", "start"]

_TESTS = Path(__file__).resolve().parents[1]


def child_environment() -> dict[str, str]:
    """An environment in which a child finds the tests and the same runark."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS), *(p for p in sys.path if p)])}


def start(
    engine: str, verb: str, arguments: Sequence[Any], options: dict[str, Any], prefix: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start the process in a session of its own, the request already given. `verb` is a function of `support.drive`."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "support.apart"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(),
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps((engine, verb, list(arguments), options)))
    process.stdin.close()
    process.stdin = None
    return process


def call(engine: str, verb: str, *arguments: Any, prefix: Sequence[str] = (), **options: Any) -> Any:
    """Run it to its end and give its answer."""
    process = start(engine, verb, arguments, options, prefix)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode(errors="replace")
    return pickle.loads(out)


def run(code: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end."""
    command = [*prefix, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done


def _main() -> None:
    from runark import engine as engines
    from support import drive

    name, verb, arguments, options = pickle.loads(sys.stdin.buffer.read())
    answer = getattr(drive, verb)(engines.load(name), *arguments, **options)
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    _main()
