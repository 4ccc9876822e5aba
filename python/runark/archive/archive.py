"""archive: carry a plan out. The engine packs, proves, publishes and removes; policy says which, how many, and stops.

1. Lock the roots.
2. Hand the jobs to the engine, root by root (each has its reserve and its audit), in slices that keep memory bounded.
3. Add the outcomes up; stop when asked, or when too many fail.
4. Top up the reserves, unlock.

Root may have every session archived with its owner's identity; sessions may go to the trash instead of being removed.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Literal, NamedTuple

from runark.archive.audit import Audit, new_run
from runark.archive.backoff import Backoff
from runark.archive.control import Control, drive
from runark.archive.guard import check_session
from runark.archive.plan import Plan
from runark.archive.result import Result, Tally
from runark.archive.root import lock_roots, reserve_directory
from runark.archive.trash import put
from runark.archive.watch import Budget, Watch
from runark.archive.workers import default_jobs
from runark.engine import load
from runark.engine.protocol import FORMATS, ArchiveJob, ArchiveOptions, Engine, Outcome, Progress, Task
from runark.errors import InvalidArgument, OperationFailed
from runark.names import PathLike, escape

__all__ = ["MAX_FAILURES", "archive", "archive_sessions", "check_options"]

MAX_FAILURES = 1000
SLICE = 65_536
"""Jobs given to the engine at once; workers idle for a moment at the end of each slice, so it is large."""

Verify = Literal["hash", "compare"]


def archive(
    plan: Plan,
    *,
    format: str = "tar.gz",
    level: int | None = None,
    keep_source: bool = False,
    verify: Verify = "hash",
    jobs: int | None = None,
    max_failures: int | None = MAX_FAILURES,
    keep_outcomes: bool = False,
    trash: bool = False,
    as_owner: bool = False,
    budget: Budget | None = None,
    run: str = "",
    locked: bool = False,
    max_ops: float = 0.0,
    max_bytes_s: float = 0.0,
    back_off: bool = False,
    engine: str | None = None,
    control: Control | None = None,
) -> Result:
    """Archive the sessions of the plan and remove what was archived.

    format         `tar.gz`, `tar.zst`, `tar.xz` or `tar`
    level          of compression; by default that of the format (gz 1, zst 3, xz 6)
    keep_source    leave the sessions in place beside their archives
    verify         `hash`: the archive is read again and hashed; `compare`: the source is read again as well
    jobs           number of workers; by default as the filesystem suggests
    max_failures   stop when more sessions than this have failed (not: changed or skipped); None: never
    keep_outcomes  keep every outcome in the result, not only the problems
    trash          move what was archived into the root's trash (docs/nightly.md) instead of removing it
    as_owner       for root: work on each session with the identity of the user it belongs to
    budget         the time it has; nothing is begun near its end
    run            its name in the audit, in the form of `audit.new_run`; by default a new one
    locked         the caller holds the roots (`runark.archive.root.lock_roots`)
    max_ops        filesystem operations a second (`ArchiveOptions.max_ops`); 0: no limit
    max_bytes_s    content bytes read a second; 0: no limit
    back_off       work with fewer workers while the filesystem is slow to answer
    engine         by default the one that made the plan
    control        to stop it and to follow it

    Raises `RootLocked`, `InvalidArgument`, `FormatUnavailable`, before anything is touched. What happens to a session
    is no exception but an outcome. KeyboardInterrupt is passed on after what was begun has been finished or rolled
    back.
    """
    worker = load(engine or plan.scan.engine)
    workers = jobs or default_jobs(plan.roots[0])
    options = check_options(format, level, workers, keep_source or trash, verify)
    options = replace(options, max_ops=max_ops, max_bytes=max_bytes_s)
    parts = [(root, *_range_of(plan, root)) for root in plan.roots]
    locks = [_lockable(plan, *part) for part in parts]
    watch = Watch(control or Control(), locks, budget)
    tally = Tally("archive", worker.name, keep_outcomes)
    work = _Run(worker, options, watch, tally, max_failures)
    work.as_owner = as_owner and os.geteuid() == 0
    run = run or new_run()
    todo = plan.jobs.once()
    with nullcontext(()) if locked else lock_roots(locks, lambda: watch.stop("lock")) as notes:
        tally.notes.extend(notes)
        watch.begin("archive", len(plan.jobs))
        for lock, (root, begin, end) in zip(locks, parts, strict=True):
            work.reserve = reserve_directory(root)
            work.older_than_ns = plan.scan.older_than_ns
            work.trash = run if trash else ""
            with (
                Audit(lock, run, "archive", worker.name) as work.audit,
                Backoff(lock, options.jobs) if back_off and end > begin else nullcontext() as work.backoff,
            ):
                for at in range(begin, end, SLICE):
                    if not (watch.stopped or plan.scan.stopped):
                        work.work(todo[at : min(at + SLICE, end)])
                work.audit.end(tally.counts, watch.stopped)
            tally.notes.extend([work.audit.note] if work.audit.note else [])
            if work.backoff is not None and work.backoff.steps_down:
                tally.notes.append(f"{escape(root)}: slow at times; backed off {work.backoff.steps_down} times")
    stopped = watch.stopped or plan.scan.stopped or ("budget" if plan.left else "")
    return tally.result(faults=plan.faults, stopped=stopped, left=plan.left + len(plan.jobs) - work.given)


def archive_sessions(
    paths: Iterable[PathLike],
    *,
    format: str = "tar.gz",
    level: int | None = None,
    keep_source: bool = False,
    verify: Verify = "hash",
    jobs: int | None = None,
    check: bool = True,
    engine: str = "auto",
    control: Control | None = None,
) -> Result:
    """Archive exactly these directories, whatever they are called.

    check   raise `OperationFailed` if any of them was not archived; then no caller takes it for gone into an archive

    Other arguments as for `archive`. Raises `UnsafePath`, `SourceMissing`, `NotADirectory` before anything is touched.
    """
    control = control or Control()
    sessions = sorted({check_session(path) for path in paths})
    _refuse_nested(sessions)
    worker = load(engine)
    workers = jobs or (default_jobs(sessions[0]) if sessions else 1)
    options = check_options(format, level, workers, keep_source, verify)
    tally = Tally("archive", worker.name, keep=True)
    run = _Run(worker, options, control, tally, None)
    control.begin("archive", len(sessions))
    for at in range(0, len(sessions), SLICE):
        if not control.stopped:
            run.work([ArchiveJob(path) for path in sessions[at : at + SLICE]])
    result = tally.result(stopped=control.stopped, left=len(sessions) - run.given)
    wanted = "kept" if keep_source else "archived"
    if check and result.counts.get(wanted, 0) != len(sessions):
        others = [outcome for outcome in result.outcomes if outcome.action != wanted]
        first = _told(others[0]) if others else "the run was stopped"
        raise OperationFailed(
            f"{len(sessions) - result.counts.get(wanted, 0)} of {len(sessions)} not archived: {first}"
        )
    return result


def _refuse_nested(sessions: Sequence[bytes]) -> None:
    known = set(sessions)
    for session in sessions:
        above = os.path.dirname(session)
        while above != b"/":
            if above in known:
                raise InvalidArgument(f"{escape(session)} lies in {escape(above)}; give only one of them")
            above = os.path.dirname(above)


def check_options(format: str, level: int | None, jobs: int, keep_source: bool, verify: Verify) -> ArchiveOptions:
    """The options, checked as far as they can be without the engine. Raises `InvalidArgument`."""
    if format not in FORMATS:
        raise InvalidArgument(f"unknown format {format!r}; choose one of {', '.join(FORMATS)}")
    if verify not in ("hash", "compare"):
        raise InvalidArgument(f"cannot verify by {verify!r}; choose hash or compare")
    if jobs < 1:
        raise InvalidArgument(f"{jobs} workers cannot do anything; give 1 or more")
    least, most = {"tar.gz": (1, 9), "tar.zst": (1, 19), "tar.xz": (0, 9), "tar": (1, 0)}[format]
    if level is not None and not least <= level <= most:
        levels = f"{least} to {most}" if least <= most else "no level"
        raise InvalidArgument(f"{format} takes {levels}, not level {level}")
    return ArchiveOptions(format=format, level=level, jobs=jobs, keep_source=keep_source, verify=verify)


class _Run:
    """The tasks of one run, one after the other."""

    def __init__(
        self, engine: Engine, options: ArchiveOptions, control: Control, tally: Tally, max_failures: int | None
    ) -> None:
        self.engine, self.options, self.control, self.tally = engine, options, control, tally
        self.max_failures = max_failures
        self.reserve: bytes | None = None
        self.older_than_ns: int | None = None
        self.as_owner = False
        """Each session is worked on by the user it belongs to."""
        self.audit: Audit | None = None
        self.trash = ""
        """The run whose trash takes the sessions; empty: the engine removes them."""
        self.backoff: Backoff | None = None
        self.done = Progress(0, 0, 0, 0)
        self.given = 0

    def work(self, jobs: Sequence[ArchiveJob]) -> None:
        for user, theirs in (_by_owner(jobs) if self.as_owner else {None: jobs}).items():
            if not self.control.stopped:
                self._work(theirs, user)

    def _work(self, jobs: Sequence[ArchiveJob], user: User | None) -> None:
        options = replace(self.options, reserve=self.reserve, older_than_ns=self.older_than_ns)
        if user is None:
            task: Task = self.engine.archive(jobs, options)
        else:
            from runark.engine.as_user import archive_as  # half of all the modules; seldom needed

            task = archive_as(self.engine, jobs, options, user.uid, user.gid)
        if self.backoff is not None:
            self.backoff.watch(task)
        self.given += len(jobs)
        self.done = drive(task, self.control, self._take, self.done)

    def _take(self, outcomes: Sequence[Outcome]) -> None:
        if self.trash:
            assert self.audit is not None
            outcomes = [put(self.audit.root, self.trash, outcome) for outcome in outcomes]
        if self.audit is not None:
            self.audit.add(outcomes)
        self.tally.add(outcomes)
        self.control.outcomes(outcomes)
        if self.max_failures is not None and self.tally.counts["failed"] > self.max_failures:
            self.control.stop("cap")


class User(NamedTuple):
    """Whose sessions they are; the group is asked only of a user without an entry."""

    uid: int
    gid: int


def _by_owner(jobs: Sequence[ArchiveJob]) -> dict[User | None, list[ArchiveJob]]:
    """The jobs by the user whose session each is; None for those of the user of this process."""
    found: dict[User | None, list[ArchiveJob]] = {}
    for job in jobs:
        user = None
        for path in (job.path, *(os.path.join(os.path.dirname(job.path), name) for name in job.leftovers)):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                user = None if status.st_uid == os.geteuid() else User(status.st_uid, status.st_gid)
                break
        found.setdefault(user, []).append(job)
    return found


def _range_of(plan: Plan, root: bytes) -> tuple[int, int]:
    """Where the jobs of a root begin and end: the root itself, and what has it as a prefix, lie together."""

    def path(index: int) -> bytes:
        return plan.jobs.path(index)

    below = root + b"/"
    everything = range(len(plan.jobs))
    begin, end = bisect_left(everything, below, key=path), bisect_left(everything, root + b"0", key=path)
    at = bisect_left(everything, root, key=path)
    if at < len(plan.jobs) and path(at) == root:
        # The root is a session itself, and a session is a leaf.
        return at, at + 1
    return begin, end


def _lockable(plan: Plan, root: bytes, begin: int, end: int) -> bytes:
    """Where the lock goes: into the root, but never into a session."""
    itself = end == begin + 1 and plan.jobs.path(begin) == root
    return os.path.dirname(root) if itself else root


def _told(outcome: Outcome) -> str:
    fault = outcome.fault
    why = f"{fault.op} {escape(fault.path)}: {fault.message}" if fault is not None else escape(outcome.reason)
    return f"{escape(outcome.path)} {outcome.action}" + (f" ({why})" if why else "")
