"""One logical run, one session: children of a session and the ranks of a parallel program join it.

A running session sets RUNARK_SESSION to its directory, so whatever it starts finds it. Ranks have no common parent:
rank 0 leaves the name of its session in `RUNNING/.rank0-<job>`, where the others wait for it. `<job>` is made from what
the launcher tells every rank alike. The note goes when the session ends if nobody tells how many ranks there are; else
it stays, as a slower rank may still come, and the next parallel session there removes those older than a day.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

from runark import env_vars
from runark.errors import OperationFailed
from runark.record import Life, life, process_start
from runark.session.directory import FINISHED, FINISHED_ERROR, FINISHED_SUCCESS, RUNNING, shown

__all__ = ["Parallel", "announce", "parallel", "parent_session", "wait_for_rank_0"]

PATIENCE = 60.0
"""Seconds a rank waits for rank 0 to start its session."""

# Launchers closest to the program first: under `mpirun` or `torchrun` in a SLURM job every rank sees SLURM_PROCID=0.
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MPI_RANK", "RANK", "SLURM_PROCID")
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_SIZE", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
_JOBS = (
    ("PMIX_NAMESPACE",),
    ("OMPI_MCA_ess_base_jobid",),
    ("PMI_JOBID",),
    ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"),
    ("MASTER_ADDR", "MASTER_PORT"),
    ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
)
_NOTE = ".rank0-"
_OLD = 86_400.0


class Parallel(NamedTuple):
    """This process's part in a parallel program."""

    rank: int
    size: int | None
    """How many there are; None if nobody tells."""
    job: str
    """The same for each of its ranks, different for any other program."""


def parallel() -> Parallel | None:
    """None for a program of one process."""
    for name in _RANKS:
        if (rank := _number(name)) is not None and (name != "RANK" or "WORLD_SIZE" in os.environ):
            size = next((size for other in _SIZES if (size := _number(other)) is not None), None)
            return None if rank == 0 and size == 1 else Parallel(rank, size, _job())
    return None


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None


def _job() -> str:
    import hashlib

    for names in _JOBS:
        if os.environ.get(names[0]):
            text = "/".join(os.environ.get(name, "") for name in names)
            break
    else:  # started by one launcher on one machine
        text = f"{os.uname().nodename}/{os.getppid()}/{process_start(os.getppid())}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def parent_session() -> Path | None:
    """The session whose child this process is, if it still runs."""
    text = os.environ.get(env_vars.SESSION, "")
    if not text or text == "new":
        return None
    run = Path(text)
    return run if run.is_dir() and life(os.fsencode(run)) is not Life.OVER else None


def announce(out: Path, run: Path, job: str) -> Path:
    """Rank 0: tells the others where. Gives the note. Raises `OperationFailed`."""
    directory = out / RUNNING
    note = directory / f"{_NOTE}{job}"
    part = note.with_name(f"{note.name}.{os.getpid()}")
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(_NOTE) and time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD:
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)
        part.write_text(run.name)
        os.replace(part, note)
        return note
    except OSError as error:
        raise OperationFailed(f"{shown(note)}: cannot tell the other ranks: {error.strerror}") from error


def wait_for_rank_0(out: Path, job: str) -> Path:
    """The session of rank 0. Raises `OperationFailed` if none is there after a minute."""
    note = out / RUNNING / f"{_NOTE}{job}"
    until = time.monotonic() + PATIENCE
    pause = 0.002
    while True:
        with contextlib.suppress(OSError):
            name = note.read_text()
            for state in (RUNNING, FINISHED_SUCCESS, FINISHED_ERROR, FINISHED):
                if (out / state / name).is_dir():
                    return out / state / name
        if time.monotonic() > until:
            raise OperationFailed(
                f"{shown(note)}: rank 0 has started no session for {PATIENCE:.0f} s;"
                f" {env_vars.SESSION}=new gives this rank one of its own"
            )
        time.sleep(pause)
        pause = min(pause * 2, 0.25)
