"""Sessions that must stay: what cannot be kept, read or stored leaves everything as it was, with a reason."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runark.engine.protocol import Engine, Outcome
from support import apart, tools
from support.drive import archive_all, archive_one, restore_one, verify_one
from support.privileges import mounted, without_override
from support.sessions import NAME, many, plain
from support.trees import DEFAULT_MTIME_NS, Device, Dir, File, Snapshot, Socket, Symlink, assert_same, make, snapshot


def _untouched(before: Snapshot, parent: Path) -> None:
    """The session is whole, and there is nothing beside it."""
    assert_same(before, snapshot(parent / NAME))
    assert os.listdir(parent) == [NAME]


def test_socket(engine: Engine, tmp_path: Path) -> None:
    session = make(tmp_path / NAME, {"a": "x", "sub": {"agent.sock": Socket()}})
    before = snapshot(session)
    outcome = archive_one(engine, session)
    assert outcome.action == "skipped" and "socket" in outcome.reason, outcome
    assert "agent.sock" in outcome.reason, "the reason does not name the socket"
    _untouched(before, tmp_path)


@pytest.mark.root
def test_device_node(engine: Engine, tmp_path: Path) -> None:
    session = make(tmp_path / NAME, {"a": "x", "null": Device()})
    before = snapshot(session)
    outcome = archive_one(engine, session)
    assert outcome.action == "skipped" and "device" in outcome.reason, outcome
    _untouched(before, tmp_path)


@pytest.mark.mounts
def test_mount_point_inside(engine: Engine, tmp_path: Path) -> None:
    session = make(tmp_path / NAME, {"a": "x", "data": {}})
    with mounted(tmp_path / NAME / "data") as inner:
        (inner / "precious").write_text("on another filesystem")
        outcome = archive_one(engine, session)
        assert outcome.action == "skipped", outcome
        assert (inner / "precious").read_text() == "on another filesystem"
        assert os.listdir(tmp_path) == [NAME]
    assert sorted(os.listdir(session)) == [b"a", b"data"]


@pytest.mark.mounts
def test_session_that_is_a_mount_point(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / NAME, {})
    with mounted(tmp_path / NAME) as inner:
        (inner / "precious").write_text("x")
        outcome = archive_one(engine, tmp_path / NAME)
        assert outcome.action in ("skipped", "failed"), outcome
        assert (inner / "precious").read_text() == "x"
    assert os.listdir(tmp_path) == [NAME]


@pytest.mark.parametrize("what", ["file", "directory"])
def test_young(engine: Engine, tmp_path: Path, what: str) -> None:
    """Age is that of the newest entry; an entry exactly at the limit is young."""
    now = DEFAULT_MTIME_NS + 10**12
    newest = File(b"new", mtime_ns=now) if what == "file" else Dir({}, mtime_ns=now)
    session = make(tmp_path / NAME, {"sub": Dir({"growing.log": newest}), "old": "x"})
    before = snapshot(session)
    outcome = archive_one(engine, session, older_than_ns=now)
    assert (outcome.action, outcome.reason) == ("skipped", "young"), outcome
    _untouched(before, tmp_path)
    assert archive_one(engine, session, older_than_ns=now + 1).action == "archived"


def test_path_too_long(engine: Engine, tmp_path: Path) -> None:
    tree: dict[bytes, Any] = {b"end": "x"}
    for _ in range(130):
        tree = {b"n" * 252: tree}
    session = make(tmp_path / NAME, tree)
    outcome = archive_one(engine, session)
    assert outcome.action == "skipped", outcome
    assert os.listdir(tmp_path) == [NAME]
    subprocess.run(["rm", "-rf", session], check=True)


def test_too_deep(engine: Engine, tmp_path: Path) -> None:
    def levels(count: int) -> dict[bytes, Any]:
        tree: dict[bytes, Any] = {}
        for _ in range(count):
            tree = {b"d": tree}
        return tree

    session = make(tmp_path / NAME, levels(512))
    outcome = archive_one(engine, session)
    assert outcome.action == "skipped", outcome
    assert os.listdir(tmp_path) == [NAME]
    subprocess.run(["rm", "-rf", session], check=True)
    # The deepest that is packed restores under the default limits.
    session = make(tmp_path / NAME, levels(511))
    outcome = archive_one(engine, session)
    assert outcome.action == "archived", outcome
    back = restore_one(engine, outcome.target, session)
    assert (back.action, back.entries) == ("restored", 512), back
    subprocess.run(["rm", "-rf", session], check=True)


def test_path_beyond_path_max(engine: Engine, tmp_path: Path) -> None:
    """Longer than the kernel takes in one call, shorter than the format's limit: kept."""
    tree: dict[bytes, Any] = {b"end": "x"}
    for _ in range(30):
        tree = {b"n" * 250: tree}
    session = make(tmp_path / NAME, tree)
    before = snapshot(session)
    outcome = archive_one(engine, session)
    assert outcome.action == "archived", outcome
    assert restore_one(engine, outcome.target, session).action == "restored"
    assert_same(before, snapshot(session), ignore=("uid", "gid"))
    subprocess.run(["rm", "-rf", session], check=True)


