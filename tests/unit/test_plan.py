"""The plan: which sessions, which not, what killed runs left; on a real engine."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from runark.archive.archive import archive
from runark.archive.filters import Filters
from runark.archive.plan import Plan, plan
from runark.archive.scan import Scan, scan
from runark.errors import InvalidArgument, SourceMissing, UnsafePath
from runark.names import from_json_path

X = "0123456789abcdef"
OLD = 1_700_000_000


def name(number: int, suffix: str = "") -> str:
    return f"2026Y-02M-13D-14h30m{number:02}s_Z5MR{suffix}"


def make(directory: Path, content: str = "hello\n") -> Path:
    """A session that has not changed for long."""
    (directory / "logs").mkdir(parents=True)
    (directory / "logs" / "stdout.log").write_text(content)
    for path in (directory / "logs" / "stdout.log", directory / "logs", directory):
        os.utime(path, (OLD, OLD))
    return directory


def made(root: Path, **arguments: object) -> Plan:
    return plan(root, engine="pure", jobs=1, **arguments)  # type: ignore[arg-type]


def found(root: Path, **arguments: object) -> Scan:
    return scan(root, engine="pure", jobs=1, **arguments)  # type: ignore[arg-type]


def names_of(todo: Plan) -> list[str]:
    return [os.fsdecode(os.path.basename(job.path)) for job in todo.jobs]


def test_jobs_are_sorted_and_sums_are_of_them(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        make(tmp_path / "FINISHED_SUCCESS" / name(number), "x" * number)
    make(tmp_path / "RUNNING" / name(9))
    todo = made(tmp_path)
    assert names_of(todo) == [name(1), name(2), name(3)]
    assert [job.path for job in todo.jobs[1:]] == [todo.jobs.path(1), todo.jobs.path(2)]
    assert (todo.sum("inodes"), todo.sum("size"), todo.inodes_freed) == (9, 6, 6)
    assert todo.skipped == {"running": 1}
    assert [(os.path.basename(path), reason) for path, reason in todo.skips()] == [(name(9).encode(), "running")]


def test_a_budget_cuts_the_plan(tmp_path: Path) -> None:
    for number in range(5):
        make(tmp_path / name(number))
    todo = made(tmp_path, max_sessions=2)
    assert names_of(todo) == [name(0), name(1)] and todo.left == 3
    assert todo.sum("inodes") == 6
    assert made(tmp_path, max_sessions=5).left == 0
    with pytest.raises(InvalidArgument):
        made(tmp_path, max_sessions=-1)


def test_what_holds_the_working_directory_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = make(tmp_path / name(1)) / "logs"
    make(tmp_path / name(2))
    monkeypatch.chdir(inside)
    todo = made(tmp_path)
    assert names_of(todo) == [name(2)]
    assert todo.skipped == {"cwd": 1}


def alive(session: Path, **changes: object) -> Path:
    make(session)
    values: dict[str, object] = {"HOST": socket.gethostname(), "PID": os.getpid(), **changes}
    (session / "CONFIGS").mkdir()
    (session / "CONFIGS" / "CONFIG.yaml").write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    return session


def age(session: Path, seconds: float) -> None:
    for directory, _, files in os.walk(session, topdown=False):
        for path in (*(os.path.join(directory, file) for file in files), directory):
            os.utime(path, (seconds, seconds))


@pytest.mark.parametrize("measure", [True, False])
def test_a_session_that_lives_is_no_candidate(tmp_path: Path, measure: bool) -> None:
    alive(tmp_path / name(1))
    alive(tmp_path / name(2), EXIT_STATUS=0)
    alive(tmp_path / "FINISHED_SUCCESS" / name(3))  # its place says that it ended
    alive(tmp_path / name(4), HOST="elsewhere")
    age(alive(tmp_path / name(5), HOST="elsewhere"), time.time() - 31 * 86_400)
    # Nothing but a log deep inside has changed lately.
    age(alive(tmp_path / name(6), HOST="elsewhere"), time.time() - 31 * 86_400)
    (tmp_path / name(6) / "logs" / "stdout.log").write_text("still here")
    todo = made(tmp_path, measure=measure)
    assert sorted(names_of(todo)) == [name(2), name(3), name(5)]
    assert todo.skipped == {"alive": 3}


def test_what_killed_runs_left(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        make(tmp_path / name(number))
    part = f".{name(1)}.tar.gz.{X}.part"
    (tmp_path / part).write_bytes(b"x")
    (tmp_path / f"{name(2)}.tar.gz").write_bytes(b"x")
    tombstone = f".{name(0)}.removing-{X}"
    make(tmp_path / tombstone)
    (tmp_path / f".{name(8)}.tar.gz.{X}.part").write_bytes(b"x")  # its session is gone: nobody's, left alone
    (tmp_path / f".{name(7)}.tar.gz.damaged-{X}").write_bytes(b"x")
    todo = made(tmp_path)
    assert [(os.fsdecode(os.path.basename(job.path)), job.leftovers) for job in todo.jobs] == [
        (name(0), (tombstone.encode(),)),
        (name(1), (part.encode(),)),
        (name(2), ()),
        (name(3), ()),
    ]
    assert [job.unarchived for job in todo.jobs] == [False, True, False, True]
    assert todo.resumed == {"S1": 1, "S2": 1, "S3": 1}
    assert todo.found == {"archive": 1, "part": 2, "tombstone": 1, "aside": 1}
    assert todo.sum("inodes") == 9


def test_beside_a_root_that_is_a_session_nothing_was_seen(tmp_path: Path) -> None:
    assert [job.unarchived for job in made(make(tmp_path / name(1))).jobs] == [False]


def test_a_plan_carried_out_twice(tmp_path: Path) -> None:
    """The second time, what the first has made is looked for and found equal."""
    make(tmp_path / name(1))
    todo = made(tmp_path)
    assert archive(todo, keep_source=True).counts == {"kept": 1}
    assert archive(todo).counts == {"archived": 1}


def test_an_archive_of_a_session_with_a_longer_name(tmp_path: Path) -> None:
    for suffix in ("", "-a", "-b"):
        make(tmp_path / name(1, suffix))
    (tmp_path / f"{name(1)}.tar.gz").write_bytes(b"x")
    assert made(tmp_path).resumed == {"S2": 1}


def test_a_tombstone_the_filters_do_not_mean(tmp_path: Path) -> None:
    make(tmp_path / f".{name(1)}.removing-{X}")
    make(tmp_path / "RUNNING" / f".{name(2)}.removing-{X}")
    assert names_of(made(tmp_path)) == [name(1)]
    assert names_of(made(tmp_path, filters=Filters(glob=("*02s*",)))) == []
    assert names_of(made(tmp_path, filters=Filters(exclude=("*01s*",)))) == []
    assert names_of(made(tmp_path, filters=Filters(status=("success",)))) == []
    make(tmp_path / name(1))
    young = made(tmp_path, filters=Filters(newer_than="1d"))
    assert len(young.jobs) == 0  # the session is there and not meant, so its tombstone is not either


def test_the_document(tmp_path: Path) -> None:
    make(tmp_path / name(1, "-\udcff"))
    make(tmp_path / "RUNNING" / name(2))
    todo = made(tmp_path)
    document = json.loads(json.dumps(todo.to_json()))
    assert document["schema"] == 1 and document["sessions"] == 1 and document["skipped"] == {"running": 1}
    (job,) = document["jobs"]
    assert from_json_path(job["path"]) == todo.jobs.path(0) and job["inodes"] == 3 and job["layout"] == "scitex"
    assert document["skips"][0]["reason"] == "running"


def test_roots_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        made(tmp_path / "nothing")
    with pytest.raises(UnsafePath):
        made(Path("/"))


def test_a_layout_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "runark.yaml").write_text("layouts:\n  - {name: mine, pattern: 'run[0-9]+'}\n")
    make(tmp_path / "run1")
    make(tmp_path / name(1))
    assert names_of(made(tmp_path)) == [name(1), "run1"]
    assert names_of(made(tmp_path, layouts=("mine",))) == ["run1"]
    (tmp_path / "empty.yaml").write_text("")
    assert names_of(made(tmp_path, config=tmp_path / "empty.yaml")) == [name(1)]


def test_roots_with_different_layouts(tmp_path: Path) -> None:
    for root in "ab":
        (tmp_path / root).mkdir()
    (tmp_path / "a" / "runark.yaml").write_text("")
    with pytest.raises(InvalidArgument, match="--config"):
        plan(tmp_path / "a", tmp_path / "b", engine="pure")


def test_rows_of_a_scan(tmp_path: Path) -> None:
    for number, size in ((1, 10), (2, 30), (3, 20)):
        make(tmp_path / name(number), "x" * size)
    rows = found(tmp_path)
    assert len(rows) == 3 and [row.size for row in rows] == [10, 30, 20]
    assert rows[-1] == rows[2] == rows[1:][1]
    assert rows[0].started is not None and rows[0].started.isoformat() == "2026-02-13T14:30:01"
    assert [rows.path(index)[-6:-5] for index in rows.ordered()] == [b"s", b"s", b"s"]
    assert list(rows.ordered("size")) == [1, 2, 0] and list(rows.ordered("size", 1)) == [1]
    assert rows.paths0() == rows.columns.paths
    assert rows.paths0("size", 1) == rows.path(1) + b"\0"
    assert rows.sum("size") == 60
    assert json.loads(json.dumps(rows.to_json()))["size"] == 60
    with pytest.raises(IndexError):
        rows[3]
    with pytest.raises(InvalidArgument):
        rows.ordered("colour")


def test_a_scan_of_nothing(tmp_path: Path) -> None:
    rows = found(tmp_path)
    assert len(rows) == 0 and rows.paths0() == b"" and rows.sum("size") == 0 and list(rows) == []
    assert len(made(tmp_path).jobs) == 0
