"""Sessions per day, and the day on which the filesystem is full if things go on like that.

A session's day is the one its name tells; without, that of the newest change in it. The growth is the mean of the last
`WINDOW` days that are over.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple

from runark.archive.scan import Scan
from runark.layouts import Layout, time_text

__all__ = ["WINDOW", "Calendar", "Day", "Full", "calendar_of", "day_of", "full_on"]

WINDOW = 28
_FARTHEST = 36_525  # days: in a hundred years nobody will mind


class Day(NamedTuple):
    """What began on a day and is still there as a session. `allocated` in bytes."""

    day: date
    sessions: int
    inodes: int
    allocated: int


class Calendar(NamedTuple):
    """The days on which sessions began, sorted; and how many of them are dated by their newest change."""

    days: tuple[Day, ...]
    undated: int

    def growth(self, today: date) -> Day:
        """Sums over the `WINDOW` days before `today`, which is the day of the answer."""
        first = today - timedelta(days=WINDOW)
        recent = [day for day in self.days if first <= day.day < today]
        return Day(
            today,
            sum(day.sessions for day in recent),
            sum(day.inodes for day in recent),
            sum(d.allocated for d in recent),
        )


class Full(NamedTuple):
    """When `free` inodes or bytes are used up."""

    what: str
    free: int
    per_day: float
    day: date


class _Starts:
    """The day in a session's name. The part before the hour is read once for each day, not for each session."""

    def __init__(self, layouts: Iterable[Layout]) -> None:
        self._formats = [self._date_part(layout.time) for layout in layouts]
        self._known: dict[tuple[int, str], date | None] = {}

    @staticmethod
    def _date_part(form: str) -> tuple[str, int]:
        """The format up to the hour, and the length of what it writes; 0: the whole text must be read."""
        part = form.partition("%H")[0]
        written = {len(datetime(year, month, 3).strftime(part)) for year in (1999, 2026) for month in range(1, 13)}
        return (part, written.pop()) if "%H" in form and len(written) == 1 and part else (form, 0)

    def __call__(self, layouts: tuple[Layout, ...], layout: int, path: bytes) -> date | None:
        text = time_text(layouts[layout], path)
        if text is None:
            return None
        form, length = self._formats[layout]
        key = (layout, text[:length] if length else text)
        if key not in self._known:
            try:
                self._known[key] = datetime.strptime(key[1], form).date()
            except ValueError:  # the shape of a date, and none
                self._known[key] = None
        return self._known[key]


def calendar_of(scan: Scan, rows: Iterable[int]) -> Calendar:
    """The calendar of these rows of a scan that has measured."""
    starts, layouts = _Starts(scan.layouts), scan.layouts
    numbers, newest = scan.columns.layout, scan.column("newest_ns")
    inodes, allocated = scan.column("inodes"), scan.column("allocated")
    sums: dict[date, list[int]] = {}
    undated = 0
    for row in rows:
        day = starts(layouts, numbers[row], scan.path(row))
        if day is None:
            undated += 1
            day = day_of(newest[row])
        cell = sums.get(day)
        if cell is None:
            cell = sums[day] = [0, 0, 0]
        cell[0] += 1
        cell[1] += inodes[row]
        cell[2] += allocated[row]
    return Calendar(tuple(Day(day, *sums[day]) for day in sorted(sums)), undated)


def day_of(time_ns: int) -> date:
    """The local day; the first or last one there is for a time that no calendar has."""
    try:
        return datetime.fromtimestamp(time_ns // 1_000_000_000).date()
    except (OverflowError, ValueError, OSError):
        return date.min if time_ns < 0 else date.max


def full_on(what: str, free: int, grown: int, today: date) -> Full | None:
    """When `free` is used up at `grown` in `WINDOW` days; None if not within a hundred years."""
    if grown <= 0:
        return None
    days = free * WINDOW / grown
    return Full(what, free, grown / WINDOW, today + timedelta(days=int(days))) if days < _FARTHEST else None
