"""What a session's record says about where it comes from: machine, process, command line, code, scheduler."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from runark.record import boot_id, pid_namespace, process_start
from runark.session.capture import above

__all__ = ["Git", "process"]

_SCHEDULERS = (
    "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_STEP_ID", "SLURM_NTASKS",
    "SLURM_JOB_PARTITION", "SLURM_RESTART_COUNT", "PBS_JOBID", "PBS_ARRAY_INDEX", "LSB_JOBID", "LSB_JOBINDEX", "JOB_ID",
    "SGE_TASK_ID", "FLUX_JOB_ID", "OAR_JOB_ID", "CONDOR_JOB_ID",
)  # fmt: skip
_PATIENCE = 2.0  # seconds for git, at a start


def process() -> dict[str, Any]:
    """Host, process and command. `runark.record` tells from the first five whether it still runs."""
    return {
        "HOST": os.uname().nodename,
        "PID": os.getpid(),
        "PROCESS_START": process_start(os.getpid()),
        "BOOT_ID": boot_id(),
        "PID_NAMESPACE": pid_namespace(),
        "USER": _user(),
        "ARGV": list(sys.orig_argv),
        "CWD": _cwd(),
        "PYTHON": f"{sys.version.split()[0]} {sys.executable}",
        "SCHEDULER": {name: os.environ[name] for name in _SCHEDULERS if name in os.environ},
    }


def _user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):  # a container whose user has no name
        return str(os.geteuid())


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # removed under the script
        return None


class Git:
    """The commit of the script's repository and whether tracked files differ from it: `git status`, in the background.

    Never waits longer than two seconds, never writes to the repository. Where git or a repository is missing, None.
    """

    def __init__(self, script: Path | None) -> None:
        self._pid = 0
        directory = script.parent if script is not None else Path(_cwd() or "/")
        if not any(os.path.lexists(above / ".git") for above in (directory, *directory.parents)):
            return
        self._output, theirs = map(above, os.pipe())
        try:
            self._pid = os.posix_spawnp(
                "git",
                ["git", "--no-optional-locks", "-C", os.fspath(directory), "status", "--porcelain=v2", "--branch",
                 "--untracked-files=no"],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, theirs, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
            )  # fmt: skip
        except OSError:  # no git here
            os.close(self._output)
        finally:
            os.close(theirs)

    def result(self) -> dict[str, Any]:
        """`GIT_COMMIT` and `GIT_DIRTY`."""
        if not self._pid:
            return {"GIT_COMMIT": None, "GIT_DIRTY": None}
        output, until, ended = b"", time.monotonic() + _PATIENCE, False
        while not ended and (left := until - time.monotonic()) > 0:
            if select.select([self._output], [], [], left)[0]:
                chunk = os.read(self._output, 1 << 16)
                output += chunk
                ended = not chunk
        os.close(self._output)
        if not ended:
            os.kill(self._pid, signal.SIGKILL)
        try:
            status = os.waitpid(self._pid, 0)[1]
        except ChildProcessError:
            status = 0 if ended else 1
        self._pid = 0
        if status:
            return {"GIT_COMMIT": None, "GIT_DIRTY": None}
        lines = output.decode("utf-8", "replace").splitlines()
        commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), None)
        return {
            "GIT_COMMIT": None if commit == "(initial)" else commit,
            "GIT_DIRTY": any(not line.startswith("#") for line in lines),
        }
