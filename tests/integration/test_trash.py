"""The trash: what a killed purge, a lost archive or odd names leave in it, and what undo finds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runark.archive import purge as purging
from runark.archive import undo as undoing
from runark.archive.archive import archive
from runark.archive.plan import plan
from runark.archive.purge import purge
from runark.archive.result import Result
from runark.archive.trash import Lying, lying, prepare_purge
from runark.archive.undo import plan_undo, undo
from support.engines import ENGINES
from support.sessions import many, name, plain
from support.trees import Snapshot, assert_same, make, snapshot

RUN = "20200101T000000Z-abcd"
SUFFIX = ".tar.gz"


@pytest.fixture(params=ENGINES)
def eng(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path, eng: str) -> Path:
    """Two sessions in the trash since long ago, their archives where they were."""
    many(tmp_path / "a", 2)
    assert archive(plan(tmp_path, engine=eng), trash=True, run=RUN).counts == {"trashed": 2}
    return tmp_path


def place(root: Path) -> Path:
    return root / ".runark" / "trash" / RUN / "a" / ".sessions"


def found(root: Path) -> list[Lying]:
    return list(lying(os.fsencode(root)))


def purged(root: Path, eng: str) -> Result:
    return purge(os.fsencode(root), 1e10, "20200102T000000Z-abcd", engine=eng)


def begun(root: Path) -> None:
    """As a purge leaves it that is killed before it removes anything."""
    prepare_purge(os.fsencode(root), found(root))


@pytest.fixture
def live(root: Path) -> Path:
    return root / "a" / f"{name(0)}{SUFFIX}"


def test_an_archive_lost_after_a_purge_was_killed(root: Path, live: Path, eng: str) -> None:
    """The second name that the purge has given it is no archive beside the session."""
    begun(root)
    for one in place(root).glob(".*.removing-*"):
        one.rename(place(root) / one.name[1:].partition(".")[0])
    live.unlink()
    result = purged(root, eng)
    assert result.counts == {"purged": 1, "failed": 1} and "archive is gone" in result.problems[0].reason
    assert [one.session for one in found(root)] == [os.fsencode(root / "a" / name(0))]
    assert not list(place(root).glob(f"*{SUFFIX}"))


def test_an_archive_lost_after_a_removal_has_begun(root: Path, live: Path, eng: str) -> None:
    """Then its second name is all there is of the session."""
    kept = live.read_bytes()
    begun(root)
    (tombstone,) = place(root).glob(f".{name(0)}.removing-*")
    (tombstone / "results.csv").unlink()
    live.unlink()
    assert purged(root, eng).counts == {"purged": 2}
    assert live.read_bytes() == kept and not found(root) and not place(root).exists()


def test_another_archive_after_a_removal_has_begun(root: Path, live: Path, eng: str) -> None:
    kept = live.read_bytes()
    begun(root)
    (tombstone,) = place(root).glob(f".{name(0)}.removing-*")
    (tombstone / "results.csv").unlink()
    live.unlink()
    live.write_bytes((root / "a" / f"{name(1)}{SUFFIX}").read_bytes())
    result = purged(root, eng)
    assert result.counts == {"purged": 1, "failed": 1} and "another one by now" in result.problems[0].reason
    assert (place(root) / live.name).read_bytes() == kept and tombstone.exists()


def test_an_archive_lost_during_the_purge(root: Path, live: Path, eng: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = live.read_bytes()

    def late(top: bytes, some: list[Lying]) -> object:
        prepared = prepare_purge(top, some)
        live.unlink()
        return prepared

    monkeypatch.setattr(purging, "prepare_purge", late)
    assert purged(root, eng).counts == {"purged": 2}
    assert live.read_bytes() == kept and os.stat(live).st_nlink == 1 and not place(root).exists()


def test_an_archive_behind_a_link(root: Path, live: Path, eng: str) -> None:
    """What a user puts where the archive was is not followed; nothing is read or made behind it."""
    (root / "a").rename(root / "b")
    (root / "a").symlink_to(root / "b")
    result = purged(root, eng)
    assert result.counts == {"failed": 2} and [one.whole for one in found(root)] == [True, True]
    assert os.stat(live).st_nlink == 1


def test_what_is_kept_leaves_no_second_names(root: Path, live: Path, eng: str) -> None:
    (place(root) / name(0) / "more").write_text("only here")
    assert purged(root, eng).counts == {"purged": 1, "failed": 1}
    assert os.stat(live).st_nlink == 1 and os.listdir(place(root)) == [name(0)]


def test_purging_is_slowed_down_too(root: Path, eng: str) -> None:
    result = purge(os.fsencode(root), 1e10, RUN, engine=eng, max_ops=100, back_off=True)
    assert result.counts == {"purged": 2} and result.seconds > 1, "some two hundred operations"


def test_a_stopped_purge_prepares_nothing_more(root: Path, eng: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "SLICE", 1)
    control = purging.Control(on_outcomes=lambda outcomes: control.stop() if outcomes else None)
    result = purge(os.fsencode(root), 1e10, RUN, engine=eng, control=control)
    assert result.counts == {"purged": 1} and (result.stopped, result.left) == ("interrupted", 1)
    assert [one.whole for one in found(root)] == [True]


def test_a_directory_called_as_the_trash_calls_its_own(tmp_path: Path, eng: str) -> None:
    paths = [*many(tmp_path / ".sessions", 1), *many(tmp_path / ".sessions" / "b" / ".sessions.", 1, start=1)]
    before = {path: snapshot(path) for path in paths}
    archive(plan(tmp_path, engine=eng), trash=True, run=RUN)
    assert sorted(one.session for one in found(tmp_path)) == sorted(paths)
    assert undo(plan_undo(tmp_path, run=RUN), engine=eng).counts == {"undone": 2}
    for path, tree in before.items():
        assert_same(tree, snapshot(path))


def test_a_place_far_below(tmp_path: Path) -> None:
    at = top = os.fsencode(tmp_path)
    for _ in range(1200):
        at += b"/d"
        os.mkdir(at)
    session = make(at + b"/" + name(0).encode(), plain())
    result = archive(plan(tmp_path), trash=True, run=RUN)
    there = found(tmp_path)
    counts = purged(tmp_path, "auto").counts
    os.unlink(session + SUFFIX.encode())
    while at != top:  # pytest's own removal does not go so deep
        os.rmdir(at)
        at = os.path.dirname(at)
    assert (result.counts, [one.session for one in there]) == ({"trashed": 1}, [session])
    assert counts == {"purged": 1} and not (tmp_path / ".runark" / "trash").exists()


def test_a_path_too_long_for_the_trash(tmp_path: Path) -> None:
    """It would be there, and could not be named."""
    at = os.fsencode(tmp_path)
    while len(at) < 3900:
        at += b"/" + b"x" * min(200, 4060 - len(name(0)) - len(at))
        os.mkdir(at)
    session = make(at + b"/" + name(0).encode(), plain())
    before = snapshot(session)
    result = archive(plan(tmp_path), trash=True, run=RUN)
    assert result.counts == {"failed": 1} and "too long" in result.problems[0].reason
    assert_same(before, snapshot(session))


# ------------------------------------------------------------------------------------------------ undo


def test_a_run_that_could_not_write_down_what_it_did(root: Path, eng: str) -> None:
    (root / ".runark" / "audit.jsonl").unlink()
    assert len(plan_undo(root, run=RUN).trashed) == 2


def test_the_audit_is_read_once(root: Path, eng: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have a million lines."""
    read: list[bytes] = []
    monkeypatch.setattr(undoing, "read_audit", lambda top: (read.append(top), iter(()))[1])
    todo = plan_undo(root, name(0), f"a/{name(1)}", f"a/{name(1)}{SUFFIX}", "nobody")
    assert len(todo.trashed) == 2 and todo.missing == (b"nobody",) and len(read) == 1
    (named,) = plan_undo(root, f"a/{name(1)}{SUFFIX}").trashed
    assert named.session == os.fsencode(root / "a" / name(1))


def test_undo_without_the_right_to_look_into_the_trash(root: Path, eng: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whose session root has archived: the archive is the user's."""
    real = os.listdir

    def listdir(path: bytes) -> list[bytes]:
        if path.endswith(b"trash"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    before: dict[Path, Snapshot] = {root / "a" / name(0): snapshot(place(root) / name(0))}
    monkeypatch.setattr(os, "listdir", listdir)
    assert undo(plan_undo(root, name(0)), engine=eng).counts == {"restored": 1}
    for path, tree in before.items():
        assert_same(tree, snapshot(path))
