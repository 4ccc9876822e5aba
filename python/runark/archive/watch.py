"""What stops a run besides Ctrl-C: a budget of time, a `STOP` file, a lost lock.

A run looks at them each time it asks how far the engine is, twenty times a second (the files: once a second). First it
stops gently: nothing more is begun, what was begun is finished. What is not finished when the time is over is rolled
back. The next run goes on from there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from runark.archive.control import Control
from runark.archive.timespec import parse_span, parse_time
from runark.engine.protocol import Outcome, Progress
from runark.errors import InvalidArgument

__all__ = ["STOP", "Budget", "Watch", "stop_file"]

STOP = b"STOP"
"""A file of this name in a root's `.runark` stops every run there, and lets none begin."""

_MARGIN = 60.0  # seconds, or a third of the budget if that is less: to finish what was begun
_PATIENCE = 3.0  # seconds to finish what was begun after SIGTERM
_SECOND = 1_000_000_000


class Budget:
    """The time a run has. `ends` is when it is over, by `clock`; None: never."""

    def __init__(self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.began = clock()
        self.ends = None if seconds is None else self.began + seconds
        self.margin = 0.0 if seconds is None else min(_MARGIN, seconds / 3)

    @property
    def closing(self) -> bool:
        """Nothing more is to be begun."""
        return self.ends is not None and self._clock() >= self.ends - self.margin

    @property
    def over(self) -> bool:
        return self.ends is not None and self._clock() >= self.ends

    @property
    def left(self) -> float | None:
        """Seconds until `closing`; None without a budget."""
        return None if self.ends is None else max(0.0, self.ends - self.margin - self._clock())

    @staticmethod
    def of(span: str | None = None, until: str | None = None, job_end: float | None = None) -> Budget:
        """The budget that is over first.

        span     so long from now: `3h`, `90min`
        until    a time of day, the next one: `06:00`; or a date and time
        job_end  seconds since 1970, as a scheduler tells it

        Raises `InvalidArgument`.
        """
        now = time.time()
        ends = [] if job_end is None else [job_end]
        if span is not None:
            ends.append(now + parse_span(span, "--time-budget") / _SECOND)
        if until is not None:
            ends.append(_until(until, now))
        return Budget(max(0.0, min(ends) - now) if ends else None)


def _until(text: str, now: float) -> float:
    try:
        of_day = datetime.strptime(text.strip(), "%H:%M").time()
    except ValueError:
        at = parse_time(text, int(now * _SECOND), "--until") / _SECOND
        if at < now:
            raise InvalidArgument(
                f"--until: {text!r} is over; write a time of day (06:00) or a date and time to come"
            ) from None
        return at
    today = datetime.fromtimestamp(now)
    at_day = datetime.combine(today.date(), of_day)
    at_day = at_day.replace(fold=today.fold)  # a time that comes twice tonight
    return (at_day if at_day > today else at_day + timedelta(days=1)).timestamp()


def stop_file(root: bytes) -> bytes:
    """Where the file is looked for."""
    return os.path.join(root, b".runark", STOP)


class Watch(Control):
    """Hands everything on to another control, and stops when that one stops, or for a reason of its own."""

    def __init__(self, outer: Control, roots: Sequence[bytes] = (), budget: Budget | None = None) -> None:
        super().__init__()
        self._outer, self._budget = outer, budget or Budget()
        self._files = [stop_file(root) for root in roots]
        self._looked = 0.0
        self._heard: float | None = None
        self._check()

    @property
    def stopped(self) -> str:
        self._check()  # also where no engine is asked how far it is, as when records are read
        return self._stopped

    def begin(self, verb: str, jobs: int) -> None:
        self._outer.begin(verb, jobs)

    def outcomes(self, found: Sequence[Outcome]) -> None:
        self._outer.outcomes(found)

    def progress(self, now: Progress) -> None:
        self._outer.progress(now)
        self._check()

    def _check(self) -> None:
        if self._outer.stopped:
            self._follow()
        if self._budget.over:
            self.stop("budget")
        elif self._budget.closing:
            self.stop("budget", gently=True)
        at = time.monotonic()
        if self._files and at - self._looked >= 1:
            self._looked = at
            if any(os.path.lexists(path) for path in self._files):
                self.stop("STOP", gently=True)

    def _follow(self) -> None:
        """Stop as the outer one does; a gentle stop by a signal does not stay gentle for long."""
        now = time.monotonic()
        self._heard = self._heard or now
        gently = self._outer.stopping == "gently" and now - self._heard < _PATIENCE
        self.stop(self._outer.stopped, gently=gently)
