"""Backing off: fewer workers while the filesystem is slow to answer.

A thread asks the filesystem once a second for something small, making and removing an empty file in the root's
`.runark`, and takes the time. The number of workers follows as in the congestion control of networks: halved while the
time is above four times that of a quiet filesystem, one more at a time when it has come down.

What is quiet? Our own workers make the filesystem slower as well, for everybody, so they must not be in the yardstick.
The first half second of a root is worked with one worker; the median of five probes in it is the first yardstick, and
the lowest median of any five probes after that lowers it. It never rises: else a whole night of overload would become
the normal. A run that begins on a busy filesystem finds its yardstick when that gets quiet for the first time.

Below `FACTOR` times `FLOOR` nothing counts as slow: a local disk answers in microseconds when idle and in more when it
writes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from runark.archive.root import DIRECTORY
from runark.engine.protocol import Task

__all__ = ["Backoff", "Controller", "Probe"]

FACTOR = 4.0  # above so many times the quiet latency there are fewer workers, below half of that more
FLOOR = 0.001  # seconds: a quiet latency is taken to be at least this
_WINDOW = 5  # probes whose median counts: two odd ones do nothing
_PATIENCE = 3  # probes to wait for the effect of a step down
_EVERY = 1.0  # seconds between probes
_FIRST = 0.1  # the same while the yardstick is taken


class Controller:
    """From latencies to the number of workers."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._wait = 0
        self.workers = 1
        self.quiet: float | None = None
        """The latency of the quiet filesystem in seconds; None while it is being taken."""
        self.steps_down = 0

    def feed(self, seconds: float) -> int:
        """Take the latency of one probe; the number of workers from now on."""
        self._recent.append(seconds)
        if len(self._recent) < _WINDOW:
            return self.workers
        latency = sorted(self._recent)[len(self._recent) // 2]
        if self.quiet is None:
            self.quiet = latency
            self.workers = self._most
            return self.workers
        self.quiet = min(self.quiet, latency)
        ratio = latency / max(self.quiet, FLOOR)
        if self._wait:
            self._wait -= 1
        elif ratio > FACTOR and self.workers > 1:
            self.workers //= 2
            self.steps_down += 1
            self._wait = _PATIENCE
        elif ratio <= FACTOR / 2 and self.workers < self._most:
            self.workers += 1
        return self.workers


class Probe:
    """Gives the latency of the filesystem of a root in seconds, None if it cannot be told this time.

    Where no file can be made (no room, no right to) a look at the root is timed instead. Which of the two, the first
    probe decides: they cannot be compared.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._file = os.path.join(root, DIRECTORY, b"probe")
        self._makes: bool | None = None
        with contextlib.suppress(OSError):
            os.unlink(self._file)  # a killed run's

    def __call__(self) -> float | None:
        if self._makes is not False:
            seconds = _timed(self._make)
            if seconds is not None or self._makes:
                self._makes = True
                return seconds
            self._makes = False
        return _timed(lambda: os.stat(self._root))

    def _make(self) -> None:
        os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        os.unlink(self._file)


def _timed(ask: Callable[[], object]) -> float | None:
    began = time.monotonic()
    try:
        ask()
    except OSError:
        return None
    return time.monotonic() - began


class Backoff:
    """While entered, keeps the number of workers of the watched task to what the filesystem bears."""

    def __init__(self, root: bytes, most: int, probe: Callable[[], float | None] | None = None) -> None:
        """`root`: where `.runark` is; `most`: the number of workers when all is quiet."""
        self._controller = Controller(most)
        self._probe = probe or Probe(root)
        self._task: Task | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runark-backoff", daemon=True)

    @property
    def steps_down(self) -> int:
        """How often the number of workers was halved."""
        return self._controller.steps_down

    def watch(self, task: Task) -> None:
        """From now on this task."""
        with self._lock:
            self._task = task
            task.use(self._controller.workers)

    def __enter__(self) -> Backoff:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(_EVERY)  # one that waits for the filesystem is not waited for

    def _run(self) -> None:
        while not self._ended.wait(_FIRST if self._controller.quiet is None else _EVERY):
            seconds = self._probe()
            if seconds is None:
                continue
            with self._lock:
                before = self._controller.workers
                if self._controller.feed(seconds) != before and self._task is not None:
                    self._task.use(self._controller.workers)
