"""Signals that end a session: they become exceptions in the main thread, so that a session ends with its true status.

SIGTERM and SIGHUP raise `Terminated`, an exit with 128 plus the number; SIGINT stays Python's KeyboardInterrupt. A
signal that was ignored (nohup) stays ignored. A handler the script has installed before goes first, and what it does
stands: if it returns, the script goes on. Forked children take what they would have taken without a session; as Python
forgets signals that reach a child in its first moment, these are blocked until the child has its own handlers.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Signals", "Terminated"]

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], Any]


class Terminated(SystemExit):
    """The session was told to end by a signal. Like any exit it passes `except Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = number


class Signals:
    """The handlers of a session, from its start to its end. In a thread that is not the main one none is installed."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._pid = os.getpid()
        self._finishing = False
        self._late: list[int] = []
        self._over = False
        self.raised: int | None = None
        """The signal that came as `Terminated`."""

    def install(self) -> None:
        global _installed
        if _in_main_thread():
            _watch_forks()
            _installed = self
            for number in _ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)

    def hold(self) -> None:
        """The session is being finished: what comes now waits. A second one ends the process at once."""
        self._finishing, self._over = True, False
        if _in_main_thread() and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._handle)

    def put_back(self) -> None:
        """As it was; what has waited comes now."""
        global _installed
        if _installed is self:
            _installed = None
        self._over = True
        if _in_main_thread():  # else the handlers step aside when they are called
            self._restore()
        late, self._late = self._late, []
        for number in late:
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, before if before is not None else signal.SIG_DFL)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        before = self._before.get(number)
        if self._over or os.getpid() != self._pid:
            signal.signal(number, before if before is not None else signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self._finishing:
            if self._late:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            self._late.append(number)
            return
        if callable(before):
            before(number, frame)
            return
        self.raised = number
        raise Terminated(number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


_installed: Signals | None = None
_forking = threading.local()
_watching = False


def _watch_forks() -> None:
    global _watching
    if not _watching:
        _watching = True
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def _before_fork() -> None:
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING) if _installed is not None else None


def _after_fork() -> None:
    mask = getattr(_forking, "mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    global _installed
    if _installed is not None:
        _installed._restore()
        _installed = None
    _after_fork()