@pytest.mark.parametrize("what", ["file", "directory", "top"])
def test_unreadable(engine: Engine, tmp_path: Path, what: str) -> None:
    """By a process that file permissions bind: a failure naming the path, nothing removed."""
    trees: dict[str, Any] = {
        "file": {"secret": File(b"s", mode=0o000)},
        "directory": {"secret": Dir({"x": "y"}, mode=0o000)},
        "top": {},
    }
    make(tmp_path / NAME, Dir({"a": "x", **trees[what]}, mode=0o000 if what == "top" else 0o755))
    before = snapshot(tmp_path / NAME) if os.geteuid() == 0 else None
    outcome: Outcome = apart.call(engine.name, "archive_one", str(tmp_path / NAME), prefix=without_override())
    assert outcome.action == "failed", outcome
    assert outcome.fault is not None and outcome.fault.errno == 13, outcome
    assert (NAME if what == "top" else "secret").encode() in outcome.fault.path, outcome
    if before is not None:
        _untouched(before, tmp_path)
    assert os.listdir(tmp_path) == [NAME]


def test_parent_that_cannot_be_written(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "root", {NAME: plain()})
    os.chmod(tmp_path / "root", 0o555)
    before = snapshot(tmp_path / "root")
    outcome: Outcome = apart.call(engine.name, "archive_one", str(tmp_path / "root" / NAME), prefix=without_override())
    assert outcome.action == "failed", outcome
    assert_same(before, snapshot(tmp_path / "root"))
    os.chmod(tmp_path / "root", 0o755)


def test_directory_that_cannot_be_emptied(engine: Engine, tmp_path: Path) -> None:
    """Readable, but not writable for who runs this: the session stays whole, or its archive is sound."""
    session = make(tmp_path / NAME, {"a": "x", "locked": Dir({"b": "y"}, mode=0o500), "z": {"c": "z"}})
    before = snapshot(session)
    outcome: Outcome = apart.call(engine.name, "archive_one", str(tmp_path / NAME), prefix=without_override())
    assert outcome.action == "failed", outcome
    assert outcome.fault is not None and b"locked" in outcome.fault.path, outcome
    if os.path.exists(session):
        assert_same(before, snapshot(session))
    else:
        assert restore_one(engine, session + b".tar.gz", tmp_path / "proof", same_owner=True).action == "restored"
        assert_same(before, snapshot(tmp_path / "proof"))


@pytest.mark.parametrize("what", ["missing", "file", "symlink"])
def test_not_a_session_directory(engine: Engine, tmp_path: Path, what: str) -> None:
    real = make(tmp_path / "real", plain())
    if what == "file":
        (tmp_path / NAME).write_text("precious")
    elif what == "symlink":
        (tmp_path / NAME).symlink_to("real")
    before = snapshot(tmp_path)
    outcome = archive_one(engine, tmp_path / NAME)
    assert outcome.action in ("failed", "skipped"), outcome
    assert_same(before, snapshot(tmp_path))
    assert os.path.isdir(real)


