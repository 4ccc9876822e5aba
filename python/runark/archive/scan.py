"""scan: find the sessions in trees, and measure them on request. Read only.

The engine answers with columns; a `Scan` keeps them and makes a `Row` only when one is asked for, so that a million
sessions take some hundred bytes each.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress
from operator import not_, or_
from typing import Any, NamedTuple

from runark import configuration
from runark import layouts as known_layouts
from runark.archive.control import Control, finish_scan
from runark.archive.filters import Filters
from runark.archive.guard import check_roots, cwd
from runark.archive.workers import default_jobs
from runark.engine import load
from runark.engine.protocol import KINDS, STATUSES, VERDICTS, Fault, ScanColumns
from runark.errors import InvalidArgument
from runark.layouts import Layout
from runark.names import JsonPath, PathLike, json_path

__all__ = ["SORTS", "Row", "Scan", "fault_json", "layouts_for", "scan"]

SCHEMA = 1
SORTS: tuple[str, ...] = ("path", "size", "inodes", "allocated", "age")
"""Orders of sessions: by the bytes of the path, the largest first, the oldest first."""


class Row(NamedTuple):
    """One session (or archive, ... see `KINDS` in `runark.engine.protocol`). Sizes in bytes, times in nanoseconds
    since 1970."""

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
    started: datetime | None

    def to_json(self) -> dict[str, Any]:
        return {
            "path": json_path(self.path),
            "kind": self.kind,
            "status": self.status,
            "verdict": self.verdict,
            "layout": self.layout,
            "mtime_ns": self.mtime_ns,
            "newest_ns": self.newest_ns,
            "inodes": self.inodes,
            "size": self.size,
            "allocated": self.allocated,
            "uid": self.uid,
            "started": None if self.started is None else self.started.isoformat(),
        }


@dataclass(frozen=True)
class Scan(Sequence[Row]):
    """What a scan has found, sorted by the bytes of the paths; a sequence of rows."""

    roots: tuple[bytes, ...]
    layouts: tuple[Layout, ...]
    columns: ScanColumns
    measured: bool
    """Whether inodes, size, allocated and newest_ns were taken of every entry."""
    now_ns: int
    """When the scan began; ages count back from here."""
    older_than_ns: int | None
    engine: str
    jobs: int
    filters: Filters
    stopped: str = ""
    """Not empty: the scan was interrupted and is not complete."""
    _made: dict[str, array[int]] = field(default_factory=dict, repr=False, compare=False)
    """What was computed from the columns and is asked for again."""

    def __len__(self) -> int:
        return len(self.columns.kind)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.row(i) for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.row(index)

    def __iter__(self) -> Iterator[Row]:
        return map(self.row, range(len(self)))

    def row(self, index: int) -> Row:
        """Row `index`, made now."""
        columns = self.columns
        path = self.path(index)
        layout = self.layouts[columns.layout[index]]
        return Row(
            path,
            KINDS[columns.kind[index]],
            STATUSES[columns.status[index]],
            VERDICTS[columns.verdict[index]],
            layout.name,
            self.column("mtime_ns")[index],
            self.column("newest_ns")[index],
            self.column("inodes")[index],
            self.column("size")[index],
            self.column("allocated")[index],
            self.column("uid")[index],
            known_layouts.started(layout, path) if columns.kind[index] == 0 else None,
        )

    def path(self, index: int) -> bytes:
        """The path of row `index`."""
        ends = self._ends()
        return self.columns.paths[ends[index - 1] + 1 if index else 0 : ends[index]]

    def column(self, name: str) -> memoryview[int]:
        """A column of integers (`mtime_ns`, `newest_ns`, `inodes`, `size`, `allocated`, `uid`), without a copy."""
        raw: bytes = getattr(self.columns, name)
        return memoryview(raw).cast("q")

    def _ends(self) -> array[int]:
        ends = self._made.get("ends")
        if ends is None:
            ends, at, paths = array("q"), -1, self.columns.paths
            for _ in range(len(self)):
                at = paths.index(b"\0", at + 1)
                ends.append(at)
            self._made["ends"] = ends
        return ends

    def selected(self) -> array[int]:
        """The indexes of the sessions that every filter lets through."""
        chosen = self._made.get("selected")
        if chosen is None:
            # Kind `session` and verdict `selected` both have the number 0.
            other = map(or_, self.columns.kind, self.columns.verdict)
            chosen = self._made["selected"] = array("q", compress(range(len(self)), map(not_, other)))
        return chosen

    def ordered(self, sort: str = "path", limit: int = 0) -> Sequence[int]:
        """The indexes of the selected sessions in the order of `SORTS`, at most `limit` of them (0: all)."""
        rows: Sequence[int] = self.selected()
        if sort == "age":
            newest = self.column("newest_ns" if self.measured else "mtime_ns")
            rows = sorted(rows, key=newest.__getitem__)
        elif sort != "path":
            if sort not in SORTS:
                raise InvalidArgument(f"cannot sort by {sort!r}; choose one of {', '.join(SORTS)}")
            rows = sorted(rows, key=self.column(sort).__getitem__, reverse=True)
        return rows[:limit] if limit else rows

    def paths0(self, sort: str = "path", limit: int = 0) -> bytes:
        """The paths of the selected sessions, NUL after each, ordered as by `ordered`."""
        chosen = self.ordered(sort, limit)
        if sort == "path" and len(chosen) == len(self):
            return self.columns.paths
        return b"".join(self.path(index) + b"\0" for index in chosen)

    def sum(self, name: str) -> int:
        """The sum of a column over the selected sessions."""
        values, chosen = self.column(name), self.selected()
        return sum(values) if len(chosen) == len(self) else sum(map(values.__getitem__, chosen))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What could not be listed or read."""
        return self.columns.faults

    def head_json(self) -> dict[str, Any]:
        """The document without its rows."""
        return {
            "schema": SCHEMA,
            "what": "scan",
            "roots": [json_path(root) for root in self.roots],
            "engine": self.engine,
            "measured": self.measured,
            "now_ns": self.now_ns,
            "stopped": self.stopped,
            "sessions": len(self.selected()),
            "inodes": self.sum("inodes"),
            "size": self.sum("size"),
            "allocated": self.sum("allocated"),
            "directories": self.columns.directories,
            "entries": self.columns.entries,
            "skipped": dict(self.columns.skipped),
            "faults": [fault_json(fault) for fault in self.faults],
        }

    def to_json(self) -> dict[str, Any]:
        """A document that `json.dumps` takes; paths as `runark.names.JsonPath`. Makes every row."""
        return {**self.head_json(), "rows": [row.to_json() for row in self]}


