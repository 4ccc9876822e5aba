"""Restoring: what one engine packs, every engine brings back; nothing that exists is ever touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from runark.engine.protocol import FORMATS, Engine, RestoreJob
from support import tarbytes
from support.drive import archive_all, archive_one, restore_all, restore_one, verify_one
from support.engines import Pair
from support.sessions import NAME, everything, many, plain
from support.trees import Dir, File, Tree, assert_same, make, snapshot

FAITHFUL: dict[str, Any] = {"same_owner": True, "special_modes": True}


@pytest.mark.parametrize("fmt", FORMATS)
def test_identity(pair: Pair, tmp_path: Path, fmt: str) -> None:
    """One of everything, packed by one engine, restored by the other: nothing differs."""
    session = make(tmp_path / NAME, everything(tmp_path))
    before = snapshot(session)
    outcome = archive_one(pair.archiver, session, format=fmt)
    assert outcome.action == "archived", outcome
    sound = verify_one(pair.restorer, outcome.target)
    assert sound.action == ("sound" if fmt in ("tar.gz", "tar.zst") else "unsealed"), sound
    back = restore_one(pair.restorer, outcome.target, session, **FAITHFUL)
    assert back.action == "restored", back
    assert back.target == session
    assert back.entries == outcome.entries
    assert back.sha256 == outcome.sha256 == sound.sha256
    assert_same(before, snapshot(session))
    assert sorted(os.listdir(tmp_path)) == [NAME, f"{NAME}.{fmt}"], "something was left beside the session"


def test_again_the_same_bytes(pair: Pair, tmp_path: Path) -> None:
    """Archived by one, restored by another and archived again: the same stream."""
    session = make(tmp_path / NAME, everything(tmp_path))
    first = archive_one(pair.archiver, session)
    assert restore_one(pair.restorer, first.target, session, remove_archive=True, **FAITHFUL).action == "restored"
    assert not os.path.exists(first.target)
    assert archive_one(pair.restorer, session).sha256 == first.sha256


def test_many(pair: Pair, tmp_path: Path) -> None:
    sessions = many(tmp_path / "root", 60)
    before = snapshot(tmp_path / "root")
    outcomes = archive_all(pair.archiver, sessions)
    back = restore_all(
        pair.restorer, [RestoreJob(o.target, o.path) for o in outcomes], remove_archive=True, same_owner=True
    )  # fmt: skip
    assert {outcome.action for outcome in back} == {"restored"}
    assert_same({p: e for p, e in before.items() if p}, {p: e for p, e in snapshot(tmp_path / "root").items() if p})


def test_another_place_and_name(engine: Engine, tmp_path: Path) -> None:
    """A sealed archive's top directory becomes the target, whatever both are called."""
    session = make(tmp_path / NAME, plain())
    before = snapshot(session)
    archived = archive_one(engine, session)
    renamed = tmp_path / "renamed by hand.tar.gz"
    os.rename(archived.target, renamed)
    make(tmp_path / "elsewhere", {})
    dest = tmp_path / "elsewhere" / "other name"
    outcome = restore_one(engine, renamed, dest, **FAITHFUL)
    assert (outcome.action, outcome.target) == ("restored", os.fsencode(dest))
    assert_same(before, snapshot(dest))
    assert renamed.exists()


def test_special_modes_and_owner_only_when_asked(engine: Engine, tmp_path: Path) -> None:
    tree: Tree = {
        "u": File(b"x", mode=0o4755),
        "g": File(b"x", mode=0o2711),
        "t": Dir({}, mode=0o1777),
        "n": File(b"", mode=0o777),
    }
    session = make(tmp_path / NAME, tree)
    outcome = archive_one(engine, session, keep_source=True)
    plainly, fully = tmp_path / "plain", tmp_path / "full"
    assert restore_one(engine, outcome.target, plainly).action == "restored"
    assert restore_one(engine, outcome.target, fully, special_modes=True).action == "restored"
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in plainly.iterdir()} == {
        "u": 0o755,
        "g": 0o711,
        "t": 0o777,
        "n": 0o777,
    }
    assert_same(snapshot(session), snapshot(fully), ignore=("uid", "gid"))


@pytest.mark.root
def test_owner(engine: Engine, tmp_path: Path) -> None:
    tree = Dir({"a": File(b"x", mode=0o4755, owner=(1234, 2345)), "d": Dir({}, owner=(1235, 0))}, owner=(1236, 2346))
    session = make(tmp_path / NAME, tree)
    outcome = archive_one(engine, session, keep_source=True)
    assert restore_one(engine, outcome.target, tmp_path / "full", **FAITHFUL).action == "restored"
    assert_same(snapshot(session), snapshot(tmp_path / "full"))
    assert restore_one(engine, outcome.target, tmp_path / "mine").action == "restored"
    owners = {(entry.uid, entry.gid) for entry in snapshot(tmp_path / "mine").values()}
    assert owners == {(os.geteuid(), os.getegid())}


