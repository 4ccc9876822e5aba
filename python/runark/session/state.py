"""The session this process is in, for whoever asks: `runark.io`, nested starts, forked children.

A process is in at most one session, as standard output is. A forked child finds the session of its parent here and is
`attached` to it: it uses the directory and ends nothing.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from runark.session.config import SessionConfig
from runark.session.directory import calling_script, out_directory

if TYPE_CHECKING:
    from runark.session.lifecycle import Resources

__all__ = ["Session", "current", "enter", "leave", "script_out"]


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first goes on while the machine sleeps


@dataclass(eq=False)
class Session:
    """A session as one process sees it."""

    config: SessionConfig
    directory: Path
    pid: int
    """The process that started or attached to it."""
    script: Path | None
    owner: str
    """`start` or `decorator`: who is going to end it."""
    attached: bool
    """It belongs to another process, which ends it."""
    resources: Resources
    """What has to be put back at the end."""
    id: str
    started: datetime
    """With the ID, what must not depend on what the script does to CONFIG."""
    archive_format: str | None = None
    state: str = "new"
    """Then `running`, `closing`, `closed`; `unfinished` if its end failed, which can be tried again."""
    outer: Session | None = None
    """The session this process was in before it joined this one: a nested call."""
    status: int | None = None
    """As it was recorded at the end."""
    clock: float = field(default_factory=lambda: time.clock_gettime(_CLOCK))
    """When it started, in seconds of a clock that nobody sets."""

    @property
    def runtime(self) -> timedelta:
        """For how long it has run, whatever became of the time of day."""
        return timedelta(seconds=time.clock_gettime(_CLOCK) - self.clock)

    @property
    def is_mine(self) -> bool:
        """Whether this very process ends it: not a child that was forked from it, not one that is attached."""
        return self.pid == os.getpid() and not self.attached


_current: Session | None = None


def current() -> Session | None:
    """The session this process is in."""
    return _current


def enter(session: Session) -> None:
    global _current
    _current = session


def leave(session: Session) -> None:
    global _current
    if _current is session:
        _current = session.outer


def script_out() -> Path | None:
    """`<script>_out` of the script that is calling; None for a REPL or a notebook without a name."""
    script = calling_script()
    return out_directory(script) if script is not None else None