@pytest.mark.parametrize("what", ["directory", "dangling link", "link to a file"])
def test_something_else_has_the_name_of_the_archive(engine: Engine, tmp_path: Path, what: str) -> None:
    """Nothing that is not an archive is replaced, followed or removed."""
    session = make(tmp_path / NAME, plain())
    name = tmp_path / f"{NAME}.tar.gz"
    (tmp_path / "other").write_text("precious")
    if what == "directory":
        make(name, {"mine": "precious"})
    else:
        name.symlink_to("nowhere" if what == "dangling link" else "other")
    source, kept = snapshot(session), snapshot(name)
    outcome = archive_one(engine, session)
    assert (tmp_path / "other").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
    if outcome.action == "archived":  # moved aside, then archived: fine as well, but it must still exist
        assert [snapshot(p) for p in tmp_path.iterdir() if p.name.startswith(f".{NAME}")] == [kept]
    else:
        assert outcome.action in ("failed", "changed", "skipped"), outcome
        assert_same(source, snapshot(session))
        assert_same(kept, snapshot(name))


def test_one_bad_session_does_not_stop_the_others(engine: Engine, tmp_path: Path) -> None:
    sessions = many(tmp_path / "root", 40)
    os.unlink(sessions[7] + b"/results.csv")
    make(sessions[7] + b"/results.csv", {"agent": Socket()})
    shutil.rmtree(sessions[20])
    outcomes = archive_all(engine, sessions)
    actions = [outcome.action for outcome in outcomes]
    assert actions.pop(20) == "failed"
    assert actions.pop(7) == "skipped"
    assert set(actions) == {"archived"}


@pytest.mark.mounts
def test_no_inode_left(engine: Engine, tmp_path: Path) -> None:
    """Every inode taken: fails without reserve, works with it."""
    with mounted(make(tmp_path / "m", {}), "nr_inodes=40,size=8m") as root:
        session = make(root / NAME, plain())
        before = snapshot(session)
        reserve = make(root / ".runark", {"reserve-0": "", "reserve-1": ""})
        fillers = 0
        while True:
            try:
                (root / f"filler {fillers}").touch()
            except OSError:
                break
            fillers += 1
        outcome = archive_one(engine, session)
        assert outcome.action == "failed" and outcome.fault is not None and outcome.fault.errno == 28, outcome
        assert_same(before, snapshot(session))
        outcome = archive_one(engine, session, reserve=reserve)
        assert outcome.action == "archived", outcome
        assert verify_one(engine, outcome.target).action == "sound"
        assert len(os.listdir(reserve)) == 1
        (root / "one more").touch()
        back = restore_one(engine, outcome.target, session)  # one inode short now
        assert back.action == "failed" and back.fault is not None and back.fault.errno == 28, back
        assert sorted(os.listdir(root)) == sorted(
            [".runark", f"{NAME}.tar.gz", "one more", *(f"filler {n}" for n in range(fillers))]
        )
        (root / "one more").unlink()
        assert restore_one(engine, outcome.target, session).action == "restored"
        assert_same(before, snapshot(session), ignore=("uid", "gid"))


@pytest.mark.mounts
def test_inodes_freed_by_the_first_sessions_serve_the_next(engine: Engine, tmp_path: Path) -> None:
    """One reserve file is enough for many sessions, however they fall into batches."""
    with mounted(make(tmp_path / "m", {}), "nr_inodes=200,size=8m") as root:
        sessions = many(root / "sessions", 20)
        reserve = make(root / ".runark", {"reserve-0": "", "reserve-1": ""})
        number = 0
        while True:
            try:
                (root / f"filler {number}").touch()
            except OSError:
                break
            number += 1
        outcomes = archive_all(engine, sessions, reserve=reserve, jobs=1)
        assert {outcome.action for outcome in outcomes} == {"archived"}, outcomes


@pytest.mark.mounts
def test_no_room(engine: Engine, tmp_path: Path) -> None:
    with mounted(make(tmp_path / "m", {}), "size=3m") as root:
        session = make(root / NAME, {"random": os.urandom(2 << 20)})
        before = snapshot(session)
        outcome = archive_one(engine, session)
        assert outcome.action == "failed" and outcome.fault is not None and outcome.fault.errno == 28, outcome
        _untouched(before, root)


def test_fifo_does_not_block(engine: Engine, tmp_path: Path) -> None:
    """A pipe without a reader at the other end, and one that is swapped in where a file is expected."""
    from support.trees import Fifo

    session = make(tmp_path / NAME, {"pipe": Fifo(), "a": "x", "l": Symlink(b"pipe")})
    outcome = archive_one(engine, session)
    assert outcome.action == "archived", outcome
    assert b"/pipe" in b" ".join(tools.stock_list("tar", outcome.target))
    info = os.lstat(outcome.target)
    assert stat.S_ISREG(info.st_mode)
