"""Drive an engine from a test: start a task, wait for all of it, give the outcomes back in the order of the jobs."""

from __future__ import annotations

import os
import re
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from runark.engine.protocol import (
    KINDS,
    STATUSES,
    VERDICTS,
    ArchiveJob,
    ArchiveOptions,
    DiscardJob,
    Engine,
    Outcome,
    RestoreJob,
    RestoreOptions,
    Rule,
    ScanColumns,
    ScanSpec,
    Task,
    VerifyOptions,
)
from support.trees import PathLike

__all__ = [
    "PATIENCE",
    "RULE",
    "Row",
    "archive",
    "archive_all",
    "archive_one",
    "columns",
    "discard_all",
    "discard_one",
    "drain",
    "jobs_of",
    "named_in",
    "restore_all",
    "restore_one",
    "rows",
    "verify",
    "verify_one",
]

PATIENCE = 120.0
"""Seconds after which a task that has not ended counts as hung."""

RULE = Rule("scitex", rb"(?:DEBUG_)?\d{4}Y-\d{2}M-\d{2}D-\d{2}h\d{2}m\d{2}s_[0-9A-Za-z]{4}(?:-.+)?")
"""A rule for engine tests, so that they do not rest on the layouts of the policy layer."""


def _bytes(path: PathLike) -> bytes:
    return os.path.abspath(os.fsencode(path))


def drain(task: Task, on_outcome: Callable[[Outcome], None] | None = None) -> list[Outcome]:
    """All outcomes of a task; fails if it does not end."""
    deadline = time.monotonic() + PATIENCE
    found: list[Outcome] = []
    while True:
        some = task.poll(0.2)
        if some is None:
            return found
        for outcome in some:
            found.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
        assert time.monotonic() < deadline, f"the task did not end within {PATIENCE} s; {len(found)} outcomes so far"


def _ordered(paths: Sequence[bytes], outcomes: Sequence[Outcome]) -> list[Outcome]:
    by_path = {outcome.path: outcome for outcome in outcomes}
    assert len(outcomes) == len(paths), f"{len(paths)} jobs, {len(outcomes)} outcomes"
    assert by_path.keys() == set(paths), "an outcome is missing or for a path that was not asked for"
    for outcome in outcomes:
        _well_formed(outcome)
    return [by_path[path] for path in paths]


def _well_formed(outcome: Outcome) -> None:
    assert isinstance(outcome.path, bytes) and isinstance(outcome.target, bytes), outcome
    assert isinstance(outcome.notes, tuple), outcome
    assert outcome.milliseconds >= 0, outcome
    if outcome.action == "failed":
        assert outcome.fault is not None, f"a failure without a fault: {outcome}"
    if outcome.fault is not None:
        assert outcome.fault.op and outcome.fault.message, outcome


# ------------------------------------------------------------------------------------------------ archive


def archive(engine: Engine, jobs: Sequence[ArchiveJob], /, **options: Any) -> list[Outcome]:
    """Archive these jobs."""
    task = engine.archive(jobs, ArchiveOptions(**options))
    outcomes = _ordered([job.path for job in jobs], drain(task))
    progress = task.progress()
    assert (progress.done, progress.total) == (len(jobs), len(jobs)), progress
    return outcomes


def archive_all(engine: Engine, paths: Iterable[PathLike], **options: Any) -> list[Outcome]:
    """Archive these sessions, none of which has leftovers."""
    return archive(engine, [ArchiveJob(_bytes(path)) for path in paths], **options)


def archive_one(engine: Engine, path: PathLike, leftovers: Sequence[bytes] = (), **options: Any) -> Outcome:
    """Archive one session."""
    (outcome,) = archive(engine, [ArchiveJob(_bytes(path), tuple(leftovers))], **options)
    return outcome


# ------------------------------------------------------------------------------------------------ discard


def discard_all(engine: Engine, paths: Iterable[PathLike], workers: int = 2) -> list[Outcome]:
    """Discard these directories, as they are now."""
    wanted = [_bytes(path) for path in paths]
    seen = [os.lstat(path) for path in wanted]
    jobs = [DiscardJob(path, status.st_dev, status.st_ino) for path, status in zip(wanted, seen, strict=True)]
    return _ordered(wanted, drain(engine.discard(jobs, workers)))


def discard_one(engine: Engine, path: PathLike) -> Outcome:
    """Discard one directory, as it is now."""
    (outcome,) = discard_all(engine, [path])
    return outcome


# ------------------------------------------------------------------------------------------------ restore, verify


def restore_all(engine: Engine, jobs: Sequence[RestoreJob], /, **options: Any) -> list[Outcome]:
    """Restore these jobs."""
    return _ordered([job.archive for job in jobs], drain(engine.restore(jobs, RestoreOptions(**options))))


