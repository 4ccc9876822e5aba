"""The numbers of a report against what a plan says at the same age, and against each other."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from runark import plan, scan
from runark.archive.filters import Filters
from runark.archive.timespec import parse_age
from runark.engine.protocol import Engine
from runark.names import json_path
from runark.report.ages import Cutoff, cutoffs
from runark.report.days import Calendar, Day, full_on
from runark.report.figures import Report
from runark.report.previous import change_since
from runark.report.survey import survey
from support import surveyed
from support.surveyed import DAY_NS, stamped
from support.trees import Dir, make


def made(tree: Path, engine: Engine, **filters: Any) -> Report:
    return survey(tree, filters=Filters(**filters), engine=engine.name, jobs=2)


def test_each_cut_off_is_the_plan_at_that_age(tree: Path, engine: Engine) -> None:
    report = made(tree, engine, older_than="100d")
    assert report.cuts[report.start].age == "100d"
    for cut in [*report.cuts[::9], report.cuts[report.start], report.cuts[-1]]:
        seconds, rest = divmod(cut.before_ns or 0, 10**9)
        at = f"@{seconds}.{rest:09d}" if cut.before_ns is not None else None
        todo = plan(tree, filters=Filters(older_than=at), engine=engine.name)
        assert (cut.sums.sessions, cut.sums.inodes, cut.sums.allocated, cut.inodes_freed) == (
            len(todo.jobs), todo.sum("inodes"), todo.sum("allocated"), todo.inodes_freed,
        ), cut.age  # fmt: skip
        skipped = {**report.skipped, "young": report.young(cut)}
        # What is marked or alive and too young besides counts as the first here, as the second in a plan.
        assert skipped["running"] == todo.skipped["running"] and sum(skipped.values()) == sum(todo.skipped.values())
        assert skipped["young"] <= todo.skipped.get("young", 0)
        assert cut.sums.sessions + sum(skipped.values()) == report.scanned["sessions"]


def test_filters_hold(tree: Path, engine: Engine) -> None:
    report = made(tree, engine, status=("error",), glob=("*_?[A-M]??",))
    todo = plan(tree, filters=Filters(status=("error",), glob=("*_?[A-M]??",)), engine=engine.name)
    assert 0 < report.eligible == len(todo.jobs) < made(tree, engine).eligible
    assert report.skipped == todo.skipped
    assert report.commands.archive == f"runark archive {tree} '--glob=*_?[A-M]??' --status=error"


def test_every_division_adds_up_to_the_whole(tree: Path, engine: Engine) -> None:
    report = made(tree, engine)
    total = report.cuts[0].sums
    for groups in (report.owners, report.scripts):
        for field in total._fields:
            assert sum(getattr(group.total, field) for group in groups) == getattr(total, field)
            for group in groups:
                assert sum(getattr(sums, field) for _, sums in group.reached) == getattr(group.total, field)
    assert sum(tile.sums.inodes for tile in report.tiles) == total.inodes
    assert sum(day.inodes for day in report.calendar.days) == total.inodes
    assert sum(report.sizes["size"]) == sum(report.sizes["inodes"]) == total.sessions
    gone = [cell for name in ("success", "error", "unknown") for cell in report.ages[name]]
    assert [sum(column) for column in list(zip(*gone, strict=True))[1:]] == [
        total.sessions, total.inodes, total.allocated
    ]  # fmt: skip
    assert sum(cell[1] for cell in report.ages["archived"]) == report.scanned["archives"] == 12


def test_brute_force(tree: Path, engine: Engine) -> None:
    """Against rows summed up one by one."""
    report = made(tree, engine)
    held = {skip.path for skip in report.plan.held}
    rows = [row for row in scan(tree, engine=engine.name) if row.path not in held]
    by_script: Counter[str] = Counter()
    by_day: Counter[date] = Counter()
    for row in rows:
        above = [part for part in os.fsdecode(row.path).split("/")[:-1] if not part.startswith(("FINISHED", "RUNNING"))]
        by_script["/".join(above)] += row.inodes
        assert row.started is not None
        by_day[row.started.date()] += 1
    assert {os.fsdecode(group.name): group.total.inodes for group in report.scripts} == by_script
    assert {day.day: day.sessions for day in report.calendar.days} == by_day
    assert report.calendar.undated == 0
    most = sorted((row.inodes for row in rows), reverse=True)[:25]
    assert sorted((row.inodes for row in report.top), reverse=True)[:25] == most
    oldest = sorted(row.newest_ns for row in rows)[:25]
    assert sorted(row.newest_ns for row in report.top)[:25] == oldest
    assert report.sizes["inodes"][4] == sum(8 <= row.inodes < 16 for row in rows)


def test_what_runs_and_what_needs_a_person(tree: Path, engine: Engine) -> None:
    report = made(tree, engine)
    assert report.scanned["running"] == 2 and report.scanned["running_inodes"] == 5
    assert sum(cell[2] for cell in report.ages["running"]) == 5
    assert {(matter.kind, matter.number) for matter in report.matters} == {("ghosts", 1), ("unclear", 1), ("aside", 1)}
    gone, unclear = report.ghosts
    assert "process 4000000" in gone.reason and gone.target is not None
    assert "no record" in unclear.reason and unclear.target is None
    assert report.skipped == {"running": 2, "marked": 1, "alive": 1}


def test_a_session_with_an_archive_beside_it_needs_no_other(tmp_path: Path, engine: Engine) -> None:
    now = time.time_ns()
    for number in range(3):
        make(tmp_path / stamped(now - DAY_NS, number), Dir({"a": "1"}, mtime_ns=now - DAY_NS))
    (tmp_path / f"{stamped(now - DAY_NS, 1)}.tar.gz").write_bytes(b"x")
    cut = made(tmp_path, engine).cuts[0]
    assert (cut.sums.sessions, cut.sums.archives, cut.inodes_freed) == (3, 2, 4)


def test_scripts(tmp_path: Path, engine: Engine) -> None:
    """The directory above the states; for hydra that of the days; the root itself may be a state."""
    for place in ("a_out/FINISHED_SUCCESS", "a_out/FINISHED_ERROR", "b", "outputs/2026-02-13", "outputs/2026-02-14"):
        (tmp_path / place).mkdir(parents=True)
        name = "14-30-15" if "outputs" in place else stamped(10**18, 1)
        make(tmp_path / place / name, Dir({".hydra": {"a": "1"}}, mtime_ns=10**18))
    report = made(tmp_path, engine)
    assert {os.fsdecode(group.name): group.total.sessions for group in report.scripts} == {
        f"{tmp_path}/a_out": 2, f"{tmp_path}/b": 1, f"{tmp_path}/outputs": 2
    }  # fmt: skip
    (only,) = made(tmp_path / "a_out" / "FINISHED_ERROR", engine).scripts
    assert os.fsdecode(only.name) == f"{tmp_path}/a_out"


def test_engines_agree(tree: Path, engines: list[Engine]) -> None:
    documents = []
    for engine in engines:
        document = json.loads(json.dumps(made(tree, engine, older_than="2026-01-31").to_json()))
        for varies in ("engine", "scan_seconds", "now_ns", "cuts", "rate", "disks", "sample"):
            del document[varies]
        document["scanned"].pop("entries"), document["scanned"].pop("directories")
        for key in ("owners", "scripts", "ages", "tiles"):  # ages move on between two scans
            document[key] = None
        documents.append(document)
    assert all(document == documents[0] for document in documents)


def test_nothing_to_archive(tmp_path: Path, engine: Engine) -> None:
    report = made(tmp_path, engine, older_than="1y")
    cut = report.cuts[report.start]
    assert (cut.sums.sessions, cut.bytes_freed, cut.seconds, report.rate.basis) == (0, None, 0, "none")
    assert report.scanned["sessions"] == 0 and json.dumps(report.to_json())


def test_nothing_is_changed(tmp_path: Path, engine: Engine) -> None:
    surveyed.build(tmp_path / "tree", 10)
    before = {path: path.lstat() for path in (tmp_path / "tree").rglob("*")}
    made(tmp_path / "tree", engine)
    after = {path: path.lstat() for path in (tmp_path / "tree").rglob("*")}
    assert before.keys() == after.keys()
    assert all(
        (a.st_mtime_ns, a.st_ctime_ns) == (after[p].st_mtime_ns, after[p].st_ctime_ns) for p, a in before.items()
    )


def test_a_system_directory_is_told_and_not_refused() -> None:
    from runark.report.commands import commands_for

    commands = commands_for([b"/usr"], Filters(min_depth=2, one_file_system=False, fixed=("it's", "\u202e")))
    assert "belongs to the system" in commands.refused
    assert commands.archive == (
        "runark archive /usr $'--fixed=it\\047s' $'--fixed=\\342\\200\\256' --min-depth=2 --cross-file-systems"
    )


# ------------------------------------------------------------------------------------------------ parts


NOW = 1_790_000_000 * 10**9


@pytest.mark.parametrize("wanted", [None, "45d", "45 days", "1y", "2026-01-31", 30, 0.01, "40y"])
def test_cut_offs_are_in_order_and_have_the_one_asked_for(wanted: str | float | None) -> None:
    found, start = cutoffs(NOW, NOW - 400 * DAY_NS, wanted)
    before = [cutoff.before_ns for cutoff in found]
    assert before[0] is None and all(a > b for a, b in pairwise(before) if a and b)
    assert found[start].before_ns == (None if wanted is None else parse_age(wanted, NOW))
    if found[start].age:
        assert parse_age(found[start].age, NOW) == found[start].before_ns
    for newest in (NOW + 5, NOW, NOW - 3600 * 10**9, NOW - DAY_NS, NOW - 399 * DAY_NS, NOW - 50 * 366 * DAY_NS):
        reached = found.reached(newest)
        assert [newest < cutoff.before_ns for cutoff in found if cutoff.before_ns] == [
            i <= reached for i in range(1, len(found))
        ]
    assert Cutoff("", None) == found[0]


def test_the_day_it_is_full() -> None:
    today = date(2026, 11, 21)
    days = (Day(today, 9, 99, 9), Day(today - timedelta(days=28), 1, 56, 0), Day(today - timedelta(days=29), 7, 7, 7))
    grown = Calendar(days, 0).growth(today)
    assert grown.inodes == 56  # today is not over, and the 29th day before is too long ago
    full = full_on("inodes", 21, grown.inodes, today)
    assert full is not None and (full.per_day, full.day) == (2.0, today + timedelta(days=10))
    assert full_on("inodes", 10**12, 1, today) is None and full_on("inodes", 5, 0, today) is None


def test_change_since_the_last_report() -> None:
    now = {"schema": 1, "roots": ["/a"], "now_ns": 5, "scanned": {"sessions": 3, "inodes": 30}}
    before = {"schema": 1, "roots": ["/a"], "now_ns": 2, "scanned": {"sessions": 5, "inodes": 10}}
    assert change_since(before, now, b"/x/r.html") == {
        "report": "r.html", "now_ns": 2, "changes": {"sessions": -2, "inodes": 20}
    }  # fmt: skip
    for other in (
        {"roots": ["/b"]},
        {"schema": 2},
        {"scanned": {"sessions": "many"}},
        {"scanned": None},
        {"now_ns": None},
    ):
        assert change_since({**before, **other}, now, b"r.html") is None
    assert json_path(b"\xff") == {"bytes": "ff"}
