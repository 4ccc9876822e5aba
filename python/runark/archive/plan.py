"""plan: which sessions would be archived, which are left alone and why. A value; nothing is changed on disk.

1. Scan the roots for sessions, and for what killed runs have left beside them.
2. Leave out what holds the working directory, what its record says is still running, and what is to stay live.
3. Add the sessions that exist only as a tombstone: their removal is to be finished.

The rows stay in the scan's columns; a job is made when it is asked for.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from runark.archive.control import Control, finish_scan
from runark.archive.filters import Filters
from runark.archive.guard import ancestors_of_cwd, check_roots
from runark.archive.leftovers import archived_name, session_of_leftover
from runark.archive.retention import Keep, kept
from runark.archive.scan import Scan, fault_json, scan_checked
from runark.engine import load
from runark.engine.protocol import KINDS, STATUSES, VERDICTS, ArchiveJob, Fault, ScanSpec
from runark.errors import InvalidArgument
from runark.layouts import rules_of
from runark.names import PathLike, json_path
from runark.patterns import compile_name
from runark.record import STALE_NS, Life, life

__all__ = ["PLAN_KINDS", "Jobs", "Plan", "Skip", "archived_too", "plan", "plan_of"]

SCHEMA = 1
PLAN_KINDS = ("session", "archive", "part", "tombstone", "staging", "aside", "discard")
"""The kinds of rows a scan needs to become a plan."""
_SESSION = KINDS.index("session")
_UNKNOWN = STATUSES.index("unknown")


class Skip(NamedTuple):
    """A session that is left alone. `reason`: one of `VERDICTS`, `alive`, `cwd` (it holds the working directory), or
    `keep-last`, `keep-within`, `keep-tag`."""

    path: bytes
    reason: str


class Jobs(Sequence[ArchiveJob]):
    """The jobs of a plan, sorted by path; each is made when it is asked for."""

    def __init__(
        self,
        scan: Scan,
        rows: array[int],
        leftovers: dict[bytes, tuple[bytes, ...]],
        only: Sequence[bytes],
        archived: frozenset[bytes],
        fresh: bool = True,
    ):
        """`rows`: rows of the scan, or -1 - i for the session `only[i]`, which is not in the scan; `archived`: sessions
        that have an archive beside them, or may have. `fresh`: nothing was archived since the scan."""
        self._scan, self.rows, self._leftovers, self._only, self._archived = scan, rows, leftovers, only, archived
        self._fresh = fresh

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._job(row) for row in self.rows[index]]
        return self._job(self.rows[index])

    def only(self, rows: array[int]) -> Jobs:
        """The jobs of these of its `rows`."""
        return Jobs(self._scan, rows, self._leftovers, self._only, self._archived, self._fresh)

    def once(self) -> Jobs:
        """The same, to be carried out now. Whoever carries these out again cannot rely on the scan any more."""
        now, self._fresh = self.only(self.rows), False
        return now

    def path(self, index: int) -> bytes:
        """The path of job `index`."""
        row = self.rows[index]
        return self._scan.path(row) if row >= 0 else self._only[-1 - row]

    def _job(self, row: int) -> ArchiveJob:
        path = self._scan.path(row) if row >= 0 else self._only[-1 - row]
        return ArchiveJob(path, self._leftovers.get(path, ()), self._fresh and row >= 0 and path not in self._archived)


@dataclass(frozen=True)
class Plan:
    """What `archive` will do. Sizes in bytes."""

    scan: Scan
    jobs: Jobs
    left: int
    """Sessions beyond `max_sessions` or `max_bytes`."""
    held: tuple[Skip, ...]
    """Skips decided here: alive, working directory, kept."""
    found: dict[str, int]
    """Archives, part files, tombstones, ... seen, by kind."""
    resumed: dict[str, int]
    """State (docs/durability.md) -> number of jobs that go on where an earlier run was stopped: S1, S2, S3."""

    @property
    def roots(self) -> tuple[bytes, ...]:
        return self.scan.roots

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self.scan.faults

    @property
    def skipped(self) -> dict[str, int]:
        """Reason -> number of sessions left alone."""
        counts = Counter(self.scan.columns.skipped)
        counts.update(skip.reason for skip in self.held)
        return dict(counts)

    def skips(self) -> Iterator[Skip]:
        """Every session that is left alone, with the reason."""
        columns = self.scan.columns
        for index, (kind, verdict) in enumerate(zip(columns.kind, columns.verdict, strict=True)):
            if kind == _SESSION and verdict:
                yield Skip(self.scan.path(index), VERDICTS[verdict])
        yield from self.held

    def sum(self, name: str) -> int:
        """The sum of a column of the scan (`inodes`, `size`, `allocated`) over the jobs; 0 if the scan has not
        measured."""
        values = self.scan.column(name)
        return sum(values[row] for row in self.jobs.rows if row >= 0)

    @property
    def inodes_freed(self) -> int:
        """Inodes that come free: those of the sessions less the new archives. 0 if the scan has not measured."""
        return self.sum("inodes") - self.new_archives if self.scan.measured else 0

    @property
    def new_archives(self) -> int:
        """Archives that will be made; a session with one beside it (S2) will as a rule need no other."""
        return sum(row >= 0 for row in self.jobs.rows) - self.resumed.get("S2", 0)

    def head_json(self) -> dict[str, Any]:
        """The document without jobs and skips."""
        scan = self.scan
        return {
            "schema": SCHEMA,
            "what": "plan",
            "roots": [json_path(root) for root in scan.roots],
            "engine": scan.engine,
            "measured": scan.measured,
            "now_ns": scan.now_ns,
            "older_than_ns": scan.older_than_ns,
            "stopped": scan.stopped,
            "sessions": len(self.jobs),
            "inodes": self.sum("inodes"),
            "size": self.sum("size"),
            "allocated": self.sum("allocated"),
            "inodes_freed": self.inodes_freed,
            "left": self.left,
            "found": dict(self.found),
            "resumed": dict(self.resumed),
            "skipped": self.skipped,
            "faults": [fault_json(fault) for fault in self.faults],
        }

    def jobs_json(self) -> Iterator[dict[str, Any]]:
        """A value for each job."""
        for row, job in zip(self.jobs.rows, self.jobs, strict=True):
            values: dict[str, Any] = {"path": json_path(job.path), "leftovers": [json_path(n) for n in job.leftovers]}
            if row >= 0:
                values.update(
                    (name, self.scan.column(name)[row]) for name in ("newest_ns", "inodes", "size", "allocated")
                )
                values["status"] = STATUSES[self.scan.columns.status[row]]
                values["layout"] = self.scan.layouts[self.scan.columns.layout[row]].name
            yield values

    def skips_json(self) -> Iterator[dict[str, Any]]:
        """A value for each session left alone."""
        return ({"path": json_path(skip.path), "reason": skip.reason} for skip in self.skips())

    def to_json(self) -> dict[str, Any]:
        """A document that `json.dumps` takes; paths as `runark.names.JsonPath`. Makes every job."""
        return {**self.head_json(), "jobs": list(self.jobs_json()), "skips": list(self.skips_json())}


def plan(
    *roots: PathLike,
    filters: Filters | None = None,
    layouts: Sequence[str] = (),
    config: PathLike | None = None,
    measure: bool = True,
    keep: Keep | None = None,
    max_sessions: int | None = None,
    max_bytes: int | None = None,
    jobs: int | None = None,
    engine: str = "auto",
    control: Control | None = None,
) -> Plan:
    """Which sessions below `roots` would be archived. The arguments are those of `runark.scan`; besides:

    measure       tell what would come free; without it the plan is made faster
    keep          what stays live, though every filter lets it through
    max_sessions  no more jobs than this; the rest is counted in `Plan.left`
    max_bytes     no more bytes of files than this, but at least one session; needs `measure`

    Raises as `runark.scan`, and `UnsafePath` for a root that is `/`, the system's or a home directory.
    """
    for name, value in (("max_sessions", max_sessions), ("max_bytes", max_bytes)):
        if value is not None and value < 0:
            raise InvalidArgument(f"{name} is {value}; give 0 or more")
    if max_bytes is not None and not measure:
        raise InvalidArgument("max_bytes needs sizes: leave measure on")
    control = control or Control()
    found = scan_checked(
        check_roots(roots, changing=True),
        filters=filters or Filters(),
        layouts=layouts,
        config=config,
        measure=measure,
        kinds=PLAN_KINDS,
        keep_skipped=True,
        jobs=jobs,
        engine=engine,
        control=control,
    )
    return plan_of(found, keep or Keep(), max_sessions, max_bytes, control)


def plan_of(scan: Scan, keep: Keep, max_sessions: int | None, max_bytes: int | None, control: Control) -> Plan:
    """The plan a scan leads to; of `PLAN_KINDS`, with the skipped ones kept. The rest as for `plan`."""
    rows = scan.selected()[:]  # a copy, to be added to
    held = _holding_cwd(scan)
    held.update((row, "alive") for row in _alive(scan, rows, control) if row not in held)
    held.update((row, why) for row, why in kept(scan, rows, keep).items() if row not in held)
    if control.stopped and not scan.stopped:
        # Not every record has been read: the plan is one to look at, `archive` will not carry it out.
        scan = replace(scan, stopped=control.stopped)
    chosen = set(rows) & held.keys() if held else set()
    if chosen:
        rows = array("q", (row for row in rows if row not in chosen))
    leftovers, only = _leftovers(scan)
    resumed: Counter[str] = Counter()
    for number, path in enumerate(only):
        resumed["S3"] += 1
        rows.insert(
            bisect_left(rows, path, key=lambda row: scan.path(row) if row >= 0 else only[-1 - row]), -1 - number
        )
    taken = set(leftovers) - set(only)
    resumed["S1"] = sum(1 for path in taken if _has(scan, rows, only, path))
    archived = frozenset(archived_too(scan))
    resumed["S2"] = sum(1 for path in archived if _has(scan, rows, only, path))
    archived |= frozenset(scan.roots)  # what lies beside a root that is a session was not looked at
    most = min(len(rows), len(rows) if max_sessions is None else max_sessions)
    if max_bytes is not None:
        most = min(most, _within(scan, rows, max_bytes))
    left = len(rows) - most
    del rows[most:]
    kinds = Counter(scan.columns.kind)
    return Plan(
        scan=scan,
        jobs=Jobs(scan, rows, leftovers, only, archived),
        left=left,
        held=tuple(sorted(Skip(scan.path(row), held[row]) for row in chosen)),
        found={name: kinds[index] for index, name in enumerate(KINDS) if name != "session" and kinds[index]},
        resumed={state: number for state, number in sorted(resumed.items()) if number},
    )


def _within(scan: Scan, rows: Sequence[int], max_bytes: int) -> int:
    """How many of these rows, from the first on, hold no more bytes of files; one in any case, or it would never go."""
    sizes, total = scan.column("size"), 0
    for number, row in enumerate(rows):
        total += sizes[row] if row >= 0 else 0
        if total > max_bytes:
            return max(number, 1)
    return len(rows)


def _has(scan: Scan, rows: array[int], only: Sequence[bytes], path: bytes) -> bool:
    at = bisect_left(rows, path, key=lambda row: scan.path(row) if row >= 0 else only[-1 - row])
    return at < len(rows) and rows[at] >= 0 and scan.path(rows[at]) == path


def _find(scan: Scan, path: bytes) -> int | None:
    """The row of this path."""
    at = bisect_left(range(len(scan)), path, key=scan.path)
    return at if at < len(scan) and scan.path(at) == path else None


def _holding_cwd(scan: Scan) -> dict[int, str]:
    held: dict[int, str] = {}
    for root in scan.roots:
        for path in ancestors_of_cwd(root):
            row = _find(scan, path)
            if row is not None and scan.columns.kind[row] == _SESSION:
                held[row] = "cwd"
    return held


def _alive(scan: Scan, rows: Sequence[int], control: Control) -> list[int]:
    """The rows whose record says that the session still runs."""
    status = scan.columns.status
    alive: list[int] = []
    unsure: list[int] = []
    for row in rows:
        if status[row] == _UNKNOWN:
            if control.stopped:
                break
            state = life(scan.path(row))
            if state is Life.ALIVE:
                alive.append(row)
            elif state is Life.UNSURE:
                unsure.append(row)
    newest = _newest(scan, unsure, control)
    since = scan.now_ns - STALE_NS
    alive += [row for row in unsure if newest.get(row, scan.now_ns) >= since]
    return alive


def _newest(scan: Scan, rows: Sequence[int], control: Control) -> dict[int, int]:
    """The newest change in each of these sessions; one that could not be looked at is not in the answer."""
    if scan.measured or not rows:
        column = scan.column("newest_ns")
        return {row: column[row] for row in rows}
    by_path = {scan.path(row): row for row in rows}
    spec = ScanSpec(
        roots=tuple(by_path), rules=rules_of(scan.layouts), jobs=scan.jobs, measure=True, max_depth=0, keep_skipped=True
    )
    found = finish_scan(load(scan.engine).scan(spec), control)
    times = memoryview(found.newest_ns).cast("q")
    return {by_path[path]: times[i] for i, path in enumerate(found.paths.split(b"\0")[:-1]) if path in by_path}


def _leftovers(scan: Scan) -> tuple[dict[bytes, tuple[bytes, ...]], tuple[bytes, ...]]:
    """Names of part files and tombstones by the session they belong to, and the sessions that are nothing else any
    more.

    A part file without its session belongs to no job: it may be all there is, so it stays and is only counted.
    """
    names: dict[bytes, list[bytes]] = {}
    only: set[bytes] = set()
    part, tombstone = KINDS.index("part"), KINDS.index("tombstone")
    wanted = _Named(scan.filters)
    for row, kind in enumerate(scan.columns.kind):
        if kind not in (part, tombstone):
            continue
        parent, _, name = scan.path(row).rpartition(b"/")
        session = session_of_leftover(name)
        if session is None:
            continue
        path = os.path.join(parent or b"/", session)
        names.setdefault(path, []).append(name)
        status = STATUSES[scan.columns.status[row]]
        if kind == tombstone and _find(scan, path) is None and wanted(session, status):
            only.add(path)
    return {path: tuple(sorted(found)) for path, found in names.items()}, tuple(sorted(only))


class _Named:
    """The filters that can be asked of a session of which only the name is left."""

    def __init__(self, filters: Filters) -> None:
        spec = filters.spec((), (), now_ns=0, jobs=1, measure=False)
        self._include = [compile_name(pattern) for pattern in spec.include]
        self._exclude = [compile_name(pattern) for pattern in spec.exclude]
        self._statuses = filters.status

    def __call__(self, name: bytes, status: str) -> bool:
        return (
            (not self._include or any(pattern.search(name) for pattern in self._include))
            and not any(pattern.search(name) for pattern in self._exclude)
            and (status in self._statuses if self._statuses else status != "running")
        )


def archived_too(scan: Scan) -> Iterator[bytes]:
    """Sessions that have an archive beside them."""
    archive = KINDS.index("archive")
    for row, kind in enumerate(scan.columns.kind):
        if kind != archive:
            continue
        path = scan.path(row)
        parent, _, name = path.rpartition(b"/")
        session = archived_name(name)
        # Between `S` and `S.tar.gz` only names can stand that begin with `S`.
        before = row - 1
        while session is not None and before >= 0 and scan.path(before).startswith(parent + b"/" + session):
            if scan.path(before) == parent + b"/" + session:
                yield scan.path(before)
                break
            before -= 1
