"""doctor: what killed runs and processes have left in trees, and what the next run will do with each of them.

1. Plan as `archive` does, without any filter; the scan behind it also finds part files, tombstones, staging
   directories, and archives that were set aside.
2. Explain each: read archives that stand beside their sessions or tombstones through, ask locks whether somebody is
   at work, ask the records of sessions under RUNNING/ whether their processes still are.
3. `treat` carries out the part of the plan that findings are about.
"""

from __future__ import annotations

import errno
import fcntl
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from runark.archive.archive import archive
from runark.archive.control import Control, drive
from runark.archive.filters import Filters
from runark.archive.leftovers import archived_name, session_of_leftover
from runark.archive.plan import Plan, plan
from runark.archive.result import Result
from runark.archive.root import DIRECTORY
from runark.archive.scan import fault_json
from runark.engine import load
from runark.engine.protocol import KINDS, STATUSES, Fault, Outcome, Progress, VerifyOptions
from runark.names import PathLike, json_path
from runark.record import RECORD, Life, life

__all__ = ["STATES", "Diagnosis", "Finding", "examine", "treat"]

SCHEMA = 1
STATES: tuple[str, ...] = ("part", "both", "tombstone", "staging", "aside", "discard", "ghost", "lock")
"""What a finding is about; the first three are what `treat` works on (S1, S2 and S3 of docs/durability.md)."""


class Finding(NamedTuple):
    """Something that is neither a session nor an archive by itself."""

    path: bytes
    state: str
    what: str
    then: str
    """What the next run of `archive` does with it; for staging directories the next `restore`."""
    session: bytes
    """The session it belongs to."""

    def to_json(self) -> dict[str, Any]:
        return {"path": json_path(self.path), "state": self.state, "what": self.what, "then": self.then}


