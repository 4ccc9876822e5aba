"""Everything that was scanned as rows of plain values: what the CSV and the Parquet file hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from functools import lru_cache
from typing import NamedTuple

from runark.archive.owners import user_name
from runark.engine.protocol import KINDS
from runark.names import escape
from runark.report.cube import Scripts
from runark.report.figures import Report

__all__ = ["Line", "lines_of"]

_SESSION = KINDS.index("session")
_owner = lru_cache(maxsize=None)(user_name)


class Line(NamedTuple):
    """One session, archive or leftover. Sizes in bytes."""

    path: bytes
    kind: str
    status: str
    fate: str
    """Of a session at the report's cut-off: `goes`, `young` or why it is left alone. Empty for all else."""
    layout: str
    owner: str
    uid: int
    script: bytes
    started: datetime | None
    """By its name; local time without a zone."""
    newest: datetime | None
    """The newest change in it, UTC, to the microsecond; None for a time no calendar has."""
    inodes: int
    size: int
    allocated: int


def lines_of(report: Report) -> Iterator[Line]:
    """The rows of the scan in their order, by the bytes of the paths."""
    plan, before = report.plan, report.cuts[report.start].before_ns
    scan, scripts, held = plan.scan, Scripts(plan.scan), {skip.path: skip.reason for skip in plan.held}
    for index, row in enumerate(scan):
        fate = ""
        if scan.columns.kind[index] == _SESSION:
            fate = row.verdict if row.verdict != "selected" else held.get(row.path, "")
            fate = fate or ("goes" if before is None or row.newest_ns < before else "young")
        yield Line(
            row.path,
            row.kind,
            row.status,
            fate,
            row.layout,
            escape(_owner(row.uid)),
            row.uid,
            scripts.script(row.path, scan.columns.layout[index]),
            row.started,
            _utc(row.newest_ns),
            row.inodes,
            row.size,
            row.allocated,
        )


def _utc(time_ns: int) -> datetime | None:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=rest // 1000)
    except (OverflowError, ValueError, OSError):
        return None
