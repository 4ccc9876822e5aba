"""restore: bring sessions back from their archives.

1. Find the archives. 2. Decide where each goes: beside its archive, or below another directory, keeping its place in
the tree that was named. 3. Hand the jobs to the engine, which extracts into a staging directory, proves it and renames
it; an existing target is never touched.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from runark.archive.archives import Found, find_archives
from runark.archive.audit import Audit, is_below, new_run
from runark.archive.control import Control, drive
from runark.archive.filters import Filters
from runark.archive.leftovers import archived_name, session_of_leftover
from runark.archive.plan import Skip
from runark.archive.result import Result, Tally
from runark.archive.root import lock_roots
from runark.archive.scan import Scan, fault_json, scan_checked
from runark.archive.workers import default_jobs
from runark.engine import load
from runark.engine.protocol import KINDS, Fault, Limits, Outcome, Progress, RestoreJob, RestoreOptions, Seal
from runark.errors import InvalidArgument, NotADirectory, UnsafePath
from runark.names import PathLike, escape, json_path, to_bytes

__all__ = ["RestorePlan", "plan_restore", "restore"]

SCHEMA = 1
SLICE = 65_536


@dataclass(frozen=True)
class RestorePlan:
    """What `restore` will do."""

    jobs: tuple[RestoreJob, ...]
    skips: tuple[Skip, ...]
    """Archives that are left alone: `the target exists`, or another archive has the same target."""
    locks: tuple[bytes, ...]
    """The directories that sessions come back into, as they were named; held while the plan is carried out."""
    faults: tuple[Fault, ...]
    engine: str
    workers: int
    stopped: str

    @property
    def skipped(self) -> dict[str, int]:
        """Reason -> number of archives left alone."""
        return dict(Counter(skip.reason for skip in self.skips))

    def to_json(self) -> dict[str, Any]:
        """A document that `json.dumps` takes; paths as `runark.names.JsonPath`."""
        return {
            "schema": SCHEMA,
            "what": "restore-plan",
            "engine": self.engine,
            "stopped": self.stopped,
            "archives": len(self.jobs),
            "skipped": self.skipped,
            "faults": [fault_json(fault) for fault in self.faults],
            "jobs": [{"archive": json_path(job.archive), "dest": json_path(job.dest)} for job in self.jobs],
            "skips": [{"path": json_path(skip.path), "reason": skip.reason} for skip in self.skips],
        }


def plan_restore(
    *paths: PathLike,
    to: PathLike | None = None,
    filters: Filters | None = None,
    layouts: Sequence[str] = (),
    config: PathLike | None = None,
    jobs: int | None = None,
    engine: str = "auto",
    control: Control | None = None,
) -> RestorePlan:
    """Which sessions would be restored, and where to. Nothing is changed.

    paths   archives, or directories searched for archived sessions at any depth
    to      the directory to restore into, in which an archive found below a directory keeps its place;
            without, each session comes back beside its archive

    Raises `SourceMissing`, `UnsafePath`, `InvalidArgument` for paths that cannot be used.
    """
    control = control or Control()
    found = find_archives(
        paths,
        filters=filters or Filters(),
        layouts=layouts,
        config=config,
        jobs=jobs,
        engine=engine,
        control=control,
        kinds=("archive", "staging"),
        changing=to is None,
    )
    target = None if to is None else _target(to)
    worker = load(engine)
    stale = _stale(found, target, layouts, config, worker.name, control)
    planned: list[RestoreJob] = []
    skips: list[Skip] = []
    taken: set[bytes] = set()
    for path in found.paths:
        dest = _dest(path, found.bases.get(path), target)
        if dest in taken:
            skips.append(Skip(path, f"another archive is restored to {escape(dest)}"))
        elif os.path.lexists(dest):
            skips.append(Skip(path, "the target exists"))
        else:
            taken.add(dest)
            planned.append(RestoreJob(path, dest, stale.get(dest, ())))
    some = target or (found.paths[0] if found.paths else b"/")
    return RestorePlan(
        jobs=tuple(planned),
        skips=tuple(skips),
        locks=found.directories if target is None else (),
        faults=found.faults,
        engine=worker.name,
        workers=jobs or default_jobs(_nearest(some)),
        stopped=found.stopped,
    )


def restore(
    *paths: PathLike | RestorePlan,
    to: PathLike | None = None,
    remove_archive: bool = False,
    same_owner: bool = False,
    special_modes: bool = False,
    limits: Limits | None = None,
    keep_outcomes: bool = False,
    jobs: int | None = None,
    engine: str = "auto",
    control: Control | None = None,
) -> Result:
    """Restore sessions; `paths` as for `plan_restore`, or one `RestorePlan`.

    remove_archive  remove each archive once its session is back and durable
    same_owner      give files their stored owner (needs root)
    special_modes   give files setuid, setgid and sticky back
    limits          what is accepted, see `Limits`

    Raises `RootLocked` and what `plan_restore` raises; what happens to an archive is no exception but an outcome.
    """
    control = control or Control()
    todo = _planned(paths, to, jobs, engine, control)
    worker = load(todo.engine)
    options = RestoreOptions(
        jobs=jobs or todo.workers,
        remove_archive=remove_archive,
        same_owner=same_owner,
        special_modes=special_modes,
        limits=limits or Limits(),
    )
    tally = Tally("restore", worker.name, keep_outcomes)
    for reason, number in todo.skipped.items():
        tally.counts["skipped"] += number
        tally.note_reason("skipped", reason, number)
    done, given = Progress(0, 0, 0, 0), 0

    audits: list[Audit] = []

    def take(outcomes: Sequence[Outcome]) -> None:
        for audit in audits:
            audit.add([outcome for outcome in outcomes if is_below(outcome.path, audit.root)])
        tally.add(outcomes)
        control.outcomes(outcomes)

    with lock_roots(todo.locks) as notes, ExitStack() as stack:
        tally.notes.extend(notes)
        run, verb = new_run(), "restore --remove-archive" if remove_archive else "restore"
        audits.extend(stack.enter_context(Audit(root, run, verb, worker.name)) for root in todo.locks)
        control.begin("restore", len(todo.jobs))
        for at in range(0, len(todo.jobs), SLICE):
            if control.stopped or todo.stopped:
                break
            some = todo.jobs[at : at + SLICE]
            for directory in {os.path.dirname(job.dest) for job in some}:
                os.makedirs(directory, exist_ok=True)
            given += len(some)
            done = drive(worker.restore(some, options), control, take, done)
        for audit in audits:
            audit.end(tally.counts, control.stopped)
            tally.notes.extend([audit.note] if audit.note else [])
    return tally.result(faults=todo.faults, stopped=control.stopped or todo.stopped, left=len(todo.jobs) - given)


def content_of(plan: RestorePlan) -> tuple[int, int, int]:
    """Content bytes, entries and archives without a seal, by the seals of a plan's archives; reads each seal."""
    worker = load(plan.engine)
    content = entries = unsealed = 0
    for at in range(0, len(plan.jobs), SLICE):
        for seal in worker.seals([job.archive for job in plan.jobs[at : at + SLICE]], plan.workers):
            if isinstance(seal, Seal):
                content, entries = content + seal.content, entries + seal.entries
            else:
                unsealed += 1
    return content, entries, unsealed