@dataclass(frozen=True)
class Diagnosis:
    """What was found, sorted by path, and the plan it comes from."""

    plan: Plan
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What could not be listed or read."""
        return self.plan.faults

    @property
    def treatable(self) -> Plan:
        """The part of the plan that concerns findings."""
        wanted = {finding.session for finding in self.findings if finding.state in STATES[:3]}
        jobs = self.plan.jobs
        rows = array("q", (jobs.rows[at] for at in range(len(jobs)) if jobs.path(at) in wanted))
        return replace(self.plan, jobs=jobs.only(rows))

    def to_json(self) -> dict[str, Any]:
        """A document that `json.dumps` takes."""
        return {
            "schema": SCHEMA,
            "what": "doctor",
            "roots": [json_path(root) for root in self.plan.roots],
            "findings": [finding.to_json() for finding in self.findings],
            "faults": [fault_json(fault) for fault in self.faults],
        }


def examine(
    *roots: PathLike,
    layouts: Sequence[str] = (),
    config: PathLike | None = None,
    jobs: int | None = None,
    engine: str = "auto",
    control: Control | None = None,
) -> Diagnosis:
    """Explain what earlier runs have left below `roots`. Nothing is changed. Raises as `runark.plan`."""
    control = control or Control()
    found = plan(
        *roots,
        filters=Filters(),
        layouts=layouts,
        config=config,
        measure=False,
        jobs=jobs,
        engine=engine,
        control=control,
    )
    return Diagnosis(found, tuple(sorted([*_leftovers(found, control), *_ghosts(found), *_locks(found)])))


def treat(
    diagnosis: Diagnosis, *, keep_source: bool = False, jobs: int | None = None, control: Control | None = None
) -> Result:
    """Do what the next run would do with the findings: drop part files and archive their sessions, compare sessions
    with the archives beside them, finish removals or give their sessions back.

    keep_source   leave the sessions in place

    What others work on is left alone, as are staging directories, set-aside archives and ghosts. Raises as `archive`.
    """
    return archive(diagnosis.treatable, keep_source=keep_source, jobs=jobs, keep_outcomes=True, control=control)


def _leftovers(found: Plan, control: Control) -> Iterator[Finding]:
    scan = found.scan
    kinds = [KINDS[number] for number in scan.columns.kind]
    paths = [scan.path(row) for row, kind in enumerate(kinds) if kind != "session"]
    sessions = {scan.path(row) for row, kind in enumerate(kinds) if kind == "session"}
    running = {scan.path(row) for row, number in enumerate(scan.columns.status) if STATUSES[number] == "running"}
    rows = dict(zip(paths, (kind for kind in kinds if kind != "session"), strict=True))
    owners = {path: _session_of(path, kind) for path, kind in rows.items()}
    buried = {owners[path] for path, kind in rows.items() if kind == "tombstone"}
    beside = [path for path, kind in rows.items() if kind == "archive" and owners[path] in sessions | buried]
    state = _verified(found, beside, control)
    archives: dict[bytes, list[bytes]] = {}
    for path in beside:
        archives.setdefault(owners[path], []).append(path)
    planned = {found.jobs.path(at) for at in range(len(found.jobs))}
    for path, kind in rows.items():
        session = owners[path]
        if session in running or path in running:
            continue
        live = kind in ("part", "tombstone", "staging", "discard") and _is_held(path)
        if kind == "part":
            if live:
                yield Finding(
                    path, kind, "a part file that another run is writing", "leaves the session alone", session
                )
            elif session in sessions:
                yield Finding(path, kind, "a part file of a killed run", "drops it and archives the session", session)
            else:
                what = "a part file whose session is gone; it may be all there is"
                yield Finding(path, kind, what, "leaves it: look at it and remove it by hand", session)
        elif kind == "archive" and session in sessions:
            sound = state.get(path) in ("sound", "unsealed")
            what = "an archive beside its session" if sound else "a damaged archive beside its session"
            if session not in planned:
                then = "leaves both alone, as the session is (see runark archive)"
            elif sound:
                then = "compares them; equal: removes the session; not: sets the archive aside and makes it anew"
            else:
                then = "sets it aside as damaged and makes it anew"
            yield Finding(path, "both", what, then, session)
        elif kind == "tombstone":
            good = any(state.get(archive) in ("sound", "unsealed") for archive in archives.get(session, ()))
            if live:
                what, then = "a session that another run is removing", "leaves it alone"
            elif good:
                what, then = (
                    "a session whose removal was interrupted, with a sound archive",
                    "compares what is left and removes it",
                )
            elif session in sessions:
                what, then = "what is left of a session of which there is another", "leaves it: look at both"
            else:
                what, then = (
                    "a session whose removal was interrupted, without a sound archive",
                    "gives it its name back",
                )
            yield Finding(path, kind, what, then, session)
        elif kind == "staging":
            what = "what another run is restoring" if live else "what a killed restore has left"
            then = "leaves it alone" if live else "drops it when the session is restored again"
            yield Finding(path, kind, what, then, session)
        elif kind == "discard":
            what = "a session that another process is discarding" if live else "what is left of a discarded session"
            yield Finding(path, kind, what, "leaves it alone; the next pruning of runark.workdir removes it", session)
        elif kind == "aside":
            what = (
                "an archive that was damaged"
                if b".damaged-" in path
                else "an archive that another has taken the place of"
            )
            yield Finding(path, kind, what, "never touches it: look at it and remove it by hand", session)


def _session_of(path: bytes, kind: str) -> bytes:
    """The session something belongs to, by its name."""
    parent, _, name = path.rpartition(b"/")
    if kind == "archive":
        session = archived_name(name)
    elif kind == "aside":
        session = archived_name(name[1:].rpartition(b".")[0])
    else:
        session = session_of_leftover(name)
    return os.path.join(parent or b"/", session or name)


def _verified(found: Plan, archives: Sequence[bytes], control: Control) -> dict[bytes, str]:
    """Archive -> what `verify` says of it."""
    said: dict[bytes, str] = {}

    def take(outcomes: Sequence[Outcome]) -> None:
        said.update((outcome.path, outcome.action) for outcome in outcomes)

    if archives:
        control.begin("verify", len(archives))
        task = load(found.scan.engine).verify(archives, VerifyOptions(jobs=found.scan.jobs))
        drive(task, control, take, Progress(0, 0, 0, 0))
    return said


def _is_held(path: bytes) -> bool:
    """Whether a process holds the lock on a part file, tombstone or staging directory."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(handle)
    return False


def _ghosts(found: Plan) -> Iterator[Finding]:
    """Sessions below RUNNING/ whose process is gone, or of which nobody can tell."""
    scan = found.scan
    for row, number in enumerate(scan.columns.status):
        if STATUSES[number] != "running" or KINDS[scan.columns.kind[row]] != "session":
            continue
        path = scan.path(row)
        state = life(path)
        if state is Life.ALIVE:
            continue
        if state is Life.UNSURE:
            what = "below RUNNING/; whether it runs cannot be told from here (another host, or an unreadable record)"
        elif os.path.lexists(os.path.join(path, RECORD)):
            what = "below RUNNING/, but its process has ended"
        else:
            what = "below RUNNING/, without a record of its process"
        yield Finding(
            path, "ghost", what, "leaves it alone, as all below RUNNING/; runark reconcile moves what is over", path
        )


def _locks(found: Plan) -> Iterator[Finding]:
    """Holder files whose run is gone: the lock went with it."""
    for root in found.roots:
        holder, lock = os.path.join(root, DIRECTORY, b"holder.json"), os.path.join(root, DIRECTORY, b"lock")
        if os.path.lexists(holder) and not _is_held(lock) and not _is_held(root):
            yield Finding(holder, "lock", "the note of a run that was killed; its lock is gone", "writes it anew", root)
