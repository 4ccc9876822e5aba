"""Which session a log record belongs to, and how it gets there.

While sessions log, the root logger (or the one a `LogConfig` names) has one more handler, the `_Tap`. It gives a record
to the session of the context in which it was made (`contextvars`): of the thread that entered the session, of the
asyncio task, and of what runs in a copy of its context (tasks begun there, `asyncio.to_thread`). Threads have a context
of their own; records of a thread without a session go to the session that has the process's working directory, if one
has: that is the process's session. Never to another one.

What the tap must not change: a record outside of any session goes where it would have gone without it, the last resort
of `logging` included. Handlers of others are never touched. A logger's level is: nobody could log at `info` while the
root logger holds back what is below `warning`. While a session runs whose level is lower than the logger's, the logger
has that level; at the end it has its own back.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from runark.names import escape
from runark.workdir.log_config import LogConfig
from runark.workdir.messages import log

__all__ = ["logging_to"]


class _Sink:
    """Where one session's records go."""

    def __init__(self, logger_name: str, level: int, handlers: list[logging.Handler], whole_process: bool) -> None:
        self.logger_name = logger_name
        self.level = level
        self.handlers = handlers
        self.whole_process = whole_process
        self.outer = _innermost()
        self.open = True


_current: ContextVar[_Sink | None] = ContextVar("runark.workdir.sink", default=None)
_lock = threading.RLock()
_taps: dict[str, _Tap] = {}
# A child made by fork must not find it taken by a thread that it has not.
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def _innermost() -> _Sink | None:
    """The session of this context; of several the one that was entered last and has not ended."""
    sink = _current.get()
    while sink is not None and not sink.open:
        sink = sink.outer
    return sink


class _Tap(logging.Handler):
    """The handler of one logger; there while sessions have it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._logger = logging.getLogger(name or None)
        self._sinks: tuple[_Sink, ...] = ()
        self._before = self._set = self._logger.level

    def add(self, sink: _Sink) -> None:
        if not self._sinks:
            self._before = self._set = self._logger.level
        self._logger.addHandler(self)  # again: `dictConfig` may have removed it
        self._sinks = (*self._sinks, sink)

    def remove(self, sink: _Sink) -> bool:
        """Whether none is left."""
        self._sinks = tuple(other for other in self._sinks if other is not sink)
        if self._sinks:
            return False
        self._logger.removeHandler(self)
        return True

    def adjust(self) -> None:
        """Let through what the lowest session wants. A level somebody else has set meanwhile is the logger's own."""
        if self._logger.level != self._set:
            self._before = self._logger.level
        wanted = min((sink.level for sink in self._sinks), default=self._before)
        self._set = wanted if wanted < _effective(self._logger, self._before) else self._before
        if self._logger.level != self._set:
            self._logger.setLevel(self._set)

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock of `logging.Handler`: sessions have handlers of their own and do not wait for each other."""
        sink = self._sink()
        if sink is None or sink not in self._sinks:
            self._last_resort(record, sink)
            return True
        for handler in sink.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
        return True

    def _sink(self) -> _Sink | None:
        return _innermost() or next((sink for sink in reversed(self._sinks) if sink.whole_process), None)

    def _last_resort(self, record: logging.LogRecord, sink: _Sink | None) -> None:
        """What `logging` does with a record that no handler takes; our being there must not be taken for one."""
        last = logging.lastResort
        if last is None or record.levelno < last.level:
            return
        logger: logging.Logger | None = logging.getLogger(record.name)
        uppermost = None
        while logger is not None:
            for handler in logger.handlers:
                if not isinstance(handler, _Tap) or sink in handler._sinks:
                    return
                uppermost = handler
            logger = logger.parent if logger.propagate else None
        if uppermost is self:  # of several, one
            last.handle(record)


@contextmanager
def logging_to(config: LogConfig | None, directory: Path, *, whole_process: bool) -> Iterator[None]:
    """Log as configured within this context. `whole_process`: also for threads that have no session of their own.

    Raises `OperationFailed` if the log file cannot be opened.
    """
    handlers = [] if config is None else config.handlers(directory)
    if config is None or not handlers:
        yield
        return
    sink = _Sink(config.logger_name, config.level_number, handlers, whole_process)
    with _lock:
        if sink.logger_name not in _taps:
            _taps[sink.logger_name] = _Tap(sink.logger_name)
        _taps[sink.logger_name].add(sink)
        _adjust()
    _current.set(sink)
    try:
        yield
    finally:
        sink.open = False
        if _current.get() is sink:  # else entered in another context, or others were since and go on
            _current.set(_innermost())
        with _lock:
            tap = _taps[sink.logger_name]
            if tap.remove(sink):
                del _taps[sink.logger_name]
                tap.adjust()
            _adjust()
        for handler in handlers:
            try:
                handler.close()
            except OSError as error:
                log.warning("%s: the end of the log is missing: %s", escape(os.fsencode(directory)), error.strerror)


def _adjust() -> None:
    """All levels, from the root on: that of a logger without one depends on those above it."""
    for name in sorted(_taps):
        _taps[name].adjust()


def _effective(logger: logging.Logger, level: int) -> int:
    """The effective level of the logger if it had this one."""
    if level or logger.parent is None:
        return level
    return logger.parent.getEffectiveLevel()