def fault_json(fault: Fault) -> dict[str, Any]:
    """A fault for a JSON document."""
    path: JsonPath = json_path(fault.path)
    return {"op": fault.op, "path": path, "errno": fault.errno, "message": fault.message}


def layouts_for(
    roots: Sequence[bytes], names: Sequence[str] = (), config: PathLike | None = None
) -> tuple[Layout, ...]:
    """The layouts for these roots: those of the `runark.yaml` that holds for them, then the built-in ones.

    Raises `ConfigError`, and `InvalidArgument` if the roots have different configurations.
    """
    if config is not None:
        return known_layouts.choose(names, known_layouts.load_config(os.fsencode(config)))
    here = cwd() or b"/"
    files = {configuration.find(root, here) for root in roots}
    if len(files) > 1:
        raise InvalidArgument(
            f"the roots have different {configuration.NAME} files; give the roots one at a time,"
            " or the file that holds for all with --config"
        )
    file = files.pop() if files else None
    return known_layouts.choose(names, known_layouts.load_config(file) if file is not None else ())


def scan(
    *roots: PathLike,
    filters: Filters | None = None,
    layouts: Sequence[str] = (),
    config: PathLike | None = None,
    measure: bool = True,
    kinds: Sequence[str] = ("session",),
    keep_skipped: bool = False,
    jobs: int | None = None,
    engine: str = "auto",
    control: Control | None = None,
) -> Scan:
    """Find the sessions below `roots`, at any depth.

    filters       which ones; none: all that are not running
    layouts       names of layouts to look for; empty: all known ones
    config        the `runark.yaml` to use instead of the one in the root or the working directory
    measure       stat every entry, for inodes, bytes and the newest change; without, only directories are listed
    kinds         what to report (`runark.engine.protocol.KINDS`)
    keep_skipped  also report sessions that a filter holds back, with the verdict that says which
    jobs          number of workers; by default as the filesystem suggests
    control       to stop it and to follow it

    Raises `SourceMissing`, `NotADirectory`, `UnsafePath` for a bad root, `InvalidArgument` for a bad filter. What
    cannot be read below a root is no exception but in `Scan.faults`.
    """
    return scan_checked(
        check_roots(roots, changing=False),
        filters=filters or Filters(),
        layouts=layouts,
        config=config,
        measure=measure,
        kinds=kinds,
        keep_skipped=keep_skipped,
        jobs=jobs,
        engine=engine,
        control=control or Control(),
    )


def scan_checked(
    roots: tuple[bytes, ...],
    *,
    filters: Filters,
    layouts: Sequence[str],
    config: PathLike | None,
    measure: bool,
    kinds: Sequence[str],
    keep_skipped: bool,
    jobs: int | None,
    engine: str,
    control: Control,
) -> Scan:
    """As `scan`, for roots that `guard` has let through."""
    chosen = layouts_for(roots, layouts, config)
    now_ns = time.time_ns()
    workers = default_jobs(roots[0]) if jobs is None else jobs
    if workers < 1:
        raise InvalidArgument(f"{workers} workers cannot do anything; give 1 or more")
    spec = filters.spec(
        roots,
        known_layouts.rules_of(chosen),
        now_ns=now_ns,
        jobs=workers,
        measure=measure,
        kinds=tuple(kinds),
        keep_skipped=keep_skipped,
    )
    worker = load(engine)
    control.begin("scan", 0)
    columns = finish_scan(worker.scan(spec), control)
    return Scan(
        roots, chosen, columns, measure, now_ns, spec.older_than_ns, worker.name, workers, filters, control.stopped
    )
