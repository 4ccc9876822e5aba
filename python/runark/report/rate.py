"""How fast archiving goes here: as the last run did, or, if there was none, as the sample was read and compressed.

Archives bear the time at which they were written. Those of the last run are the newest ones without a pause of more
than `PAUSE` between two of them; from `ENOUGH` on their number and span are a rate, the whole gate included.
"""

from __future__ import annotations

from typing import NamedTuple

from runark.archive.scan import Scan
from runark.engine.protocol import KINDS
from runark.report.sample import Sample

__all__ = ["Rate", "rate_of"]

PAUSE = 60 * 1_000_000_000
ENOUGH = 1000
_ARCHIVE = KINDS.index("archive")


class Rate(NamedTuple):
    """basis: `last run`, `sample` (reading and compressing alone) or `none`."""

    basis: str
    archives: int
    """Of the last run."""
    per_session: float
    """Seconds."""
    per_byte: float
    """Seconds for a byte of tar stream."""
    jobs: int
    """Workers that are taken into account."""

    def seconds(self, sessions: int, stream: int) -> float:
        """What archiving so much takes."""
        return sessions * self.per_session + stream * self.per_byte


def rate_of(scan: Scan, sample: Sample | None) -> Rate:
    """The rate for a scan that knows archives too."""
    times = scan.column("mtime_ns")
    made = sorted(times[row] for row, kind in enumerate(scan.columns.kind) if kind == _ARCHIVE)
    first = len(made) - 1
    while first > 0 and made[first] - made[first - 1] <= PAUSE:
        first -= 1
    number = len(made) - first
    if number >= ENOUGH and made[-1] > made[first]:
        return Rate("last run", number, (made[-1] - made[first]) / 1e9 / (number - 1), 0.0, 0)
    if sample is None:
        return Rate("none", 0, 0.0, 0.0, scan.jobs)
    return Rate("sample", 0, 0.0, sample.seconds / scan.jobs, scan.jobs)
