"""Ctrl-C and SIGTERM: the first asks the work to stop, the second ends the process at once. SIGUSR1: how far it is.

Ending at once is safe too, whenever it comes (docs/durability.md); the next run goes on from there. But what was
begun is then left for it to clear up.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from runark.archive.control import Control

__all__ = ["Signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """While entered, the two signals stop `control`. `number` is the one that came, 0 for none."""

    def __init__(self, control: Control, status: Callable[[], str], *, budget: bool = False) -> None:
        """`status`: how far it is, in a line. `budget`: SIGTERM ends the time the work has, so what was begun is
        finished if that takes but a moment, and the command ends as by a budget."""
        self._control, self._status, self._budget = control, status, budget
        self.number = 0

    def __enter__(self) -> Signals:
        self._before: dict[signal.Signals, Any] = {n: signal.signal(n, self._heard) for n in _SIGNALS}
        self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if self._budget and number == signal.SIGTERM:
            self._control.stop("terminated", gently=True)
        else:
            self.number = number
            self._control.stop("interrupted")
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_DFL)
        # print() may be what was interrupted, and is not safe to be entered twice.
        os.write(2, b"\nrunark: stopping; what was begun is finished or rolled back (once more: at once)\n")

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        os.write(2, f"\n{self._status()}\n".encode())
