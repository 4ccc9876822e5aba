"""How the work on one session ends early: an error, a changed source, a reason to skip, a cancel.

These exceptions never leave the engine. The gate (or the restore, or the verification) of one session catches them and
makes an `Outcome` of them, so that one bad session of a hundred thousand costs only itself.
"""

from __future__ import annotations

import os

from runark.engine.protocol import Fault
from runark.engine.pure.load import Pace

__all__ = ["Cancelled", "Changed", "Control", "Damaged", "Failure", "Foreign", "Skipped", "escape", "failure"]


class Failure(Exception):
    """An operation failed; `fault` says which, on which path, and why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Changed(Exception):
    """The source is not what it was when it was recorded; the text says what differs."""


class Skipped(Exception):
    """The session is not to be archived; the text says why."""


class Cancelled(Exception):
    """The task was cancelled."""


class Damaged(Exception):
    """An archive cannot be accepted: broken, lying or hostile.

    `member` is the member's stored path, if there is one.
    """

    def __init__(self, reason: str, member: bytes | None = None) -> None:
        super().__init__(reason if member is None else f"member '{escape(member)}': {reason}")
        self.member = member


class Foreign(Damaged):
    """The file is not a tar archive at all."""


class Control:
    """The flags and the counters of one worker. Plain attributes: one writer each, read from other threads.

    `stopped`: the task was cancelled. `held`: begin nothing, finish what was begun; what is not begun is the task's.
    `paced`: it may have to wait wherever something is counted.
    """

    __slots__ = ("_pace", "bytes", "entries", "held", "operations", "paced", "stopped")

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace
        self.paced = pace is not None
        self.stopped = False
        self.held = False
        self.bytes = 0
        self.entries = 0
        self.operations = 0

    def stop(self) -> None:
        """Cancel; ends a wait, too."""
        self.stopped = True
        if self._pace is not None:
            self._pace.end()

    def asks(self, count: int) -> None:
        """Count operations that are about to be made; waits if the task is ahead of its limit.

        Called beside the calls themselves, for several of them at once; if nobody has to wait, for a whole session at
        once. A test compares the sum with strace's.
        """
        self.operations += count
        if self._pace is not None:
            self._pace.operations(count)

    def reads(self, count: int) -> None:
        """Wait until so many content bytes of sessions may be read."""
        if self._pace is not None:
            self._pace.bytes(count)

    def check(self) -> None:
        """Raise `Cancelled` if the task was cancelled."""
        if self.stopped:
            raise Cancelled

    def moved(self, count: int) -> None:
        """Count `count` content bytes gone through.

        Called at least every 8 MiB, so it is also where a cancel is seen.
        """
        self.bytes += count
        if self.stopped:
            raise Cancelled


def failure(op: str, path: bytes, cause: OSError, advice: str = "") -> Failure:
    """The `Failure` for a system call `op` on `path` that raised `cause`; `advice` says what to do about it."""
    number = cause.errno or 0
    message = os.strerror(number) if number else str(cause)
    return Failure(Fault(op, path, number, f"{message}; {advice}" if advice else message))


def escape(name: bytes) -> str:
    """`name` as text that is safe on a terminal and in a log.

    Control, bidi and invalid bytes become `\\x..`, `\\u....`.
    """
    text = name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