def test_umask_does_not_matter(engine: Engine, tmp_path: Path) -> None:
    session = make(tmp_path / NAME, {"a": File(b"x", mode=0o666), "d": Dir({}, mode=0o777)})
    before = snapshot(session)
    old = os.umask(0o077)
    try:
        outcome = archive_one(engine, session)
        assert restore_one(engine, outcome.target, session).action == "restored"
    finally:
        os.umask(old)
    assert_same(before, snapshot(session), ignore=("uid", "gid"))


@pytest.mark.parametrize("kind", ["directory", "empty directory", "file", "dangling link", "link to a directory"])
def test_existing_target_is_never_touched(engine: Engine, tmp_path: Path, kind: str) -> None:
    outcome = archive_one(engine, make(tmp_path / NAME, plain()))
    dest = tmp_path / "dest"
    (tmp_path / "other").mkdir()
    if kind.endswith("directory") and not kind.startswith("link"):
        make(dest, {} if kind.startswith("empty") else {"mine": "precious"})
    elif kind == "file":
        dest.write_text("mine")
    else:
        dest.symlink_to("nowhere" if kind == "dangling link" else "other")
    before = snapshot(tmp_path)
    back = restore_one(engine, outcome.target, dest, remove_archive=True)
    assert back.action == "skipped", back
    assert "exist" in back.reason, back
    assert_same(before, snapshot(tmp_path))


def test_remove_archive_keeps_what_the_tree_lost(engine: Engine, tmp_path: Path) -> None:
    """setuid was not asked for, so the tree is less than the archive: the archive stays and the reason says so."""
    outcome = archive_one(engine, make(tmp_path / NAME, {"u": File(b"x", mode=0o4755)}))
    back = restore_one(engine, outcome.target, tmp_path / "dest", remove_archive=True)
    assert back.action == "restored", back
    assert back.reason, "the reason does not say why the archive stays"
    assert os.path.exists(outcome.target)
    again = restore_one(engine, outcome.target, tmp_path / "whole", remove_archive=True, **FAITHFUL)
    assert again.action == "restored"
    assert not os.path.exists(outcome.target)


def test_missing_archive(engine: Engine, tmp_path: Path) -> None:
    back = restore_one(engine, tmp_path / "none.tar.gz", tmp_path / "dest")
    assert back.action == "failed", back
    assert back.fault is not None and back.fault.errno == 2
    assert os.listdir(tmp_path) == []


def test_missing_parent_of_the_target(engine: Engine, tmp_path: Path) -> None:
    outcome = archive_one(engine, make(tmp_path / NAME, plain()))
    before = snapshot(tmp_path)
    back = restore_one(engine, outcome.target, tmp_path / "no" / "such" / "dest")
    assert back.action == "failed", back
    assert_same(before, snapshot(tmp_path))


def test_stale_staging_directory_is_taken_away(engine: Engine, tmp_path: Path) -> None:
    session = make(tmp_path / NAME, plain())
    before = snapshot(session)
    outcome = archive_one(engine, session)
    stale = f".{NAME}.restoring-0123456789abcdef"
    make(tmp_path / stale, {"half": "restored", "locked": Dir({"x": "y"}, mode=0o000)})
    assert restore_one(engine, outcome.target, session, leftovers=(stale.encode(),)).action == "restored"
    assert not (tmp_path / stale).exists()
    assert_same(before, snapshot(session), ignore=("uid", "gid"))


def test_staging_directory_of_a_live_process_is_left(engine: Engine, tmp_path: Path) -> None:
    import fcntl

    session = make(tmp_path / NAME, plain())
    outcome = archive_one(engine, session)
    stale = f".{NAME}.restoring-0123456789abcdef"
    make(tmp_path / stale, {"half": "restored"})
    fd = os.open(tmp_path / stale, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        restore_one(engine, outcome.target, session, leftovers=(stale.encode(),))
        assert os.listdir(tmp_path / stale) == ["half"]
    finally:
        os.close(fd)


def test_a_lying_seal_is_damage(engine: Engine, tmp_path: Path) -> None:
    stream = tarbytes.joined([tarbytes.member(b"S/", typeflag=b"5", mode=0o755), tarbytes.member(b"S/a", b"data")])
    good = tarbytes.seal_text(stream, 2, 4)
    lies = {
        "digest": tarbytes.seal_text(stream, 2, 4, sha256="0" * 64),
        "length": tarbytes.seal_text(stream, 2, 4, length=len(stream) + 512),
        "entries": tarbytes.seal_text(stream, 3, 4),
        "content": tarbytes.seal_text(stream, 2, 5),
    }
    path = tmp_path / "S.tar.gz"
    path.write_bytes(tarbytes.sealed_gz(stream, good))
    assert verify_one(engine, path).action == "sound"
    assert restore_one(engine, path, tmp_path / "good").action == "restored"
    for what, seal in lies.items():
        path.write_bytes(tarbytes.sealed_gz(stream, seal))
        before = snapshot(tmp_path)
        assert verify_one(engine, path).action == "damaged", what
        assert restore_one(engine, path, tmp_path / "dest", remove_archive=True).action == "damaged", what
        assert_same(before, snapshot(tmp_path), retimed=(b"",))
