"""How far the work is: a bar on a terminal, else a plain line now and then, nothing if quiet. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from runark.engine.protocol import Progress
from runark.report.units import human_bytes, human_seconds

__all__ = ["Display"]

PLAIN_EVERY = 30.0
"""Seconds between two lines where stderr is no terminal: enough to see that it lives, little enough for a job's log."""
_BAR_EVERY = 0.1


class Display:
    """Shows the progress of one verb after the other. `begin`, `progress` are made for `Control`; `close` at the
    end."""

    def __init__(self, quiet: bool, unit: str = "sessions", clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._unit, self._clock = quiet, unit, clock
        self._terminal = not quiet and sys.stderr.isatty()
        self._bar: Any = None
        self._verb, self._total = "", 0
        self._began = self._told = clock()
        self._last = Progress(0, 0, 0, 0)

    def begin(self, verb: str, jobs: int) -> None:
        """A verb begins; `jobs` is 0 if nobody knows how many."""
        self.close()
        self._verb, self._total = verb, jobs
        self._began = self._told = self._clock()
        self._last = Progress(0, 0, 0, 0)

    def progress(self, now: Progress) -> None:
        """The counters as they stand."""
        self._last = now
        if self._quiet:
            return
        at = self._clock()
        if self._terminal:
            if at - self._told >= _BAR_EVERY:
                self._told = at
                self._draw(now)
        elif at - self._told >= PLAIN_EVERY:
            self._told = at
            print(self._line(now, at - self._began), file=sys.stderr, flush=True)

    def status(self) -> str:
        """How far the work is, in a line."""
        if not self._verb:
            return "runark: nothing is begun yet"
        return self._line(self._last, self._clock() - self._began)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, now: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # its thread watches for slow loops; this one draws by the clock
            self._bar = tqdm(
                total=self._total or None,
                desc=self._verb,
                unit=f" {self._unit}",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
                miniters=0,
                mininterval=0,
            )
        self._bar.set_postfix_str(human_bytes(now.bytes), refresh=False)
        self._bar.n = now.done
        self._bar.refresh()

    def _line(self, now: Progress, seconds: float) -> str:
        rate = now.done / seconds if seconds > 0 else 0.0
        done = f"{now.done:,} of {self._total:,}" if self._total else f"{now.done:,}"
        line = f"runark: {self._verb}: {done} {self._unit}, {human_bytes(now.bytes)}, {rate:,.0f} {self._unit}/s"
        if self._total and rate > 0 and now.done <= self._total:
            line += f", {human_seconds((self._total - now.done) / rate)} left"
        return line
