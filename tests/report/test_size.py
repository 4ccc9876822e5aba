"""A report of 300,000 sessions: the page stays small whatever they are called, and its sums are right.

The sessions exist only as the columns of a scan; so nothing could be read for a sample.
"""

from __future__ import annotations

import io
import random
import time
from array import array
from collections.abc import Callable

import pytest

from runark.archive.control import Control
from runark.archive.filters import Filters
from runark.archive.plan import plan_of
from runark.archive.retention import Keep
from runark.archive.scan import Scan
from runark.engine.protocol import STATUSES, ScanColumns
from runark.layouts import BUILT_IN
from runark.report.commands import commands_for
from runark.report.figures import Report
from runark.report.html import write_html
from runark.report.survey import report_of
from support.surveyed import DAY_NS, stamped

SESSIONS = 300_000
MOST = 1_500_000
"""Bytes."""


def report_of_many(suffix: Callable[[int], bytes]) -> Report:
    """Of 300,000 sessions of five years, 100 scripts and 60 owners."""
    rng = random.Random(1)
    now = time.time_ns()
    rows = []
    for number in range(SESSIONS):
        newest = now - int(rng.random() ** 2 * 1800 * DAY_NS)
        script = b"/none/%b/script_%03d_out/FINISHED_%b" % (
            b"deep" * 20, number % 100, b"ERROR" if number % 10 == 0 else b"SUCCESS"
        )  # fmt: skip
        rows.append((script + b"/" + stamped(newest, number).encode() + suffix(number), newest, number % 10 == 0))
    rows.sort()
    inodes = [rng.randrange(3, 200) for _ in rows]
    sizes = [int(2 ** rng.uniform(0, 30)) for _ in rows]
    newest = array("q", (newest for _, newest, _ in rows)).tobytes()
    columns = ScanColumns(
        paths=b"".join(path + b"\0" for path, _, _ in rows),
        kind=bytes(SESSIONS),
        status=bytes(STATUSES.index("error" if bad else "success") for _, _, bad in rows),
        verdict=bytes(SESSIONS),
        layout=bytes(SESSIONS),
        mtime_ns=newest,
        newest_ns=newest,
        inodes=array("q", inodes).tobytes(),
        size=array("q", sizes).tobytes(),
        allocated=array("q", sizes).tobytes(),
        uid=array("q", (10_000 + rng.randrange(60) for _ in rows)).tobytes(),
        faults=(),
        directories=0,
        entries=0,
        skipped={},
    )
    scan = Scan((b"/none",), BUILT_IN, columns, True, now, None, "pure", 2, Filters())
    control = Control()
    report = report_of(
        plan_of(scan, Keep(), None, None, control), "90d", commands_for([b"/none"], Filters()), 1.0, control
    )
    assert report.cuts[0].sums[:3] == (SESSIONS, SESSIONS, sum(inodes))
    assert (
        sum(group.total.inodes for group in report.owners)
        == sum(tile.sums.inodes for tile in report.tiles)
        == sum(inodes)
    )
    assert sum(day.sessions for day in report.calendar.days) == SESSIONS
    return report


@pytest.mark.parametrize("suffix", [lambda _: b"", lambda n: b"-" + b"\xff" * 220], ids=["plain", "long"])
def test_the_page_is_small(suffix: Callable[[int], bytes]) -> None:
    report = report_of_many(suffix)
    page = io.BytesIO()
    write_html(report, page)
    assert len(page.getvalue()) < MOST, f"{len(page.getvalue()):,} bytes"
    print(f"{len(page.getvalue()):,} bytes")