def _planned(
    paths: Sequence[PathLike | RestorePlan], to: PathLike | None, jobs: int | None, engine: str, control: Control
) -> RestorePlan:
    plans = [path for path in paths if isinstance(path, RestorePlan)]
    if not plans:
        plain = [path for path in paths if not isinstance(path, RestorePlan)]
        return plan_restore(*plain, to=to, jobs=jobs, engine=engine, control=control)
    if len(paths) > 1 or to is not None:
        raise InvalidArgument("give either paths or one plan; the plan says where to")
    return plans[0]


def _target(to: PathLike) -> bytes:
    raw = to_bytes(to)
    if not raw:
        raise UnsafePath("an empty path to restore to; is a variable unset?")
    absolute = os.path.realpath(raw)
    if os.path.lexists(absolute) and not os.path.isdir(absolute):
        raise NotADirectory(f"{escape(raw)} is not a directory; name a directory to restore into")
    return absolute


def _dest(path: bytes, base: bytes | None, target: bytes | None) -> bytes:
    parent, name = os.path.split(path)
    session = archived_name(name)
    if session is None:
        raise InvalidArgument(
            f"{escape(path)}: by its name this is no archive (*.tar.gz, *.tar.zst, *.tar.xz, *.tar); rename it so"
        )
    if target is None:
        return os.path.join(parent, session)
    place = os.path.relpath(parent, base) if base is not None else b"."
    return os.path.normpath(os.path.join(target, place, session))


def _stale(
    found: Found, target: bytes | None, layouts: Sequence[str], config: PathLike | None, engine: str, control: Control
) -> dict[bytes, tuple[bytes, ...]]:
    """Names of staging directories that killed runs left, by the directory they were to become."""
    scans = list(found.scans)
    if target is not None:
        scans = []
        if os.path.isdir(target):
            scans.append(
                scan_checked(
                    (target,), filters=Filters(), layouts=layouts, config=config, measure=False, kinds=("staging",),
                    keep_skipped=False, jobs=None, engine=engine, control=control,
                )
            )  # fmt: skip
    names: dict[bytes, list[bytes]] = {}
    for path in (path for scan in scans for path in _staging(scan)):
        parent, name = os.path.split(path)
        session = session_of_leftover(name)
        if session is not None:
            names.setdefault(os.path.join(parent, session), []).append(name)
    return {dest: tuple(sorted(some)) for dest, some in names.items()}


def _staging(scan: Scan) -> Iterator[bytes]:
    kind = KINDS.index("staging")
    return (scan.path(row) for row, this in enumerate(scan.columns.kind) if this == kind)


def _nearest(path: bytes) -> bytes:
    """The path, or the nearest one above it that exists."""
    while not os.path.exists(path) and path != b"/":
        path = os.path.dirname(path)
    return path
