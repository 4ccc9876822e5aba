"""A report: every number that the page, the summary and the JSON show, as one value, computed once (`survey`).

docs/report.md says what each of them means.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from runark import __version__
from runark.archive.plan import Plan
from runark.archive.scan import Row, fault_json
from runark.names import json_path
from runark.report.commands import Commands
from runark.report.cube import Sums
from runark.report.days import WINDOW, Calendar, Full
from runark.report.disks import Disk
from runark.report.rate import Rate
from runark.report.sample import Interval, Sample
from runark.report.text import WHY
from runark.session.reconcile import Ghost

__all__ = ["CLASSES", "FAULTS_KEPT", "SCHEMA", "Cut", "Group", "Matter", "Report", "Tile"]

SCHEMA = 1
FAULTS_KEPT = 200
CLASSES: tuple[str, ...] = ("success", "error", "finished", "unknown", "running", "archived")
"""What inodes are shown by, from the bottom of the chart to its top."""


class Cut(NamedTuple):
    """What would go at a cut-off. Sizes in bytes, intervals of 95 %."""

    age: str
    """As `--older-than` takes it; empty: whatever its age."""
    before_ns: int | None
    option: str
    """For the command: ` --older-than ...` or nothing."""
    sums: Sums
    inodes_freed: int
    """Net of the new archives."""
    archive_bytes: Interval | None
    """What the new archives take, estimated; None without a sample."""
    bytes_freed: Interval | None
    """What the sessions take less that."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "age": self.age,
            "before_ns": self.before_ns,
            "option": self.option,
            **self.sums._asdict(),
            "inodes_freed": self.inodes_freed,
            "archive_bytes": _whole(self.archive_bytes),
            "bytes_freed": _whole(self.bytes_freed),
            "seconds": round(self.seconds, 3),
        }


class Group(NamedTuple):
    """An owner or a script, or the rest of them taken together."""

    name: bytes
    """Empty: the rest."""
    members: int
    """1, or how many the rest are."""
    total: Sums
    reached: tuple[tuple[int, Sums], ...]
    """Sums by the last cut-off at which sessions go."""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": json_path(self.name),
            "members": self.members,
            **self.total._asdict(),
            "reached": [[at, s.sessions, s.archives, s.inodes, s.allocated, s.stream] for at, s in self.reached],
        }


class Tile(NamedTuple):
    """The sessions of one owner and one script (numbers in `owners` and `scripts`)."""

    owner: int
    script: int
    sums: Sums
    age: int
    """The mean of the cut-offs its sessions reach, weighted by inodes."""
    largest: tuple[tuple[bytes, int, int, int], ...]
    """Name, inodes, allocated bytes and cut-off reached of those of its sessions that are shown one by one."""

    def to_json(self) -> list[Any]:
        largest = [[json_path(name), *numbers] for name, *numbers in self.largest]
        return [self.owner, self.script, self.sums.sessions, self.sums.inodes, self.sums.allocated, self.age, largest]


class Matter(NamedTuple):
    """Something that needs a person."""

    kind: str
    number: int
    what: str


@dataclass(frozen=True)
class Report:
    """What archiving would do to the roots, at every cut-off, and what is there."""

    plan: Plan
    """It knows no age: `cuts` do."""
    seconds: float
    """The scan took."""
    start: int
    """Which of `cuts` was asked for."""
    cuts: tuple[Cut, ...]
    scanned: dict[str, int]
    ages: dict[str, tuple[tuple[int, int, int, int], ...]]
    """Class -> cut-off reached, sessions (or archives), inodes, allocated bytes."""
    sample: Sample | None
    rate: Rate
    disks: tuple[Disk, ...]
    owners: tuple[Group, ...]
    scripts: tuple[Group, ...]
    tiles: tuple[Tile, ...]
    sizes: dict[str, tuple[int, ...]]
    """`size`, `inodes` -> number of sessions whose value has 0, 1, 2, ... binary digits."""
    top: tuple[Row, ...]
    calendar: Calendar
    today: date
    full: tuple[Full, ...]
    skipped: dict[str, int]
    """Reason -> sessions, but for those that are too young at a cut-off."""
    ghosts: tuple[Ghost, ...]
    matters: tuple[Matter, ...]
    commands: Commands
    since: dict[str, Any] | None = None
    """Against the report before, if there is one."""

    @property
    def eligible(self) -> int:
        """Sessions that go whatever their age."""
        return self.cuts[0].sums.sessions

    def young(self, cut: Cut) -> int:
        """Sessions that are too young at this cut-off."""
        return self.eligible - cut.sums.sessions

    def disk(self, name: str) -> int:
        """The sum of a field of all filesystems."""
        return sum(getattr(disk, name) for disk in self.disks)

    def to_json(self) -> dict[str, Any]:
        """A document that `json.dumps` takes; names as `runark.names.JsonPath`."""
        scan = self.plan.scan
        growth = self.calendar.growth(self.today)
        return {
            "schema": SCHEMA,
            "what": "report",
            "version": __version__,
            "engine": scan.engine,
            "roots": [json_path(root) for root in scan.roots],
            "now_ns": scan.now_ns,
            "scan_seconds": round(self.seconds, 3),
            "stopped": scan.stopped,
            "start": self.start,
            "cuts": [cut.to_json() for cut in self.cuts],
            "scanned": self.scanned,
            "ages": {name: [list(cell) for cell in self.ages[name]] for name in CLASSES},
            "sample": None if self.sample is None else {**self.sample._asdict(), "ratio": self.sample.ratio._asdict()},
            "rate": self.rate._asdict(),
            "disks": [disk.to_json() for disk in self.disks],
            "owners": [group.to_json() for group in self.owners],
            "scripts": [group.to_json() for group in self.scripts],
            "tiles": [tile.to_json() for tile in self.tiles],
            "sizes": {name: list(counts) for name, counts in self.sizes.items()},
            "top": [row.to_json() for row in self.top],
            "calendar": {
                "days": [[day.day.isoformat(), day.sessions, day.inodes, day.allocated] for day in self.calendar.days],
                "undated": self.calendar.undated,
                "today": self.today.isoformat(),
                "window": WINDOW,
                "grown": {"sessions": growth.sessions, "inodes": growth.inodes, "allocated": growth.allocated},
                "full": [{**full._asdict(), "day": full.day.isoformat()} for full in self.full],
            },
            "skipped": self.skipped,
            "reasons": {reason: WHY.get(reason, reason) for reason in (*self.skipped, "young")},
            "resumed": self.plan.resumed,
            "found": self.plan.found,
            "ghosts": [ghost.to_json() for ghost in self.ghosts],
            "matters": [matter._asdict() for matter in self.matters],
            "faults": [fault_json(fault) for fault in self.plan.faults[:FAULTS_KEPT]],
            "commands": self.commands.to_json(),
            "since": self.since,
        }


def _whole(interval: Interval | None) -> list[int] | None:
    return None if interval is None else [round(value) for value in interval]
