"""survey: scan roots, and make a report of them. Read only.

1. Scan without an age, so that one scan tells what would go at every age; make the plan of it.
2. Add its sessions up (`cube`), measure those that run, judge which of them do not (`ghosts`).
3. Compress a sample, look how fast the last run was, ask the filesystems.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from heapq import nlargest, nsmallest

from runark.archive.control import Control
from runark.archive.filters import Filters
from runark.archive.guard import check_roots
from runark.archive.owners import user_name
from runark.archive.plan import PLAN_KINDS, Plan, plan_of
from runark.archive.retention import Keep
from runark.archive.scan import Row, Scan, scan_checked
from runark.archive.timespec import Age, parse_age
from runark.engine.protocol import KINDS, STATUSES
from runark.names import PathLike
from runark.report.ages import Cutoffs, cutoffs
from runark.report.commands import Commands, commands_for, shell_word
from runark.report.cube import Cube, Sums, cube_of
from runark.report.days import Calendar, Full, calendar_of, day_of, full_on
from runark.report.disks import Disk, disks_of
from runark.report.figures import Cut, Report
from runark.report.groups import groups_of, tiles_of
from runark.report.matters import Running, ghosts_in, matters_of, measure_running
from runark.report.rate import Rate, rate_of
from runark.report.sample import Interval, Sample, take_sample

__all__ = ["report_of", "survey"]

OWNERS, SCRIPTS, TOP, LARGEST = 24, 24, 25, 200
"""How many are shown one by one: owners, scripts, sessions by each measure in the table and in the treemap."""

_ARCHIVE = KINDS.index("archive")


def survey(
    *roots: PathLike,
    filters: Filters | None = None,
    layouts: Sequence[str] = (),
    config: PathLike | None = None,
    jobs: int | None = None,
    engine: str = "auto",
    control: Control | None = None,
) -> Report:
    """A report of the sessions below `roots`. The arguments are those of `runark.scan`; `filters.older_than` is the
    cut-off that the report begins with. Raises as `runark.scan`.
    """
    control, filters = control or Control(), filters or Filters()
    if filters.older_than is not None:
        parse_age(filters.older_than, time.time_ns(), "--older-than")  # a wrong one is told before the work
    began = time.perf_counter()
    ageless = replace(filters, older_than=None)
    scan = scan_checked(
        check_roots(roots, changing=False),
        filters=ageless,
        layouts=layouts,
        config=config,
        measure=True,
        kinds=PLAN_KINDS,
        keep_skipped=True,
        jobs=jobs,
        engine=engine,
        control=control,
    )
    plan = plan_of(scan, Keep(), None, None, control)
    commands = commands_for(scan.roots, ageless, layouts, None if config is None else os.fsencode(config))
    return report_of(plan, filters.older_than, commands, time.perf_counter() - began, control)


def report_of(plan: Plan, older_than: Age | None, commands: Commands, seconds: float, control: Control) -> Report:
    """The report of a plan that knows no age. `seconds`: what the scan took."""
    scan = plan.scan
    rows = [row for row in plan.jobs.rows if row >= 0]
    newest = scan.column("newest_ns")
    oldest = min(map(newest.__getitem__, rows), default=scan.now_ns)
    cuts, start = cutoffs(scan.now_ns, oldest, older_than)
    cube = cube_of(plan, cuts)
    running = measure_running(scan, control)
    owners, owner_of = groups_of(cube, "uid", OWNERS, lambda uid: os.fsencode(user_name(uid)))
    scripts, script_of = groups_of(cube, "script", SCRIPTS, cube.scripts.__getitem__)
    disks = disks_of(scan.roots)
    calendar, today = calendar_of(scan, rows), day_of(scan.now_ns)
    drawn_from = [row for row in rows if cuts.reached(newest[row]) >= start] or rows
    sample = None if control.stopped else take_sample(scan, drawn_from)
    rate = rate_of(scan, sample)
    ghosts = tuple(ghosts_in(scan))
    return Report(
        plan=plan,
        seconds=seconds,
        start=start,
        cuts=_cuts(cuts, cube, sample, rate),
        scanned=_scanned(plan, cube, running),
        ages=_ages(scan, cube, cuts, running),
        sample=sample,
        rate=rate,
        disks=disks,
        owners=owners,
        scripts=scripts,
        tiles=tiles_of(scan, rows, cube, cuts, owner_of, script_of, LARGEST),
        sizes={name: _histogram(map(scan.column(name).__getitem__, rows)) for name in ("size", "inodes")},
        top=_top(scan, rows),
        calendar=calendar,
        today=today,
        full=_full(disks, calendar, today),
        skipped=plan.skipped,
        ghosts=ghosts,
        matters=tuple(matters_of(plan, ghosts, commands.refused)),
        commands=commands,
    )


def _cuts(cuts: Cutoffs, cube: Cube, sample: Sample | None, rate: Rate) -> tuple[Cut, ...]:
    by_cutoff = cube.by("reached")
    found: list[Cut] = []
    sums = Sums()
    for at in reversed(range(len(cuts))):
        age, before_ns = cuts[at]
        sums = sums.plus(by_cutoff.get((at,), Sums()))
        archives = freed = None
        if sample is not None:
            low, likely, high = (ratio * sums.stream for ratio in sample.ratio)
            archives = Interval(low, likely, high)
            freed = Interval(sums.allocated - high, sums.allocated - likely, sums.allocated - low)
        option = f" --older-than {shell_word(age.encode('utf-8', 'surrogateescape'))}" if age else ""
        seconds = rate.seconds(sums.sessions, sums.stream)
        found.append(Cut(age, before_ns, option, sums, sums.inodes - sums.archives, archives, freed, seconds))
    return tuple(reversed(found))


def _scanned(plan: Plan, cube: Cube, running: Sequence[Running]) -> dict[str, int]:
    """What is there, at whatever age. Inodes and bytes are of the sessions that could go; running ones apart."""
    total, scan = cube.total(), plan.scan
    kinds, allocated = scan.columns.kind, scan.column("allocated")
    return {
        "sessions": total.sessions + sum(plan.skipped.values()),
        "eligible": total.sessions,
        "inodes": total.inodes,
        "size": total.size,
        "allocated": total.allocated,
        "running": len(running),
        "running_inodes": sum(one.inodes for one in running),
        "archives": plan.found.get("archive", 0),
        "archives_allocated": sum(allocated[row] for row, kind in enumerate(kinds) if kind == _ARCHIVE),
        "directories": scan.columns.directories,
        "entries": scan.columns.entries,
    }


def _ages(
    scan: Scan, cube: Cube, cuts: Cutoffs, running: Iterable[Running]
) -> dict[str, tuple[tuple[int, int, int, int], ...]]:
    """Inodes by age. That of an archive counts from when it was written."""
    cells: dict[str, Counter[tuple[int, str]]] = {name: Counter() for name in (*STATUSES, "archived")}

    def add(name: str, at: int, inodes: int, allocated: int, sessions: int = 1) -> None:
        cells[name].update({(at, "sessions"): sessions, (at, "inodes"): inodes, (at, "allocated"): allocated})

    for (status, at), sums in cube.by("status", "reached").items():
        name = STATUSES[status]
        add("success" if name == "finished" else name, at, sums.inodes, sums.allocated, sums.sessions)
    for one in running:
        add("running", cuts.reached(one.newest_ns), one.inodes, one.allocated)
    written, allocated = scan.column("mtime_ns"), scan.column("allocated")
    for row, kind in enumerate(scan.columns.kind):
        if kind == _ARCHIVE:
            add("archived", cuts.reached(written[row]), 1, allocated[row])
    return {
        name: tuple(
            (at, cell[at, "sessions"], cell[at, "inodes"], cell[at, "allocated"])
            for at in sorted({at for at, _ in cell})
        )
        for name, cell in cells.items()
    }


def _histogram(values: Iterable[int]) -> tuple[int, ...]:
    """How many values have 0, 1, 2, ... binary digits: 0, 1, 2-3, 4-7, ..."""
    counts = Counter(map(int.bit_length, values))
    return tuple(counts[bits] for bits in range(max(counts, default=-1) + 1))


def _top(scan: Scan, rows: Sequence[int]) -> tuple[Row, ...]:
    """Those with most inodes, those with most bytes on disk and those unchanged for longest."""
    chosen = {
        *nlargest(TOP, rows, scan.column("inodes").__getitem__),
        *nlargest(TOP, rows, scan.column("allocated").__getitem__),
        *nsmallest(TOP, rows, scan.column("newest_ns").__getitem__),
    }
    return tuple(map(scan.row, sorted(chosen)))


def _full(disks: Sequence[Disk], calendar: Calendar, today: date) -> tuple[Full, ...]:
    """For inodes and for bytes; with several filesystems there is no saying which of them grows."""
    if len(disks) != 1:
        return ()
    grown = calendar.growth(today)
    found = (
        full_on("bytes", disks[0].free, grown.allocated, today),
        full_on("inodes", disks[0].inodes_free, grown.inodes, today) if disks[0].inodes else None,
    )
    return tuple(sorted((full for full in found if full is not None), key=lambda full: full.day))
