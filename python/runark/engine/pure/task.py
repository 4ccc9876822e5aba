"""Long work in the background: many jobs over worker processes, or few in a thread of this process.

A thread of this process stands behind each worker: it hands out chunks as the worker gets through them (so that load
balances) and takes its outcomes. Chunks get smaller towards the end.

Guarantees: every job gets exactly one outcome, also if a worker is killed; the caller's thread never waits longer than
it asked for and gets its KeyboardInterrupt at once; if the calling process dies, the workers roll back and end.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from runark.engine.protocol import Fault, Outcome, Progress
from runark.engine.pure.ends import Control
from runark.engine.pure.worker import BOOT, read_message, runner, write_message

__all__ = ["PureTask"]

_FEW = 16  # jobs that are not worth starting processes for
_CHUNK = 256
_LEAST = 16  # smaller ones would cost a sync each instead of one for all
_RESTARTS = 3  # of one worker that dies


class PureTask:
    """A `Task` of the protocol. `path_of` gives the path an outcome of a job has."""

    def __init__(
        self, verb: str, jobs: Sequence[Any], options: Any, level: int, workers: int, path_of: Callable[[Any], bytes]
    ) -> None:
        self.verb = verb
        self.options = options
        self.level = level
        self._path_of = path_of
        self._total = len(jobs)
        self._jobs = collections.deque(jobs)
        self._ready = threading.Condition()
        self._outcomes: list[Outcome] = []
        self._ended = 0
        self.cancelled = False
        self._local: Control | None = None
        self._drivers: list[_Driver] = []
        self._workers = 1
        if not jobs:
            return
        if workers <= 1 or len(jobs) < _FEW or not sys.executable or getattr(sys, "frozen", False):
            self._local = Control()
            threading.Thread(target=self._work, name=f"runark-{verb}", daemon=True).start()
            return
        self._workers = min(workers, max(2, len(jobs) // 8))
        self._drivers = [_Driver(self, number) for number in range(self._workers)]
        for driver in self._drivers:
            driver.start()

    # ------------------------------------------------------------------------------------- the caller's side

    def poll(self, timeout: float) -> list[Outcome] | None:
        """See `protocol.Task.poll`."""
        with self._ready:
            if not self._outcomes and self._ended < self._total:
                self._ready.wait(max(0.0, timeout))
            outcomes, self._outcomes = self._outcomes, []
            if not outcomes and self._ended == self._total:
                return None
            return outcomes

    def cancel(self) -> None:
        """See `protocol.Task.cancel`."""
        self.cancelled = True
        if self._local is not None:
            self._local.stopped = True
        else:
            self._drop_waiting()
            # a pipe may be full for a moment: not the caller's to wait for
            threading.Thread(target=self._tell, name="runark-cancel", daemon=True).start()

    def drain(self) -> None:
        """See `protocol.Task.drain`."""
        self.cancel()

    def progress(self) -> Progress:
        """See `protocol.Task.progress`."""
        if self._local is not None:
            return Progress(self._ended, self._total, self._local.bytes, self._local.entries)
        moved = sum(driver.bytes for driver in self._drivers)
        return Progress(self._ended, self._total, moved, sum(driver.entries for driver in self._drivers))

    # ---------------------------------------------------------------------------------------- the work's side

    def give(self, outcomes: list[Outcome]) -> None:
        """Outcomes for the caller."""
        with self._ready:
            self._outcomes.extend(outcomes)
            self._ended += len(outcomes)
            self._ready.notify_all()

    def take(self) -> list[Any]:
        """The next chunk of jobs; empty if there is none left."""
        with self._ready:
            least = min(_LEAST, -(-self._total // self._workers))
            count = min(_CHUNK, max(least, len(self._jobs) // (4 * self._workers)), len(self._jobs))
            return [self._jobs.popleft() for _ in range(count)]

    def paths(self, jobs: Sequence[Any]) -> list[bytes]:
        """The paths that the outcomes of these jobs have."""
        return [self._path_of(job) for job in jobs]

    def fail(self, paths: Sequence[bytes], message: str) -> None:
        """Outcomes for jobs whose worker is gone."""
        self.give([Outcome(path, "failed", message, fault=Fault("work", path, 0, message)) for path in paths])

    def _drop_waiting(self) -> None:
        with self._ready:
            waiting = list(self._jobs)
            self._jobs.clear()
        self.give([Outcome(self._path_of(job), "cancelled") for job in waiting])

    def _tell(self) -> None:
        for driver in self._drivers:
            driver.tell("cancel")

    def _work(self) -> None:
        """All jobs in this thread."""
        assert self._local is not None
        jobs = list(self._jobs)
        open_jobs = collections.Counter(self._path_of(job) for job in jobs)
        try:
            for outcome in runner(self.verb, self.options, self.level, self._local)(jobs):
                open_jobs[outcome.path] -= 1
                self.give([outcome])
        finally:
            # nothing is left unless there is a defect in the engine, whose traceback the threading module prints
            left = list(open_jobs.elements())
            if left:
                self.fail(
                    left,
                    "the engine broke off because of a defect in it; the session is whole or its archive is proven",
                )


class _Driver(threading.Thread):
    """The thread behind one worker process."""

    def __init__(self, task: PureTask, number: int) -> None:
        super().__init__(name=f"runark-worker-{number}", daemon=True)
        self._task = task
        self._process: subprocess.Popen[bytes] | None = None
        self._writing = threading.Lock()
        self._open: collections.Counter[bytes] = collections.Counter()  # paths handed out, without an outcome
        self._count = 0  # how many these are
        self._before = (0, 0)  # counters of workers that died
        self.bytes = 0
        self.entries = 0

    def run(self) -> None:
        # the worker inherits this: a Ctrl-C before it ignores the signal itself would kill it half-way through its
        # start
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        for _ in range(1 + _RESTARTS):
            try:
                self._one_worker()
                return
            except (EOFError, OSError) as cause:
                self._bury(cause)
        while jobs := self._task.take():
            self._task.fail(
                self._task.paths(jobs), "worker processes keep dying (not enough memory?); nothing was done to it"
            )

    def tell(self, message: object) -> None:
        """Send a message if the worker is there to get it."""
        with self._writing:
            process = self._process
            if process is None or process.stdin is None or process.stdin.closed:
                return
            try:
                write_message(process.stdin, message)
            except OSError:
                return  # it is dead: the thread that reads from it finds out, and says so

    def _one_worker(self) -> None:
        """Work with one process until there are no jobs. Raises `EOFError` or `OSError` if it dies before."""
        task = self._task
        chunk = task.take()
        if not chunk:
            return
        process = self._start(chunk)
        assert process.stdin is not None and process.stdout is not None
        while True:
            # one chunk under way and one waiting: the worker never waits for us
            while self._count <= len(chunk) and (more := task.take()):
                chunk = more
                self._hand_out(process, chunk)
            if self._count == 0:
                break
            outcomes, moved, entries = read_message(process.stdout)
            self.bytes = self._before[0] + moved
            self.entries = self._before[1] + entries
            if outcomes:
                self._open.subtract(outcome.path for outcome in outcomes)
                self._count -= len(outcomes)
                task.give(outcomes)
        with self._writing:
            self._process = None
        process.stdin.close()
        process.wait()
        process.stdout.close()

    def _start(self, chunk: list[Any]) -> subprocess.Popen[bytes]:
        """A worker process that has its first chunk. Raises `OSError`."""
        self._expect(chunk)
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", BOOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=-1, cwd="/"
        )
        assert process.stdin is not None
        with self._writing:
            self._process = process
            write_message(process.stdin, _module_path())
            write_message(process.stdin, (self._task.verb, self._task.options, self._task.level))
            write_message(process.stdin, chunk)
        if self._task.cancelled:  # it may have missed the message to all
            self.tell("cancel")
        return process

    def _expect(self, chunk: list[Any]) -> None:
        self._open.update(self._task.paths(chunk))
        self._count += len(chunk)

    def _hand_out(self, process: subprocess.Popen[bytes], chunk: list[Any]) -> None:
        assert process.stdin is not None
        self._expect(chunk)
        with self._writing:
            write_message(process.stdin, chunk)

    def _bury(self, cause: Exception) -> None:
        """The worker died.

        Its jobs are failed, but nothing is lost: each is in a state that the next run recognises.
        """
        with self._writing:
            process, self._process = self._process, None
        if process is None:
            how = f"cannot be started: {cause}"
        else:
            process.kill()
            code = process.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):  # what was not sent is failed below
                        stream.close()
        left = list(self._open.elements())
        self._open.clear()
        self._count = 0
        self._before = (self.bytes, self.entries)
        self._task.fail(left, f"its worker process {how}; the session is whole or its archive is proven, run again")


def _module_path() -> list[str]:
    """This process's module path for a worker: absolute, and sure to hold this runark."""
    here = os.path.abspath(__file__)
    home = here
    for _ in __name__.split("."):
        home = os.path.dirname(home)
    path = [os.path.abspath(entry) for entry in sys.path if entry]
    return path if home in path else [*path, home]
