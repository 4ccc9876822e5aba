"""The installed command, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from support.trees import PathLike

__all__ = ["Done", "clean_environment", "executable", "runark"]


class Done(NamedTuple):
    """What a command has answered."""

    code: int
    out: bytes
    err: bytes

    def json(self) -> Any:
        """stdout as the one JSON document it must be."""
        return json.loads(self.out)

    def ok(self) -> Done:
        """Itself; fails if the command has."""
        return self.expect(0)

    def expect(self, code: int) -> Done:
        """Itself; fails unless the command ended with this code, and if it showed a traceback."""
        said = f"\nstdout: {self.out.decode(errors='replace')}\nstderr: {self.err.decode(errors='replace')}"
        assert b"Traceback" not in self.err, f"a traceback{said}"
        assert self.code == code, f"exit code {self.code}, expected {code}{said}"
        return self


def executable() -> str:
    """The `runark` beside the interpreter that runs the tests."""
    path = Path(sys.executable).parent / "runark"
    assert path.exists(), f"{path} is missing: install runark into this environment with `pip install -e .[dev]`"
    return str(path)


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what chooses an engine or changes output."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RUNARK", "_RUNARK"))}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}


def runark(*words: PathLike | int | float, cwd: PathLike | None = None, data: bytes = b"", **env: str) -> Done:
    """Run `runark` with these words to its end. Further keywords are environment variables."""
    command = [
        os.fsencode(executable()),
        *(os.fsencode(w) if not isinstance(w, int | float) else b"%r" % w for w in words),
    ]
    done = subprocess.run(
        command, cwd=cwd, input=data, capture_output=True, env=clean_environment(**env), check=False, timeout=180
    )
    return Done(done.returncode, done.stdout, done.stderr)


def module() -> list[str]:
    """The same as a module of this interpreter."""
    return [sys.executable, "-m", "runark"]
