"""Where a session lives: its script, its name, its directory and where that goes at the end.

    <script without .py>_out/RUNNING/<ID>[-suffix]/
                             FINISHED/ FINISHED_SUCCESS/ FINISHED_ERROR/

The ID is the local time and four letters or digits of the system's randomness. The directory is made exclusively, and
made again under another ID if that one has been used, also by a session that has ended or has been archived since.
"""

from __future__ import annotations

import errno
import os
import random
import string
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from runark import env_vars
from runark.errors import InvalidArgument, NotADirectory, OperationFailed, TargetExists
from runark.names import escape

__all__ = [
    "FINISHED",
    "FINISHED_ERROR",
    "FINISHED_SUCCESS",
    "NO_SCRIPT",
    "RUNNING",
    "Place",
    "calling_script",
    "final_directory",
    "make_place",
    "named_script",
    "new_id",
    "out_directory",
    "script_of",
    "shown",
    "state_of",
]

RUNNING, FINISHED = "RUNNING", "FINISHED"
FINISHED_SUCCESS, FINISHED_ERROR = "FINISHED_SUCCESS", "FINISHED_ERROR"
NO_SCRIPT = "session"
"""What stands for the script's name where there is none: a REPL, `python -c`, a notebook that does not tell its own."""

_LETTERS = string.ascii_letters + string.digits
_ARCHIVES = ("", ".tar", ".tar.gz", ".tar.xz", ".tar.zst")
_RECORD = "CONFIGS/CONFIG.yaml"
_system_random = random.SystemRandom()


class Place(NamedTuple):
    """A session directory that has been made."""

    id: str
    run: Path
    """The directory."""
    out: Path
    """`<script>_out`, or what holds a directory the caller chose."""


def shown(path: os.PathLike[str] | str | bytes) -> str:
    """A path for a message."""
    return escape(os.fsencode(path))


# ------------------------------------------------------------------------------------------- the script


def script_of(filename: str) -> Path | None:
    """The script a code object comes from; None for a REPL, `-c` and the cells of a notebook."""
    if filename.startswith("<") or not os.path.isfile(filename):
        return notebook()
    return Path(os.path.realpath(filename))


def named_script(file: os.PathLike[str] | str) -> Path:
    """The script somebody names, whether it exists or not."""
    return Path(os.path.realpath(file))


def calling_script() -> Path | None:
    """The script whose code called runark."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "runark":
        frame = frame.f_back
    return script_of(frame.f_code.co_filename) if frame is not None else None


def notebook() -> Path | None:
    """The notebook this kernel runs, if its server tells."""
    name = os.environ.get("JPY_SESSION_NAME", "") if in_notebook() else ""
    return Path(os.path.abspath(name)) if name.endswith(".ipynb") else None


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    kernel = sys.modules.get("ipykernel")
    shell = sys.modules.get("IPython")
    return kernel is not None and shell is not None and shell.get_ipython() is not None


def out_directory(script: Path | None) -> Path:
    """`<script without its extension>_out`: beside the script, or in RUNARK_OUT_DIR."""
    stem = script.stem if script is not None else NO_SCRIPT
    base = os.environ.get(env_vars.OUT_DIR) or (script.parent if script is not None else Path.cwd())
    return Path(os.path.abspath(base)) / f"{stem}_out"


# --------------------------------------------------------------------------------------------- the name


def new_id(debug: bool = False) -> str:
    """`2026Y-02M-13D-14h30m15s_Z5MR`, with `DEBUG_` in front in debug mode."""
    now = time.strftime("%YY-%mM-%dD-%Hh%Mm%Ss")
    return f"{'DEBUG_' if debug else ''}{now}_{''.join(_system_random.choices(_LETTERS, k=4))}"


def check_suffix(suffix: str | None) -> str:
    """`-suffix`, or nothing. Raises `InvalidArgument` for one that cannot be part of a name."""
    if not suffix:
        return ""
    if "/" in suffix or "\0" in suffix or len(os.fsencode(suffix)) > 180:
        raise InvalidArgument(f"sdir_suffix {suffix[:200]!r} cannot be part of a name: no '/', at most 180 bytes")
    return f"-{suffix}"


# ---------------------------------------------------------------------------------------- the directory


def make_place(script: Path | None, sdir: os.PathLike[str] | str | None, suffix: str | None, debug: bool) -> Place:
    """Makes the directory of a new session.

    Raises `InvalidArgument`, `TargetExists` (`sdir` holds a session already), `NotADirectory`, `OperationFailed`.
    """
    tail = check_suffix(suffix)
    try:
        if sdir is not None:
            return _make_chosen(sdir, tail, new_id(debug))
        out = out_directory(script)
        while True:
            name = new_id(debug)
            run = out / RUNNING / f"{name}{tail}"
            if _make_new(run) and not _was_used(out, run.name):
                return Place(name, run, out)
    except TargetExists:
        raise
    except (NotADirectoryError, FileExistsError) as error:
        raise NotADirectory(f"{shown(error.filename)}: not a directory; move it out of the way") from error
    except OSError as error:
        raise OperationFailed(
            f"{shown(error.filename)}: cannot make the session's directory: {error.strerror};"
            f" {env_vars.OUT_DIR}=<directory> makes it elsewhere"
        ) from error


def _make_new(run: Path) -> bool:
    """False if there is one already. Whoever tidies up may remove the directory above at any moment."""
    for _ in range(1000):
        try:
            os.mkdir(run)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:
            os.makedirs(run.parent, exist_ok=True)
    raise OSError(errno.ENOENT, "somebody keeps removing it", os.fspath(run.parent))


def _was_used(out: Path, name: str) -> bool:
    """Whether a session that has ended has that name. If so, the new directory is taken back."""
    used = any(
        os.path.lexists(out / state / f"{name}{archive}")
        for state in (FINISHED, FINISHED_SUCCESS, FINISHED_ERROR)
        for archive in _ARCHIVES
    )
    if used:
        os.rmdir(out / RUNNING / name)
    return used


def _make_chosen(sdir: os.PathLike[str] | str, tail: str, name: str) -> Place:
    text = os.fspath(sdir)
    run = Path(os.path.abspath(text.rstrip("/") + tail if text.strip("/") else text))
    record = run / _RECORD
    os.makedirs(record.parent, exist_ok=True)
    if not _make_file(record):
        raise TargetExists(f"{shown(run)} holds a session already; name another sdir, or rename that one")
    out = run.parent.parent if state_of(run) == RUNNING else run.parent
    return Place(name, run, out)


def _make_file(path: Path) -> bool:
    """False if somebody was quicker."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except FileExistsError:
        return False
    return True


def state_of(run: Path) -> str | None:
    """`RUNNING`, `FINISHED*`: the directory a session lies in. None if it is in none of them."""
    name = run.parent.name
    return name if name in (RUNNING, FINISHED, FINISHED_SUCCESS, FINISHED_ERROR) else None


def final_directory(run: Path, status: int | None) -> Path:
    """Where a session in RUNNING/ goes with this exit status; one elsewhere stays. Nothing else of the path changes."""
    if state_of(run) != RUNNING:
        return run
    state = FINISHED if status is None else FINISHED_ERROR if status else FINISHED_SUCCESS
    return run.parent.parent / state / run.name