def restore_one(
    engine: Engine, path: PathLike, dest: PathLike, leftovers: Sequence[bytes] = (), **options: Any
) -> Outcome:
    """Restore one archive to `dest`."""
    (outcome,) = restore_all(engine, [RestoreJob(_bytes(path), _bytes(dest), tuple(leftovers))], **options)
    return outcome


def verify(engine: Engine, paths: Sequence[PathLike], **options: Any) -> list[Outcome]:
    """Verify these archives."""
    wanted = [_bytes(path) for path in paths]
    return _ordered(wanted, drain(engine.verify(wanted, VerifyOptions(**options))))


def verify_one(engine: Engine, path: PathLike) -> Outcome:
    """Verify one archive."""
    (outcome,) = verify(engine, [path])
    return outcome


def named_in(outcome: Outcome, member: bytes) -> bool:
    """Whether the outcome names the member, in its fault or its reason, as it is or escaped."""
    fault = outcome.fault
    told = [outcome.reason.encode("utf-8", "surrogateescape")]
    if fault is not None:
        told += [fault.path, fault.message.encode("utf-8", "surrogateescape")]
    escaped = repr(member)[2:-1].encode()
    return any(member in text or escaped in text for text in told)


# ------------------------------------------------------------------------------------------------ scan


class Row(NamedTuple):
    """One row of `ScanColumns`, readable."""

    path: bytes
    kind: str
    status: str
    verdict: str
    layout: str
    mtime_ns: int
    newest_ns: int
    inodes: int
    size: int
    allocated: int
    uid: int


def columns(engine: Engine, *roots: PathLike, spec: ScanSpec | None = None, **fields: Any) -> ScanColumns:
    """Scan these roots with `RULE` and the given fields of `ScanSpec`."""
    base = spec if spec is not None else ScanSpec(roots=(), rules=(RULE,))
    wanted = replace(base, **fields)
    if roots:
        wanted = replace(wanted, roots=tuple(_bytes(root) for root in roots))
    task = engine.scan(wanted)
    deadline = time.monotonic() + PATIENCE
    while not task.poll(0.2):
        assert time.monotonic() < deadline, f"the scan did not end within {PATIENCE} s"
    return task.result()


def rows(found: ScanColumns, rules: Sequence[Rule] = (RULE,)) -> list[Row]:
    """The rows of a scan, checked for their form: one length for every column, sorted by path."""
    paths = found.paths.split(b"\0")
    assert paths.pop() == b"", "a path without NUL at the end"
    assert paths == sorted(paths), "rows are not sorted by the bytes of their paths"
    assert len(set(paths)) == len(paths), "a path stands in two rows"
    numbers: dict[str, array[int]] = {}
    for name in ("mtime_ns", "newest_ns", "inodes", "size", "allocated", "uid"):
        numbers[name] = array("q")
        numbers[name].frombytes(getattr(found, name))
        assert len(numbers[name]) == len(paths), f"column {name}: {len(numbers[name])} values for {len(paths)} paths"
    for name in ("kind", "status", "verdict", "layout"):
        assert len(getattr(found, name)) == len(paths), f"column {name} has another length than paths"
    return [
        Row(
            path,
            KINDS[found.kind[i]],
            STATUSES[found.status[i]],
            VERDICTS[found.verdict[i]],
            rules[found.layout[i]].name,
            *(numbers[name][i] for name in ("mtime_ns", "newest_ns", "inodes", "size", "allocated", "uid")),
        )
        for i, path in enumerate(paths)
    ]


_LEFTOVER = re.compile(
    rb"\.(?P<name>.+?)(?:\.(?:tar\.gz|tar\.zst|tar\.xz|tar)\.[0-9a-f]{16}\.part|\.removing-[0-9a-f]{16})\Z", re.DOTALL
)


def jobs_of(engine: Engine, *roots: PathLike) -> list[ArchiveJob]:
    """The jobs of a second run: sessions and what was left beside them, as a scan of all kinds finds them."""
    found = columns(engine, *roots, kinds=tuple(kind for kind in KINDS if kind != "archive"))
    leftovers: dict[bytes, list[bytes]] = {}
    for row in rows(found):
        if row.kind == "session":
            leftovers.setdefault(row.path, [])
        elif row.kind in ("part", "tombstone"):
            parent, _, name = row.path.rpartition(b"/")
            match = _LEFTOVER.match(name)
            assert match is not None, f"a {row.kind} with an unexpected name: {row.path!r}"
            leftovers.setdefault(parent + b"/" + match["name"], []).append(name)
    return [ArchiveJob(path, tuple(sorted(names))) for path, names in sorted(leftovers.items())]
