"""The sessions of a plan, added up once: by cut-off, status, owner and script. What a report shows are sums over it.

A session's script is what `runark.archive.retention` says, above the directory in which its layout keeps the runs of
a day (hydra): `train_out` of `train_out/FINISHED_SUCCESS/<session>`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from runark.archive.plan import Plan, archived_too
from runark.archive.retention import script_of
from runark.archive.scan import Scan
from runark.report.ages import Cutoffs

__all__ = ["Cube", "Key", "Scripts", "Sums", "cube_of", "stream_bytes"]

_HEADER = 512


class Key(NamedTuple):
    """A cell. `reached`: index of the last cut-off at which its sessions go; `status`: index into `STATUSES`."""

    reached: int
    status: int
    uid: int
    script: int


class Sums(NamedTuple):
    """Of sessions. `archives`: how many of them will need a new one; `stream`: about the bytes of the tar streams of
    those. Sizes in bytes."""

    sessions: int = 0
    archives: int = 0
    inodes: int = 0
    size: int = 0
    allocated: int = 0
    stream: int = 0

    def plus(self, other: Sums) -> Sums:
        return Sums(*map(int.__add__, self, other))


class Scripts:
    """Numbers for the scripts that sessions belong to."""

    def __init__(self, scan: Scan) -> None:
        self._with_parent = [layout.rule.parent is not None for layout in scan.layouts]
        self._of: dict[tuple[bytes, bool], int] = {}
        self._numbers: dict[bytes, int] = {}

    @property
    def paths(self) -> list[bytes]:
        """The scripts by number."""
        return list(self._numbers)

    def number(self, path: bytes, layout: int) -> int:
        """The number of the script of the session at `path`."""
        key = (path[: path.rfind(b"/")], self._with_parent[layout])
        found = self._of.get(key)
        if found is None:
            script = self.script(path, layout)
            found = self._of[key] = self._numbers.setdefault(script, len(self._numbers))
        return found

    def script(self, path: bytes, layout: int) -> bytes:
        """The script of the session at `path`."""
        return script_of(path[: path.rfind(b"/")] if self._with_parent[layout] else path) or b"/"


@dataclass(frozen=True)
class Cube:
    """Sums by key."""

    cells: dict[Key, Sums]
    scripts: tuple[bytes, ...]

    def by(self, *fields: str) -> dict[tuple[int, ...], Sums]:
        """Added up over all other fields of the key."""
        pick = _picker([Key._fields.index(field) for field in fields])
        found: dict[tuple[int, ...], list[int]] = {}
        for key, sums in self.cells.items():
            part = pick(key)
            cell = found.get(part)
            if cell is None:
                found[part] = list(sums)
            else:  # written out: there may be as many cells as sessions
                sessions, archives, inodes, size, allocated, stream = sums
                cell[0] += sessions
                cell[1] += archives
                cell[2] += inodes
                cell[3] += size
                cell[4] += allocated
                cell[5] += stream
        return {part: Sums(*cell) for part, cell in found.items()}

    def total(self) -> Sums:
        return self.by().get((), Sums())


def _picker(at: list[int]) -> Callable[[Key], tuple[int, ...]]:
    """These fields of a key, as a tuple."""
    if len(at) > 1:
        return itemgetter(*at)
    return itemgetter(slice(at[0], at[0] + 1)) if at else lambda _: ()


def stream_bytes(inodes: int, size: int, allocated: int) -> int:
    """About the length of the tar stream of a session: a header an entry, and its content without the holes."""
    return min(size, allocated) + _HEADER * inodes


def cube_of(plan: Plan, cutoffs: Cutoffs) -> Cube:
    """The sessions that the plan, which knows no age, would archive."""
    scan = plan.scan
    scripts = Scripts(scan)
    path_of, layouts, statuses = scan.path, scan.columns.layout, scan.columns.status
    newest, uids = scan.column("newest_ns"), scan.column("uid")
    inodes, sizes, allocated = scan.column("inodes"), scan.column("size"), scan.column("allocated")
    archived = frozenset(archived_too(scan))
    cells: dict[tuple[int, int, int, int], list[int]] = {}
    for row in _rows(plan.jobs.rows):
        path = path_of(row)
        key = (cutoffs.reached(newest[row]), statuses[row], uids[row], scripts.number(path, layouts[row]))
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = [0] * len(Sums._fields)
        cell[0] += 1
        cell[2] += inodes[row]
        cell[3] += sizes[row]
        cell[4] += allocated[row]
        if not archived or path not in archived:
            cell[1] += 1
            cell[5] += stream_bytes(inodes[row], sizes[row], allocated[row])
    return Cube({Key(*key): Sums(*cell) for key, cell in cells.items()}, tuple(scripts.paths))


def _rows(rows: Iterable[int]) -> Iterator[int]:
    """Without the sessions of which only a tombstone is left."""
    return (row for row in rows if row >= 0)
