"""Ctrl-C and SIGTERM: the first one asks the work to stop, the second one ends the process at once.

Ending at once is safe too, whenever it comes (docs/durability.md); the next run goes on from there. But what was
begun is then left for it to clear up.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from runark.archive.control import Control

__all__ = ["Signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """While entered, the two signals stop `control`. `number` is the one that came, 0 for none."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self.number = 0

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._heard) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self._control.stop("interrupted")
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_DFL)
        # print() may be what was interrupted, and is not safe to be entered twice.
        os.write(2, b"\nrunark: stopping; what was begun is finished or rolled back (once more: at once)\n")
