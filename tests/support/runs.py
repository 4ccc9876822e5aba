"""Scripts run as real processes, and the sessions they leave."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runark.session.yaml_config import load_yaml

__all__ = ["Run", "Runner", "clean_environment", "decorated"]

TIMEOUT = 120


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what sessions, schedulers and test runners put there."""
    unwanted = ("RUNARK_", "PYTHONUNBUFFERED", "SLURM_", "PMI", "OMPI_", "MPI_", "PYTEST_", "JPY_", "MPLBACKEND")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    return {**kept, **more}


def decorated(body: str, parameters: str = "") -> str:
    """A script whose decorated function `main` has this body."""
    inner = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    call = 'if __name__ == "__main__":\n    main()\n'
    return f"import runark as stx\n\n@stx.session\ndef main({parameters}):\n{inner}\n\n{call}"


@dataclass
class Run:
    """A process that has ended, and the sessions below its script's `_out`."""

    code: int
    stdout: str
    stderr: str
    out: Path

    @property
    def sessions(self) -> list[Path]:
        return sorted(path.parent.parent for path in self.out.glob("*/*/CONFIGS/CONFIG.yaml"))

    @property
    def session(self) -> Path:
        (only,) = self.sessions
        return only

    @property
    def state(self) -> str:
        return self.session.parent.name

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = load_yaml(self.session / "CONFIGS" / "CONFIG.yaml")
        return found

    @property
    def pickled(self) -> dict[str, Any]:
        found: dict[str, Any] = pickle.loads((self.session / "CONFIGS" / "CONFIG.pkl").read_bytes())
        return found

    def log(self, name: str = "stdout") -> str:
        return (self.session / "logs" / f"{name}.log").read_text()


class Runner:
    """Writes scripts below a directory and runs them there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, text: str, name: str = "job.py") -> Path:
        path = self.directory / name
        text = textwrap.dedent(text)
        # An earlier process may be about to read it: never empty, not even for a moment.
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        return path

    def command(self, name: str, *arguments: str) -> list[str]:
        return [sys.executable, name, *arguments]

    def begin(
        self, text: str, *arguments: str, name: str = "job.py", env: dict[str, str] | None = None, **more: Any
    ) -> subprocess.Popen[str]:
        self.write(text, name)
        settings: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(
            self.command(name, *arguments),
            cwd=self.directory,
            env=clean_environment(**(env or {})),
            text=True,
            **{**settings, **more},
        )

    def end(self, process: subprocess.Popen[str], name: str = "job.py") -> Run:
        stdout, stderr = process.communicate(timeout=TIMEOUT)
        return Run(process.returncode, stdout or "", stderr or "", self.directory / f"{Path(name).stem}_out")

    def __call__(self, text: str, *arguments: str, name: str = "job.py", **more: Any) -> Run:
        return self.end(self.begin(text, *arguments, name=name, **more), name)
