"""A limit on the time a verb may take."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from runark.archive.control import Control

__all__ = ["time_limit"]


@contextmanager
def time_limit(control: Control, seconds: float | None) -> Iterator[None]:
    """Stop the work in the block after so many seconds, as a `budget` does: nothing more is begun. None: no limit."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), control.stop, ("budget",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
