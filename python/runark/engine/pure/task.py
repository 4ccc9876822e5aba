"""Long work in the background: many jobs over worker processes, or few in a thread of this process.

A thread of this process stands behind each worker: it hands out chunks as the worker gets through them (so that load
balances) and takes its outcomes. Chunks get smaller towards the end. A worker that is told to hold gives back what it
has not begun.

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

from runark.engine.protocol import ArchiveOptions, Fault, Outcome, Progress
from runark.engine.pure import load
from runark.engine.pure.ends import Control
from runark.engine.pure.worker import BOOT, Report, State, read_message, runner, write_message

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
        self._cancelled = False
        self._draining = False
        self._allowed = workers
        self.account: load.Account | None = None  # what the workers share to keep within limits
        self._local: Control | None = None
        self._drivers: list[_Driver] = []
        self._working: list[_Driver] = []  # those that may still take jobs; the first ones are the last to rest
        self._workers = 1
        if not jobs:
            return
        if isinstance(options, ArchiveOptions) and (options.max_ops or options.max_bytes):
            self.account = load.Account.new()
        if workers <= 1 or len(jobs) < _FEW or not sys.executable or getattr(sys, "frozen", False):
            self._local = Control(None if self.account is None else load.Pace(self.account, options))
            threading.Thread(target=self._work, name=f"runark-{verb}", daemon=True).start()
            return
        self._workers = min(workers, max(2, len(jobs) // 8))
        self._drivers = [_Driver(self, number) for number in range(self._workers)]
        self._working = list(self._drivers)
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
        self._cancelled = True
        if self._local is not None:
            self._local.stop()
        else:
            self._drop_waiting()
            self._tell_soon()

    def drain(self) -> None:
        """See `protocol.Task.drain`."""
        self._draining = True
        if self._local is not None:
            self._local.held = True
        else:
            self._drop_waiting()
            self._tell_soon()

    def use(self, workers: int) -> None:
        """See `protocol.Task.use`."""
        with self._ready:
            self._allowed = max(1, workers)
            self._ready.notify_all()
        self._tell_soon()

    def progress(self) -> Progress:
        """See `protocol.Task.progress`."""
        if self._local is not None:
            counters = [(self._local.bytes, self._local.entries, self._local.operations)]
        else:
            counters = [driver.counters for driver in self._drivers]
        return Progress(self._ended, self._total, *_sums(counters))

    # ---------------------------------------------------------------------------------------- the work's side

    def give(self, outcomes: list[Outcome]) -> None:
        """Outcomes for the caller."""
        with self._ready:
            self._outcomes.extend(outcomes)
            self._ended += len(outcomes)
            self._ready.notify_all()

    def take(self, driver: _Driver, *, idle: bool) -> list[Any]:
        """The next chunk of jobs; empty if there is none left, or none for this driver at the moment.

        One whose worker is idle waits here until it is wanted, and does not come again after an empty chunk.
        """
        with self._ready:
            if idle:
                self._ready.wait_for(lambda: not (self._jobs and self._is_resting(driver)))
            least = min(_LEAST, -(-self._total // self._workers))
            count = min(_CHUNK, max(least, len(self._jobs) // (4 * self._workers)), len(self._jobs))
            if self._is_resting(driver):
                count = 0
            chunk = [self._jobs.popleft() for _ in range(count)]
            if not idle or chunk:
                return chunk
            self._working.remove(driver)
            self._ready.notify_all()
        self._tell()  # another one may be wanted now
        return []

    def take_back(self, jobs: list[Any]) -> None:
        """Jobs that a worker has not begun."""
        with self._ready:
            self._jobs.extendleft(reversed(jobs))
            self._ready.notify_all()
        if self._cancelled or self._draining:
            self._drop_waiting()

    def state(self, driver: _Driver) -> State:
        """What the driver's worker is to do."""
        with self._ready:
            if self._cancelled:
                return "cancel"
            return "hold" if self._draining or self._is_resting(driver) else "go"

    def _is_resting(self, driver: _Driver) -> bool:
        return driver not in self._working[: self._allowed]

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

    def _tell_soon(self) -> None:
        # a pipe may be full for a moment: not the caller's to wait for
        if self._drivers:
            threading.Thread(target=self._tell, name="runark-tell", daemon=True).start()

    def _tell(self) -> None:
        for driver in self._drivers:
            driver.tell()

    def _work(self) -> None:
        """All jobs in this thread."""
        assert self._local is not None
        waiting = self._jobs
        open_jobs = collections.Counter(self._path_of(job) for job in waiting)
        try:
            for outcome in runner(self.verb, self.options, self.level, self._local)(waiting):
                open_jobs[outcome.path] -= 1
                self.give([outcome])
            open_jobs.subtract(self._path_of(job) for job in waiting)
            self._drop_waiting()
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
        self._told: State = "go"
        self._before = (0, 0, 0)  # counters of workers that died
        self.counters = (0, 0, 0)  # content bytes, entries, operations

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
        while jobs := self._task.take(self, idle=True):
            self._task.fail(
                self._task.paths(jobs), "worker processes keep dying (not enough memory?); nothing was done to it"
            )

    def tell(self) -> None:
        """Tell the worker what it is to do, if it is there and does not know."""
        with self._writing:
            process, state = self._process, self._task.state(self)
            if process is None or process.stdin is None or process.stdin.closed or state == self._told:
                return
            try:
                write_message(process.stdin, state)
            except OSError:
                return  # it is dead: the thread that reads from it finds out, and says so
            self._told = state

    def _one_worker(self) -> None:
        """Work with one process until there are no jobs. Raises `EOFError` or `OSError` if it dies before."""
        task = self._task
        chunk = task.take(self, idle=True)
        if not chunk:
            return
        process = self._start(chunk)
        assert process.stdin is not None and process.stdout is not None
        while True:
            # one chunk under way and one waiting: the worker never waits for us
            while self._count <= len(chunk) and (more := task.take(self, idle=self._count == 0)):
                chunk = more
                self._hand_out(process, chunk)
            if self._count == 0:
                break
            report: Report = read_message(process.stdout)
            self.counters = _sums([self._before, (report.bytes, report.entries, report.operations)])
            if report.outcomes or report.back:
                self._open.subtract(outcome.path for outcome in report.outcomes)
                self._open.subtract(task.paths(report.back))
                self._count -= len(report.outcomes) + len(report.back)
                task.give(report.outcomes)
            if report.back:
                task.take_back(report.back)
        with self._writing:
            self._process = None
        process.stdin.close()
        process.wait()
        process.stdout.close()

    def _start(self, chunk: list[Any]) -> subprocess.Popen[bytes]:
        """A worker process that has its first chunk. Raises `OSError`."""
        self._expect(chunk)
        account = None if self._task.account is None else self._task.account.fd
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=-1,
            cwd="/",
            pass_fds=() if account is None else (account,),
        )
        assert process.stdin is not None
        with self._writing:
            self._process = process
            self._told = "go"
            write_message(process.stdin, _module_path())
            write_message(process.stdin, (self._task.verb, self._task.options, self._task.level, account))
            write_message(process.stdin, chunk)
        self.tell()  # it may have missed the message to all
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
        self._before = self.counters
        self._task.fail(left, f"its worker process {how}; the session is whole or its archive is proven, run again")


def _sums(counters: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    first, second, third = (sum(counter[at] for counter in counters) for at in range(3))
    return first, second, third


def _module_path() -> list[str]:
    """This process's module path for a worker: absolute, and sure to hold this runark."""
    here = os.path.abspath(__file__)
    home = here
    for _ in __name__.split("."):
        home = os.path.dirname(home)
    path = [os.path.abspath(entry) for entry in sys.path if entry]
    return path if home in path else [*path, home]
