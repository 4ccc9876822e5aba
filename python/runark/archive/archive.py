"""archive: carry a plan out. The engine packs, proves, publishes and removes; policy says which, how many, and stops.

1. Lock the roots.
2. Hand the jobs to the engine, root by root (each has its reserve), in slices that keep memory bounded.
3. Add the outcomes up; stop when asked, or when too many fail.
4. Top up the reserves, unlock.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Literal

from runark.archive.backoff import Backoff
from runark.archive.control import Control, drive
from runark.archive.guard import check_session
from runark.archive.plan import Plan
from runark.archive.result import Result, Tally
from runark.archive.root import lock_roots, reserve_directory
from runark.archive.workers import default_jobs
from runark.engine import load
from runark.engine.protocol import FORMATS, ArchiveJob, ArchiveOptions, Engine, Outcome, Progress
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
    max_ops        filesystem operations a second (`ArchiveOptions.max_ops`); 0: no limit
    max_bytes_s    content bytes read a second; 0: no limit
    back_off       work with fewer workers while the filesystem is slow to answer
    engine         by default the one that made the plan
    control        to stop it and to follow it

    Raises `RootLocked`, `InvalidArgument`, `FormatUnavailable`, before anything is touched. What happens to a session
    is no exception but an outcome. KeyboardInterrupt is passed on after what was begun has been finished or rolled
    back.
    """
    control = control or Control()
    worker = load(engine or plan.scan.engine)
    options = check_options(format, level, jobs or default_jobs(plan.roots[0]), keep_source, verify)
    options = replace(options, max_ops=max_ops, max_bytes=max_bytes_s)
    tally = Tally("archive", worker.name, keep_outcomes)
    run = _Run(worker, options, control, tally, max_failures)
    parts = [(root, *_range_of(plan, root)) for root in plan.roots]
    with lock_roots([_lockable(plan, *part) for part in parts]) as notes:
        tally.notes.extend(notes)
        control.begin("archive", len(plan.jobs))
        for root, begin, end in parts:
            run.reserve = reserve_directory(root)
            run.older_than_ns = plan.scan.older_than_ns
            lock = _lockable(plan, root, begin, end)
            with Backoff(lock, options.jobs) if back_off and end > begin else nullcontext() as run.backoff:
                for at in range(begin, end, SLICE):
                    if not (control.stopped or plan.scan.stopped):
                        run.work(plan.jobs[at : min(at + SLICE, end)])
            if run.backoff is not None and run.backoff.steps_down:
                tally.notes.append(f"{escape(root)}: slow at times; backed off {run.backoff.steps_down} times")
    stopped = control.stopped or plan.scan.stopped or ("budget" if plan.left else "")
    return tally.result(faults=plan.faults, stopped=stopped, left=plan.left + len(plan.jobs) - run.given)


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
        self.backoff: Backoff | None = None
        self.done = Progress(0, 0, 0, 0)
        self.given = 0

    def work(self, jobs: Sequence[ArchiveJob]) -> None:
        options = replace(self.options, reserve=self.reserve, older_than_ns=self.older_than_ns)
        task = self.engine.archive(jobs, options)
        if self.backoff is not None:
            self.backoff.watch(task)
        self.given += len(jobs)
        self.done = drive(task, self.control, self._take, self.done)

    def _take(self, outcomes: Sequence[Outcome]) -> None:
        self.tally.add(outcomes)
        self.control.outcomes(outcomes)
        if self.max_failures is not None and self.tally.counts["failed"] > self.max_failures:
            self.control.stop("cap")


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
