"""Another user's sessions, archived as that user: an engine whose work is done in processes of the user's identity.

Root may read and remove everything, so whatever a user puts in the way of a root process (a link, a directory swapped
at the right moment) is put before root's rights. These processes have the user's rights and no others, so a user can do
no more harm than with the user's own hands, and an archive belongs to whom its session belonged to.

A process is forked, not started anew: the interpreter may lie where the user cannot read it. It takes the groups, the
group and the identity of the user, for good, before it touches anything. If the calling process dies, what is not
published is rolled back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from multiprocessing.connection import Connection, Pipe, wait
from typing import NoReturn

from runark.engine.protocol import ArchiveJob, ArchiveOptions, Engine, Fault, Outcome, Progress, Task

__all__ = ["UserTask", "archive_as"]

_PULSE = 0.05
_SILENT = 5.0
"""Seconds. Each process is heard every `_PULSE`, whatever its filesystem does; one that is not is stopped."""


def archive_as(engine: Engine, jobs: Sequence[ArchiveJob], options: ArchiveOptions, uid: int, gid: int) -> UserTask:
    """As `engine.archive`, with the identity of user `uid`. `gid`: the group, for a user without an entry.

    Only root can do this; else every outcome is a failure. Reserve files are root's, so they are not used.
    """
    _load(engine, options.format)
    # The pure engine would start interpreters, which the user may not be able to; so here each process is a worker.
    count = options.jobs if engine.name == "pure" else 1
    parts = [jobs[number::count] for number in range(min(count, len(jobs)))]
    share = max(1, len(parts))
    each = replace(
        options,
        reserve=None,
        jobs=max(1, options.jobs // share),
        max_ops=options.max_ops / share,
        max_bytes=options.max_bytes / share,
    )
    processes: list[_Process] = []
    for part in parts:
        processes.append(_Process(engine, part, each, uid, gid, processes))
    return UserTask(processes, len(jobs))


_IMPORTED_LATE = ("runark.engine.pure.task", "runark.engine.pure.gate", "concurrent.futures.thread", "tempfile")
"""What the pure engine imports only when it needs it."""


def _load(engine: Engine, format: str) -> None:
    """Import here what the processes will need: the user may not be able to read it."""
    if engine.name == "pure":
        for name in _IMPORTED_LATE:
            import_module(name)
        import_module("runark.engine.pure.codec").check_format(format, None)


class UserTask:
    """A `Task` of the protocol whose work is done by some processes."""

    def __init__(self, processes: list[_Process], total: int) -> None:
        self._processes, self._total = processes, total
        self._ended = 0
        self._cancelled = False

    def poll(self, timeout: float) -> list[Outcome] | None:
        """See `protocol.Task.poll`."""
        open_ones = [process for process in self._processes if not process.over]
        if not open_ones:
            return None
        ready = wait([process.connection for process in open_ones], max(0.0, timeout))
        found = [outcome for process in open_ones if process.connection in ready for outcome in process.take()]
        for process in open_ones:
            if process.connection not in ready:
                process.rouse(self._cancelled)
        self._ended += len(found)
        return found

    def cancel(self) -> None:
        """See `protocol.Task.cancel`."""
        self._cancelled = True
        self._tell("cancel")

    def drain(self) -> None:
        """See `protocol.Task.drain`."""
        self._tell("drain")

    def use(self, workers: int) -> None:
        """See `protocol.Task.use`; shared out among the processes, each of which keeps one."""
        self._tell("use", max(1, workers // max(1, len(self._processes))))

    def progress(self) -> Progress:
        """See `protocol.Task.progress`."""
        parts = [process.progress for process in self._processes]
        moved, entries = sum(part.bytes for part in parts), sum(part.entries for part in parts)
        return Progress(self._ended, self._total, moved, entries, sum(part.operations for part in parts))

    def _tell(self, *message: object) -> None:
        for process in self._processes:
            if not process.over:
                with contextlib.suppress(OSError):  # it is dead: `take` finds out, and says so
                    process.connection.send(message)


class _Process:
    """One process with its share of the jobs."""

    def __init__(
        self,
        engine: Engine,
        jobs: Sequence[ArchiveJob],
        options: ArchiveOptions,
        uid: int,
        gid: int,
        others: Sequence[_Process],
    ) -> None:
        self.connection, theirs = Pipe()
        self.progress = Progress(0, 0, 0, 0)
        self.over = False
        self._heard = time.monotonic()
        self._open = Counter(job.path for job in jobs)
        with warnings.catch_warnings():
            # Python warns of forks beside threads. This child only works an engine, and does not end as Python does.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            for process in (self, *others):
                process.connection.close()  # else these would not hear of the caller's end
            _work(theirs, engine, jobs, options, uid, gid)
        theirs.close()

    def take(self) -> list[Outcome]:
        """What it has sent; for a process that is gone the outcomes it owes."""
        self._heard = time.monotonic()
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            message = None
        if isinstance(message, str):
            return self._end(message)
        if message is None:
            return self._end("")
        outcomes: list[Outcome]
        outcomes, self.progress = message
        self._open.subtract(outcome.path for outcome in outcomes)
        return outcomes

    def rouse(self, kill: bool) -> None:
        """Let it go on if its user has stopped it, as a user may; or end it. What it was doing is safe from that."""
        if time.monotonic() - self._heard > _SILENT:
            self._heard = time.monotonic()
            os.kill(self._pid, signal.SIGKILL if kill else signal.SIGCONT)

    def _end(self, why: str) -> list[Outcome]:
        self.over = True
        self.connection.close()
        status = os.waitpid(self._pid, 0)[1]
        how = why or f"the process that worked for its owner ended (status {os.waitstatus_to_exitcode(status)})"
        text = f"{how}; the session is whole or its archive is proven, run again"
        return [Outcome(path, "failed", text, fault=Fault("work", path, 0, text)) for path in self._open.elements()]


def _work(
    connection: Connection, engine: Engine, jobs: Sequence[ArchiveJob], options: ArchiveOptions, uid: int, gid: int
) -> NoReturn:
    """The child: become the user, work, end."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)  # the caller hears them, and tells
        os.chdir("/")
        _become(uid, gid)
    except OSError as error:
        with contextlib.suppress(OSError):
            connection.send(f"cannot work as user {uid}: {error.strerror}")
        os._exit(code)
    try:
        task = engine.archive(jobs, options)
        try:
            _report(task, connection)
            code = 0
        except (EOFError, OSError):  # the caller is gone
            task.cancel()
            while task.poll(_PULSE) is not None:
                pass
    finally:
        os._exit(code)


def _report(task: Task, connection: Connection) -> None:
    """Send the outcomes, hear what the caller wants. Raises `EOFError` or `OSError` if there is none any more."""
    while (found := task.poll(_PULSE)) is not None:
        while connection.poll():
            verb, *values = connection.recv()
            getattr(task, verb)(*values)
        connection.send((found, task.progress()))
    connection.send(None)


def _become(uid: int, gid: int) -> None:
    import pwd

    try:
        entry = pwd.getpwuid(uid)
        gid, groups = entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
    except KeyError:
        groups = []
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
