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

import contextlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from runark.workdir.log_config import LogConfig

__all__ = ["logging_to"]


class _Sink:
    """Where one session's records go."""

    def __init__(self, logger_name: str, level: int, handlers: list[logging.Handler], whole_process: bool) -> None:
        self.logger_name = logger_name
        self.level = level
        self.handlers = handlers
        self.whole_process = whole_process
        self.open = True


_current: ContextVar[_Sink | None] = ContextVar("runark.workdir.sink", default=None)
_lock = threading.Lock()
_taps: dict[str, _Tap] = {}


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
            self._logger.addHandler(self)
        self._sinks = (*self._sinks, sink)
        self._adjust()

    def remove(self, sink: _Sink) -> bool:
        """Whether none is left."""
        self._sinks = tuple(other for other in self._sinks if other is not sink)
        self._adjust()
        if self._sinks:
            return False
        self._logger.removeHandler(self)
        return True

    def _adjust(self) -> None:
        """Let through what the lowest session wants. A level somebody else has set meanwhile is the logger's own."""
        if self._logger.level != self._set:
            self._before = self._logger.level
        wanted = min((sink.level for sink in self._sinks), default=logging.CRITICAL)
        self._set = wanted if wanted < _effective(self._logger, self._before) else self._before
        if self._logger.level != self._set:
            self._logger.setLevel(self._set)

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock of `logging.Handler`: sessions have handlers of their own and do not wait for each other."""
        sink = self._sink()
        if sink is None:
            self._last_resort(record)
        elif sink in self._sinks:
            for handler in sink.handlers:
                if record.levelno >= handler.level:
                    handler.handle(record)
        return True

    def _sink(self) -> _Sink | None:
        sink = _current.get()
        if sink is not None and sink.open:
            return sink
        return next((sink for sink in reversed(self._sinks) if sink.whole_process), None)

    def _last_resort(self, record: logging.LogRecord) -> None:
        """What `logging` does with a record that no handler takes; our being there must not be taken for one."""
        last = logging.lastResort
        if last is None or record.levelno < last.level:
            return
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(not isinstance(handler, _Tap) for handler in logger.handlers):
                return
            logger = logger.parent if logger.propagate else None
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
    token = _current.set(sink)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # left in another context than it was entered in
            _current.reset(token)
        sink.open = False
        with _lock:
            if _taps[sink.logger_name].remove(sink):
                del _taps[sink.logger_name]
        for handler in handlers:
            handler.close()


def _effective(logger: logging.Logger, level: int) -> int:
    """The effective level of the logger if it had this one."""
    if level or logger.parent is None:
        return level
    return logger.parent.getEffectiveLevel()
