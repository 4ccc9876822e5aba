"""What is not for archiving: sessions that run, ghosts among them, and whatever needs a person."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from runark.archive.control import Control, finish_scan
from runark.archive.plan import Plan
from runark.archive.scan import Scan
from runark.engine import load
from runark.engine.protocol import KINDS, VERDICTS, ScanSpec
from runark.layouts import rules_of
from runark.report.figures import Matter
from runark.report.units import counted
from runark.session.reconcile import Ghost, judge

__all__ = ["Running", "ghosts_in", "matters_of", "measure_running"]

_SESSION = KINDS.index("session")
_RUNNING = VERDICTS.index("running")


class Running(NamedTuple):
    """A session below RUNNING/. Sizes in bytes."""

    newest_ns: int
    inodes: int
    allocated: int


def _rows(scan: Scan) -> list[int]:
    kinds, verdicts = scan.columns.kind, scan.columns.verdict
    return [row for row in range(len(scan)) if verdicts[row] == _RUNNING and kinds[row] == _SESSION]


def measure_running(scan: Scan, control: Control) -> tuple[Running, ...]:
    """Goes through the sessions below RUNNING/, which a scan for archiving does not. One that has ended meanwhile is
    not in the answer."""
    paths = tuple(scan.path(row) for row in _rows(scan))
    if not paths:
        return ()
    spec = ScanSpec(
        roots=paths, rules=rules_of(scan.layouts), jobs=scan.jobs, measure=True, max_depth=0, keep_skipped=True
    )
    found = finish_scan(load(scan.engine).scan(spec), control)
    columns = (memoryview(column).cast("q") for column in (found.newest_ns, found.inodes, found.allocated))
    return tuple(map(Running, *columns))


def ghosts_in(scan: Scan) -> Iterator[Ghost]:
    """The sessions below RUNNING/ that do not run, as `runark reconcile` judges them."""
    for row in _rows(scan):
        ghost = judge(Path(os.fsdecode(scan.path(row))))
        if ghost is not None:
            yield ghost


def matters_of(plan: Plan, ghosts: Sequence[Ghost], refused: str) -> Iterator[Matter]:
    """refused   why these roots cannot be archived, if so"""
    movable = sum(ghost.target is not None for ghost in ghosts)
    unclear, aside = len(ghosts) - movable, plan.found.get("aside", 0)
    if plan.scan.stopped:
        yield Matter("stopped", 1, "the scan was interrupted; what is told here is not all")
    if refused:
        yield Matter("refused", 1, f"runark archive will not take these roots: {refused}")
    if plan.faults:
        what = f"{counted(len(plan.faults), 'thing')} could not be read, to be scanned by somebody who may"
        yield Matter("faults", len(plan.faults), what)
    if movable:
        what = f"{counted(movable, 'session')} in RUNNING/ without a process, to be moved by runark reconcile --execute"
        yield Matter("ghosts", movable, what)
    if unclear:
        what = f"{counted(unclear, 'session')} in RUNNING/ that runark reconcile leaves alone, to be looked at"
        yield Matter("unclear", unclear, what)
    if aside:
        what = f"{counted(aside, 'archive')} set aside by earlier runs (.*.damaged-*, .*.superseded-*), to be looked at"
        yield Matter("aside", aside, what)
