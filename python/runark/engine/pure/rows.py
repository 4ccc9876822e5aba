"""The rows of a scan, kept as columns from the beginning: a million of them fit into a few hundred megabytes."""

from __future__ import annotations

import array
from typing import NamedTuple

from runark.engine.protocol import Fault, ScanColumns

__all__ = ["Row", "Rows"]


class Row(NamedTuple):
    """What a row says besides its path; the first four are indices into tuples of the protocol."""

    kind: int
    status: int
    verdict: int
    layout: int
    mtime_ns: int
    newest_ns: int
    inodes: int
    size: int
    allocated: int
    uid: int


_SMALL = 4  # columns of one byte


class Rows:
    """Rows in the order they are found."""

    def __init__(self) -> None:
        self._paths: list[bytes] = []
        self._small = [bytearray() for _ in Row._fields[:_SMALL]]
        self._large = [array.array("q") for _ in Row._fields[_SMALL:]]

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, path: bytes, row: Row) -> None:
        self._paths.append(path)
        for small, value in zip(self._small, row, strict=False):
            small.append(value)
        for large, value in zip(self._large, row[_SMALL:], strict=True):
            large.append(value)

    def columns(self, faults: list[Fault], directories: int, entries: int, skipped: dict[str, int]) -> ScanColumns:
        """The columns, sorted by path, each path once (roots may overlap: the stricter verdict stays). Empties this."""
        paths, status, verdict = self._paths, self._small[1], self._small[2]
        order = sorted(range(len(paths)), key=paths.__getitem__)
        unique: list[int] = []
        for row in order:
            if unique and paths[unique[-1]] == paths[row]:
                last = unique[-1]
                if (verdict[row], status[row]) > (verdict[last], status[last]):
                    unique[-1] = row
            else:
                unique.append(row)
        joined = b"".join([paths[row] + b"\0" for row in unique])
        self._paths = []
        kinds, statuses, verdicts, layouts = (bytes(map(column.__getitem__, unique)) for column in self._small)
        mtime_ns, newest_ns, inodes, size, allocated, uid = (
            array.array("q", map(column.__getitem__, unique)).tobytes() for column in self._large
        )
        return ScanColumns(
            joined,
            kinds,
            statuses,
            verdicts,
            layouts,
            mtime_ns,
            newest_ns,
            inodes,
            size,
            allocated,
            uid,
            faults=tuple(sorted(faults, key=_by_path)),
            directories=directories,
            entries=entries,
            skipped=skipped,
        )


def _by_path(fault: Fault) -> tuple[bytes, str]:
    return (fault.path, fault.op)
