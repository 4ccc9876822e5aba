"""Every exit code of the command, and what leads to it (docs/cli.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runark.errors import CapReached, InvalidArgument, NotADirectory, RootLocked, RunarkError, SourceMissing, UnsafePath

if TYPE_CHECKING:  # a command imports what it does, not what the others do
    from runark.archive.nightly import Night
    from runark.archive.result import Result

__all__ = [
    "CAP",
    "FATAL",
    "LOCKED",
    "NO_ROOT",
    "OK",
    "PARTIAL",
    "SIGNALLED",
    "USAGE",
    "WORK_LEFT",
    "of_error",
    "of_night",
    "of_result",
]

OK = 0
FATAL = 1
"""Nothing more could be done: the disk, the engine, a codec."""
USAGE = 2
"""A wrong option or value, a broken runark.yaml, a path that is refused. Nothing was touched."""
PARTIAL = 3
"""Done, but some sessions or archives failed, changed, are damaged or could not be read."""
CAP = 4
"""A safety cap (--max-failures, --max-remove, ...) was hit; nothing further was removed."""
NO_ROOT = 10
"""A path given does not exist, or is not a directory where one is needed."""
LOCKED = 11
"""Another run holds the root."""
WORK_LEFT = 75
"""Stopped by a budget (--max-sessions, --max-duration, time, a STOP file), work is left: run again."""
SIGNALLED = 128
"""Plus the signal's number: 130 after Ctrl-C, 143 after SIGTERM; what was begun is finished or rolled back."""


def of_error(error: RunarkError) -> int:
    """The code for an exception that ended the command."""
    if isinstance(error, (SourceMissing, NotADirectory)):
        return NO_ROOT
    if isinstance(error, RootLocked):
        return LOCKED
    if isinstance(error, CapReached):
        return CAP
    if isinstance(error, (InvalidArgument, UnsafePath)):
        return USAGE
    return FATAL


def of_result(result: Result) -> int:
    """The code for a run that went to its end or was stopped by a budget or a cap."""
    if result.stopped == "cap":
        return CAP
    if result.stopped == "lock":
        return LOCKED
    if result.problems or result.faults:
        return PARTIAL
    return WORK_LEFT if result.stopped else OK


_GRAVEST = (CAP, FATAL, USAGE, NO_ROOT, LOCKED, PARTIAL, WORK_LEFT, OK)


def of_night(night: Night) -> int:
    """The gravest of the codes of its roots."""
    codes = {LOCKED if night.stopped == "lock" else WORK_LEFT if night.stopped else OK}
    for root in night.roots:
        codes.update(map(of_result, root.parts))
        if root.error is not None:
            codes.add(of_error(root.error))
        elif root.plan is not None and root.plan.faults:
            codes.add(PARTIAL)
    return next(code for code in _GRAVEST if code in codes)
