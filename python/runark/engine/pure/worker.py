"""A worker process: takes chunks of jobs from stdin, gives outcomes to stdout.

Started by `task.py` as `python -S -c BOOT`, never by `multiprocessing`: user scripts have no guard around their main
program, and threads may be running in the caller. Messages are pickles with their length in front.

In:  (verb, options, level, descriptor of the account), then lists of jobs and a `State` now and then, end of file. Out:
a `Report` when there are outcomes, after each list, and four times a second if the counters moved.

Guarantees: a worker whose parent is gone (end of file) rolls back what is not published and ends; signals that a
terminal or a batch system sends to the whole group are left to the parent; nothing but messages gets to stdout.
"""

from __future__ import annotations

import gc
import os
import pickle
import queue
import resource
import signal
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Literal, NamedTuple

from runark.engine.protocol import Outcome, RestoreOptions, VerifyOptions
from runark.engine.pure.ends import Control
from runark.engine.pure.load import Account, Pace
from runark.engine.pure.sys import ignore_sigio, keep_memory

__all__ = ["BOOT", "Report", "Runner", "State", "main", "read_message", "runner", "write_message"]

BOOT = """\
import sys
sys.path[:] = [p for p in sys.path if p]
import pickle, struct
size = struct.unpack("<I", sys.stdin.buffer.read(4))[0]
sys.path[:] = pickle.loads(sys.stdin.buffer.read(size))
from runark.engine.pure.worker import main
main()
"""
"""The program of a worker: the caller's module path is the first message, so that the same runark is imported."""

Runner = Callable[["deque[Any]"], Iterator[Outcome]]

State = Literal["go", "hold", "cancel"]
"""What a worker is to do: work; finish what it has begun and give the rest back; roll back."""


class Report(NamedTuple):
    """What a worker tells."""

    outcomes: list[Outcome]
    bytes: int  # content bytes, entries and operations so far
    entries: int
    operations: int
    back: list[Any]  # jobs that were not begun


_LENGTH = struct.Struct("<I")
_AT_ONCE = 128  # outcomes in one message
_AT_LEAST = 0.1  # seconds after which outcomes are sent anyway
_PULSE = 0.25


def write_message(stream: IO[bytes], message: object) -> None:
    """Write one message. Raises `OSError` (`BrokenPipeError` if the other side is gone)."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def read_message(stream: IO[bytes]) -> Any:
    """Read one message. Raises `EOFError` at the end, also within a message."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    size = _LENGTH.unpack(head)[0]
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)


def runner(verb: str, options: Any, level: int, control: Control) -> Runner:
    """What takes jobs of a verb and turns them into outcomes, one for each; held, it leaves those not begun."""
    if verb == "archive":
        from runark.engine.pure.gate import Gate

        return Gate(options, level, control, most_open()).run
    if verb == "restore":
        from runark.engine.pure.restore import restore

        restore_options: RestoreOptions = options
        return _one_by_one(lambda job: restore(job, restore_options, control), control)
    if verb == "discard":
        from runark.engine.pure.discard import discard

        return _one_by_one(lambda job: discard(job, control), control)
    from runark.engine.pure.verify import verify

    verify_options: VerifyOptions = options
    return _one_by_one(lambda path: verify(path, verify_options.limits, control), control)


def _one_by_one(work: Callable[[Any], Outcome], control: Control) -> Runner:
    def run(waiting: deque[Any]) -> Iterator[Outcome]:
        while waiting and not control.held:
            yield work(waiting.popleft())

    return run


def most_open() -> int:
    """How many sessions a batch may hold: each keeps its part file and its directory open until it is done."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return 256
    return max(8, min(256, (soft - 192) // 3))


class _Reporter:
    """Sends outcomes and counters to the parent."""

    def __init__(self, stream: IO[bytes], control: Control) -> None:
        self._stream = stream
        self._control = control
        self._lock = threading.Lock()
        self._gone = False
        self._last = (0, 0, 0)

    def _counters(self) -> tuple[int, int, int]:
        control = self._control
        return (control.bytes, control.entries, control.operations)

    def send(self, outcomes: list[Outcome], back: Iterable[Any] = ()) -> None:
        with self._lock:
            self._last = self._counters()
            if self._gone:
                return
            try:
                write_message(self._stream, Report(outcomes, *self._last, list(back)))
            except OSError:  # nobody listens any more: roll back, as at the end of stdin
                self._gone = True
                self._control.stop()

    def pulse(self) -> None:
        while True:
            time.sleep(_PULSE)
            if self._counters() != self._last:
                self.send([])


def _listen(stream: IO[bytes], control: Control, chunks: queue.SimpleQueue[list[Any] | None]) -> None:
    """Always ready to read, so that the parent never waits in a write."""
    while True:
        try:
            message = read_message(stream)
        except (EOFError, OSError):
            control.stop()
            chunks.put(None)
            return
        if message == "cancel":
            control.stop()
        elif isinstance(message, str):
            control.held = message == "hold"
        else:
            chunks.put(message)


def main() -> None:
    """Work until stdin ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # a stray print must not break the messages
    verb, options, level, account = read_message(sys.stdin.buffer)
    control = Control(None if account is None else Pace(Account(account), options))
    run = runner(verb, options, level, control)
    reporter = _Reporter(out, control)
    chunks: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, control, chunks), daemon=True).start()
    threading.Thread(target=reporter.pulse, daemon=True).start()
    # records of entries hold no cycles, and looking for some all the time costs a quarter of the speed
    gc.freeze()
    gc.disable()
    keep_memory()
    ignore_sigio()
    while (jobs := chunks.get()) is not None:
        ready: list[Outcome] = []
        sent = time.monotonic()
        waiting = deque(jobs)
        for outcome in run(waiting):
            ready.append(outcome)
            if len(ready) >= _AT_ONCE or time.monotonic() - sent > _AT_LEAST:
                reporter.send(ready)
                ready = []
                sent = time.monotonic()
        reporter.send(ready, waiting)
        gc.collect()
    # no clean-up that could wait for the thread in its read
    os._exit(0)
