"""Sessions removed without an archive: exactly the one that was meant, and nothing outside of it."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from runark.engine.protocol import DiscardJob, Engine, Outcome
from support import apart
from support.drive import archive_one, discard_all, discard_one, drain
from support.privileges import mounted, without_override
from support.sessions import NAME, everything, many, name, plain
from support.trees import Dir, File, HardLink, Socket, Symlink, assert_same, make, snapshot

X = "0123456789abcdef"


def _inodes(path: Path) -> int:
    return len({(status.st_dev, status.st_ino) for at in (path, *path.rglob("*")) for status in (at.lstat(),)})


def test_all_of_it_and_nothing_else(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "out", {"precious": "x", "deep": {"file": "y"}})
    before = snapshot(tmp_path / "out")
    links = {
        "dir": Symlink(os.fsencode(tmp_path / "out")),
        "file": Symlink(b"../out/precious"),
        "dangling": Symlink(b"no"),
    }
    make(tmp_path / NAME, {**plain(), "links": links, "one": "1", "two": HardLink(b"one"), "ctl.sock": Socket()})
    inodes = _inodes(tmp_path / NAME)
    entries = 1 + sum(1 for _ in (tmp_path / NAME).rglob("*"))
    outcome = discard_one(engine, tmp_path / NAME)
    assert (outcome.action, outcome.entries, outcome.inodes_freed) == ("discarded", entries, inodes), outcome
    assert os.listdir(tmp_path) == ["out"]
    assert_same(before, snapshot(tmp_path / "out"))


def test_everything_a_session_may_hold(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / NAME, everything(tmp_path))
    assert discard_one(engine, tmp_path / NAME).action == "discarded"
    assert os.listdir(tmp_path) == []


def test_many(engine: Engine, tmp_path: Path) -> None:
    outcomes = discard_all(engine, many(tmp_path, 60), workers=3)
    assert {outcome.action for outcome in outcomes} == {"discarded"}
    assert os.listdir(tmp_path) == []


def test_another_directory_by_now(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / NAME, plain())
    seen = os.stat(tmp_path / NAME)
    os.rename(tmp_path / NAME, tmp_path / "moved")
    make(tmp_path / NAME, plain(1))
    before = snapshot(tmp_path / NAME)
    (outcome,) = drain(engine.discard([DiscardJob(os.fsencode(tmp_path / NAME), seen.st_dev, seen.st_ino)], 1))
    assert (outcome.action, outcome.target) == ("changed", b""), outcome
    assert_same(before, snapshot(tmp_path / NAME))
    assert sorted(os.listdir(tmp_path)) == sorted([NAME, "moved"])


def test_a_symlink_is_not_followed(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", plain())
    before = snapshot(tmp_path / "elsewhere")
    seen = os.stat(tmp_path / "elsewhere")
    os.symlink("elsewhere", tmp_path / NAME)
    (outcome,) = drain(engine.discard([DiscardJob(os.fsencode(tmp_path / NAME), seen.st_dev, seen.st_ino)], 1))
    assert outcome.action == "failed", outcome
    assert_same(before, snapshot(tmp_path / "elsewhere"))
    assert (tmp_path / NAME).is_symlink()


def test_what_is_not_there(engine: Engine, tmp_path: Path) -> None:
    (outcome,) = drain(engine.discard([DiscardJob(os.fsencode(tmp_path / NAME), 1, 1)], 1))
    assert outcome.action == "failed" and outcome.fault is not None and outcome.fault.errno == 2, outcome


def test_in_use(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / NAME, plain())
    before = snapshot(tmp_path / NAME)
    handle = os.open(tmp_path / NAME, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert discard_one(engine, tmp_path / NAME).action == "skipped"
        assert_same(before, snapshot(tmp_path / NAME))
    finally:
        os.close(handle)
    assert discard_one(engine, tmp_path / NAME).action == "discarded"


@pytest.mark.mounts
def test_a_mount_point_in_it(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / NAME, {**plain(), "data": {}})
    with mounted(tmp_path / NAME / "data") as inner:
        (inner / "precious").write_text("on another filesystem")
        assert discard_one(engine, tmp_path / NAME).action == "skipped"
        assert (inner / "precious").read_text() == "on another filesystem"
        assert (tmp_path / NAME / "results.csv").exists()


def test_a_directory_that_cannot_be_emptied(engine: Engine, tmp_path: Path) -> None:
    """Seen before anything is removed: the session is whole and has its name."""
    make(tmp_path / NAME, {**plain(), "locked": Dir({"file": "x"}, mode=0o555)})
    before = snapshot(tmp_path / NAME)
    outcome: Outcome = apart.call(engine.name, "discard_one", str(tmp_path / NAME), prefix=without_override())
    assert outcome.action == "failed" and outcome.fault is not None, outcome
    assert outcome.fault.path.endswith(b"/locked") and outcome.target == b"", outcome
    assert_same(before, snapshot(tmp_path / NAME))
    assert os.listdir(tmp_path) == [NAME]


def test_a_file_that_is_open_for_writing_goes(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / NAME, plain())
    with open(tmp_path / NAME / "results.csv", "a"):
        assert discard_one(engine, tmp_path / NAME).action == "discarded"


def test_what_is_left_of_one_is_finished(engine: Engine, tmp_path: Path) -> None:
    left = tmp_path / f".{NAME}.discarding-{X}"
    make(left, {"logs": {"stdout.log": "rest"}})
    make(tmp_path / NAME, plain())
    outcome = discard_one(engine, left)
    assert (outcome.action, outcome.entries) == ("discarded", 3), outcome
    assert os.listdir(tmp_path) == [NAME]


def test_what_is_left_is_no_tombstone(engine: Engine, tmp_path: Path) -> None:
    """Archiving a session leaves alone what is left of another one of its name."""
    left = f".{NAME}.discarding-{X}"
    make(tmp_path / left, plain(1))
    make(tmp_path / NAME, plain())
    assert archive_one(engine, tmp_path / NAME, leftovers=[left.encode()]).action == "archived"
    assert (tmp_path / left / "results.csv").exists()


def test_cancelled(engine: Engine, tmp_path: Path) -> None:
    sessions = many(tmp_path, 400)
    jobs = [DiscardJob(path, os.stat(path).st_dev, os.stat(path).st_ino) for path in sessions]
    task = engine.discard(jobs, 1)
    task.cancel()
    outcomes = {outcome.path: outcome.action for outcome in drain(task)}
    assert set(outcomes.values()) <= {"discarded", "cancelled"} and len(outcomes) == 400
    gone = sum(action == "discarded" for action in outcomes.values())
    assert len(os.listdir(tmp_path)) == 400 - gone
    assert all(os.path.isdir(path) is (outcomes[path] == "cancelled") for path in sessions)


@pytest.mark.parametrize("at", ["", "sub", "sub/deep"])
def test_swapped_for_a_symlink_meanwhile(engine: Engine, tmp_path: Path, at: str) -> None:
    """While sessions are discarded, one directory after the other is swapped for a link to what must stay."""
    make(tmp_path / "outside", {"deep": {"a": File(b"precious"), "b": "x"}, "a": "precious"})
    before = snapshot(tmp_path / "outside")
    root = tmp_path / "r"
    root.mkdir()
    tree: dict[str, Any] = {"a": "1", "sub": {"a": "2", "deep": {"a": "3", "b": "4"}}}
    sessions = [root / name(number) for number in range(40)]
    for session in sessions:
        make(session, tree)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for number, session in enumerate(sessions):
                target = session / at if at else session
                try:
                    os.rename(target, tmp_path / f"aside-{number}-{os.urandom(4).hex()}")
                    os.symlink(tmp_path / "outside", target)
                except OSError:
                    continue

    swapper = threading.Thread(target=swap)
    jobs = [DiscardJob(os.fsencode(path), path.stat().st_dev, path.stat().st_ino) for path in sessions]
    swapper.start()
    try:
        outcomes = drain(engine.discard(jobs, 1))
    finally:
        done.set()
        swapper.join()
    assert len(outcomes) == 40
    assert_same(before, snapshot(tmp_path / "outside"))
