"""Running again: from every state that a killed run can leave, to the archive, without losing or guessing."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runark.engine.protocol import FORMATS, ArchiveJob, ArchiveOptions, Engine
from support.drive import archive_one, drain, jobs_of, restore_one
from support.sessions import NAME, everything, plain
from support.trees import Dir, File, HardLink, Snapshot, Socket, Symlink, Tree, assert_same, make, snapshot

ARCHIVE = f"{NAME}.tar.gz"
TOMBSTONE = f".{NAME}.removing-0123456789abcdef"
PART = f".{NAME}.tar.gz.0123456789abcdef.part"
FAITHFUL: dict[str, Any] = {"same_owner": True, "special_modes": True}


def kept(engine: Engine, parent: Path, tree: Tree | None = None) -> tuple[Path, Snapshot]:
    """State S2: the session and its archive. The session and its snapshot."""
    session = make(parent / NAME, plain(9) if tree is None else tree)
    outcome = archive_one(engine, session, keep_source=True)
    assert outcome.action == "kept", outcome
    return parent / NAME, snapshot(session)


def aside(parent: Path, why: str) -> list[str]:
    """Names of archives moved aside for this reason."""
    pattern = re.compile(re.escape(f".{NAME}.tar.gz.{why}-") + "[0-9a-f]{16}")
    return [name for name in os.listdir(parent) if pattern.fullmatch(name)]


def holds(engine: Engine, archive: Path, before: Snapshot) -> None:
    """The archive restores to this snapshot."""
    dest = archive.parent / "proof"
    assert restore_one(engine, archive, dest, **FAITHFUL).action == "restored"
    assert_same(before, snapshot(dest))
    shutil.rmtree(dest)


# ------------------------------------------------------------------------------------------------ not looked for


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_archive_that_came_after_the_scan(engine: Engine, tmp_path: Path, fmt: str) -> None:
    """The scan saw none, so none is looked for; the one that came since is not replaced, and holds what it held."""
    session, before = kept(engine, tmp_path)
    archive = (tmp_path / ARCHIVE).read_bytes()
    (outcome,) = drain(
        engine.archive([ArchiveJob(os.fsencode(session), unarchived=True)], ArchiveOptions(format=fmt, jobs=1))
    )
    assert (tmp_path / ARCHIVE).read_bytes() == archive
    if fmt == "tar.gz":
        assert outcome.action == "changed", outcome
        assert_same(before, snapshot(session))
        assert sorted(os.listdir(tmp_path)) == [NAME, ARCHIVE]
    else:
        assert outcome.action == "archived", outcome
        assert sorted(os.listdir(tmp_path)) == sorted([ARCHIVE, f"{NAME}.{fmt}"])
        holds(engine, tmp_path / f"{NAME}.{fmt}", before)


def test_leftovers_have_archives_looked_for(engine: Engine, tmp_path: Path) -> None:
    """Whatever the job says: a tombstone rests on its archive."""
    session, before = kept(engine, tmp_path)
    session.rename(tmp_path / TOMBSTONE)
    job = ArchiveJob(os.fsencode(session), (os.fsencode(TOMBSTONE),), unarchived=True)
    (outcome,) = drain(engine.archive([job], ArchiveOptions(jobs=1)))
    assert outcome.action == "archived", outcome
    assert os.listdir(tmp_path) == [ARCHIVE]
    holds(engine, tmp_path / ARCHIVE, before)


# ------------------------------------------------------------------------------------------------ keep_source, S2


@pytest.mark.parametrize("fmt", FORMATS)
def test_keep_source(engine: Engine, tmp_path: Path, fmt: str) -> None:
    session = make(tmp_path / NAME, everything(tmp_path))
    before = snapshot(session)
    outcome = archive_one(engine, session, keep_source=True, format=fmt)
    assert outcome.action == "kept", outcome
    assert outcome.inodes_freed == 0
    assert_same(before, snapshot(session))
    assert sorted(os.listdir(tmp_path)) == [NAME, f"{NAME}.{fmt}"]
    # Again: recognised, nothing written anew.
    stamp = os.stat(outcome.target)
    again = archive_one(engine, session, keep_source=True, format=fmt)
    assert again.action == "kept", again
    after = os.stat(outcome.target)
    assert (after.st_ino, after.st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)
    # And without keeping: compared, then removed.
    last = archive_one(engine, session, format=fmt)
    assert last.action == "archived", last
    assert last.target == outcome.target
    assert os.stat(outcome.target).st_ino == stamp.st_ino
    assert os.listdir(tmp_path) == [f"{NAME}.{fmt}"]


def test_equal_archive_is_used_by_the_other_engine(pair: tuple[Engine, Engine], tmp_path: Path) -> None:
    session, _ = kept(pair[0], tmp_path, everything(tmp_path))
    inode = (tmp_path / ARCHIVE).stat().st_ino
    assert archive_one(pair[1], session).action == "archived"
    assert (tmp_path / ARCHIVE).stat().st_ino == inode
    assert os.listdir(tmp_path) == [ARCHIVE]


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "text", "seal"])
def test_damaged_archive_is_moved_aside(engine: Engine, tmp_path: Path, how: str) -> None:
    session, before = kept(engine, tmp_path)
    data = (tmp_path / ARCHIVE).read_bytes()
    spoilt = {
        "flipped": data[:300] + bytes([data[300] ^ 1]) + data[301:],
        "cut": data[: len(data) // 2],
        "empty": b"",
        "text": b"not an archive",
        "seal": data.replace(b"sha256=", b"sha256=0", 1)[: len(data)],
    }[how]
    (tmp_path / ARCHIVE).write_bytes(spoilt)
    outcome = archive_one(engine, session)
    assert outcome.action == "archived", outcome
    assert outcome.notes, "nothing is said about the archive that was moved aside"
    (moved,) = aside(tmp_path, "damaged")
    assert (tmp_path / moved).read_bytes() == spoilt
    assert sorted(os.listdir(tmp_path)) == sorted([ARCHIVE, moved])
    holds(engine, tmp_path / ARCHIVE, before)


def _append(session: Path) -> None:
    with open(session / "results.csv", "ab") as file:
        file.write(b"1,1\n")


def _same_size_and_time(session: Path) -> None:
    path = session / "results.csv"
    info = path.stat()
    path.write_bytes(b"#" * info.st_size)
    os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns))


def _relink(session: Path) -> None:
    info = os.lstat(session / "link")
    os.unlink(session / "link")
    os.symlink("elsewhere", session / "link")
    os.utime(session / "link", ns=(info.st_mtime_ns, info.st_mtime_ns), follow_symlinks=False)


def _copy_hard_link(session: Path) -> None:
    """Two names of one inode become two files."""
    info = os.stat(session / "two")
    data = (session / "two").read_bytes()
    os.unlink(session / "two")
    (session / "two").write_bytes(data)
    os.chmod(session / "two", info.st_mode & 0o7777)
    os.utime(session / "two", ns=(info.st_mtime_ns, info.st_mtime_ns))


def _kind(session: Path) -> None:
    os.unlink(session / "results.csv")
    os.mkdir(session / "results.csv")


CHANGES: dict[str, Callable[[Path], object]] = {
    "appended": _append,
    "content with the same size and time": _same_size_and_time,
    "mode": lambda s: os.chmod(s / "results.csv", 0o600),
    "mode of a directory": lambda s: os.chmod(s / "logs", 0o700),
    "mode of the top": lambda s: os.chmod(s, 0o700),
    "time by a nanosecond": lambda s: os.utime(s / "results.csv", ns=(1, (s / "results.csv").stat().st_mtime_ns + 1)),
    "time of a directory": lambda s: os.utime(s / "logs", ns=(1, 1)),
    "time of a link": lambda s: os.utime(s / "link", ns=(1, 1), follow_symlinks=False),
    "link target": _relink,
    "hard link": _copy_hard_link,
    "another file": lambda s: (s / "logs" / "new.log").write_text("new"),
    "another empty directory": lambda s: (s / "new").mkdir(),
    "a file less": lambda s: os.unlink(s / "results.csv"),
    "kind": _kind,
    "xattr": lambda s: os.setxattr(s / "results.csv", "user.note", b"new"),
    "xattr of a directory": lambda s: os.setxattr(s / "logs", "user.note", b"new"),
    "owner": lambda s: os.chown(s / "results.csv", 1234, -1),
}


NEEDS = {"owner": pytest.mark.root, "xattr": pytest.mark.xattrs, "xattr of a directory": pytest.mark.xattrs}


@pytest.mark.parametrize(
    "change", [pytest.param(name, marks=[NEEDS[name]] if name in NEEDS else []) for name in CHANGES]
)
def test_sound_but_different_archive_is_moved_aside(engine: Engine, tmp_path: Path, change: str) -> None:
    tree = {**plain(9), "link": Symlink(b"results.csv"), "one": "shared", "two": HardLink(b"one")}
    session, before = kept(engine, tmp_path, tree)
    first = (tmp_path / ARCHIVE).read_bytes()
    CHANGES[change](session)
    changed = snapshot(session)
    outcome = archive_one(engine, session)
    assert outcome.action == "archived", outcome
    assert outcome.notes, "nothing is said about the archive that was moved aside"
    (moved,) = aside(tmp_path, "superseded")
    assert (tmp_path / moved).read_bytes() == first
    assert sorted(os.listdir(tmp_path)) == sorted([ARCHIVE, moved])
    holds(engine, tmp_path / ARCHIVE, changed)
    os.rename(tmp_path / moved, tmp_path / "old.tar.gz")
    holds(engine, tmp_path / "old.tar.gz", before)


def test_foreign_archive_of_the_same_name(engine: Engine, tmp_path: Path) -> None:
    """A `tar czf` made by hand, of something else: kept, moved aside."""
    session = make(tmp_path / NAME, plain(9))
    before = snapshot(session)
    shutil.make_archive(str(tmp_path / NAME), "gztar", root_dir=make(tmp_path / "else", {"x": "y"}).decode())
    outcome = archive_one(engine, session)
    assert outcome.action == "archived", outcome
    assert len(aside(tmp_path, "superseded")) == 1
    holds(engine, tmp_path / ARCHIVE, before)


@pytest.mark.parametrize("found", ["tar.zst", "tar.xz", "tar"])
def test_equal_archive_of_another_format_is_used(engine: Engine, tmp_path: Path, found: str) -> None:
    """One archive a session, whatever was asked for the first time."""
    session = make(tmp_path / NAME, plain())
    first = archive_one(engine, session, format=found, keep_source=True)
    outcome = archive_one(engine, session)
    assert (outcome.action, outcome.target) == ("archived", first.target), outcome
    assert os.listdir(tmp_path) == [f"{NAME}.{found}"]


@pytest.mark.parametrize("found", ["tar.zst", "tar.xz", "tar"])
def test_different_archive_of_another_format_is_moved_aside(engine: Engine, tmp_path: Path, found: str) -> None:
    session = make(tmp_path / NAME, plain())
    archive_one(engine, session, format=found, keep_source=True)
    _append(tmp_path / NAME)
    before = snapshot(session)
    outcome = archive_one(engine, session)
    assert (outcome.action, outcome.target) == ("archived", os.fsencode(tmp_path / ARCHIVE)), outcome
    names = sorted(os.listdir(tmp_path))
    assert len(names) == 2 and names[0].startswith(f".{NAME}.{found}.superseded-") and names[1] == ARCHIVE, names
    holds(engine, tmp_path / ARCHIVE, before)


# ------------------------------------------------------------------------------------------------ S1


def test_part_file_of_a_dead_run_is_dropped(engine: Engine, tmp_path: Path) -> None:
    session = make(tmp_path / NAME, plain())
    (tmp_path / PART).write_bytes(b"half an archive")
    outcome = archive_one(engine, session, leftovers=(PART.encode(),))
    assert outcome.action == "archived", outcome
    assert os.listdir(tmp_path) == [ARCHIVE]


def test_part_file_of_a_live_run_is_left(engine: Engine, tmp_path: Path) -> None:
    """Its lock is held: whatever happens to the session, that file stays and no byte is lost."""
    session = make(tmp_path / NAME, plain())
    before = snapshot(session)
    (tmp_path / PART).write_bytes(b"growing")
    with open(tmp_path / PART, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = archive_one(engine, session, leftovers=(PART.encode(),))
        assert (tmp_path / PART).read_bytes() == b"growing"
        if outcome.action == "archived":
            holds(engine, tmp_path / ARCHIVE, before)
        else:
            assert_same(before, snapshot(session))


def test_leftover_that_is_something_else_is_left(engine: Engine, tmp_path: Path) -> None:
    """A directory, or a link, with the name of a part file is nobody's leftover."""
    session = make(tmp_path / NAME, plain())
    make(tmp_path / PART, {"mine": "precious"})
    (tmp_path / "other").write_text("precious")
    link = PART.replace("0123", "4567")
    (tmp_path / link).symlink_to("other")
    kept_before = snapshot(tmp_path / PART)
    archive_one(engine, session, leftovers=(PART.encode(), link.encode()))
    assert_same(kept_before, snapshot(tmp_path / PART))
    assert (tmp_path / "other").read_text() == "precious"


# ------------------------------------------------------------------------------------------------ S3


def tombstoned(engine: Engine, parent: Path, tree: Tree | None = None) -> Snapshot:
    """State S3: the archive and the tombstone, nothing removed yet."""
    session, before = kept(engine, parent, tree)
    session.rename(parent / TOMBSTONE)
    return before


@pytest.mark.parametrize("removed", ["nothing", "a file", "a directory", "one of two names", "all but the top"])
def test_removal_is_finished(engine: Engine, tmp_path: Path, removed: str) -> None:
    before = tombstoned(engine, tmp_path, {**plain(9), "one": "shared", "two": HardLink(b"one"), "e": Dir({})})
    tomb = tmp_path / TOMBSTONE
    if removed == "a file":
        os.unlink(tomb / "logs" / "stderr.log")
    elif removed == "a directory":
        shutil.rmtree(tomb / "logs")
    elif removed == "one of two names":
        os.unlink(tomb / "one")
    elif removed == "all but the top":
        shutil.rmtree(tomb)
        tomb.mkdir()
    outcome = archive_one(engine, tmp_path / NAME, leftovers=(TOMBSTONE.encode(),))
    assert outcome.action == "archived", outcome
    assert os.listdir(tmp_path) == [ARCHIVE]
    holds(engine, tmp_path / ARCHIVE, before)


@pytest.mark.parametrize(
    "change", ["new file", "appended", "content with the same size and time", "mode", "kind", "target", "socket"]
)
def test_tombstone_with_something_the_archive_has_not(engine: Engine, tmp_path: Path, change: str) -> None:
    """Renamed back and reported; the archive stays, for it may hold what was removed."""
    tombstoned(engine, tmp_path, {**plain(9), "link": Symlink(b"results.csv")})
    tomb = tmp_path / TOMBSTONE
    os.unlink(tomb / "logs" / "stdout.log")
    changes: dict[str, Callable[[Path], object]] = {
        "new file": lambda t: (t / "new").write_text("precious"),
        "appended": _append,
        "content with the same size and time": _same_size_and_time,
        "mode": CHANGES["mode"],
        "kind": _kind,
        "target": _relink,
        "socket": lambda t: make(t / "run", {"control": Socket()}),
    }
    changes[change](tomb)
    left = snapshot(tomb)
    data = (tmp_path / ARCHIVE).read_bytes()
    outcome = archive_one(engine, tmp_path / NAME, leftovers=(TOMBSTONE.encode(),))
    assert outcome.action in ("changed", "failed"), outcome
    assert_same(left, snapshot(tmp_path / NAME))
    assert not tomb.exists()
    assert data in [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]


@pytest.mark.parametrize("how", ["missing", "damaged", "empty"])
def test_tombstone_without_a_sound_archive_is_renamed_back(engine: Engine, tmp_path: Path, how: str) -> None:
    before = tombstoned(engine, tmp_path)
    archive = tmp_path / ARCHIVE
    if how == "missing":
        archive.unlink()
    else:
        archive.write_bytes(b"" if how == "empty" else archive.read_bytes()[:-30])
    outcome = archive_one(engine, tmp_path / NAME, leftovers=(TOMBSTONE.encode(),))
    assert outcome.action == "failed", outcome
    assert_same(before, snapshot(tmp_path / NAME))
    assert not (tmp_path / TOMBSTONE).exists()


def test_tombstone_and_a_session_of_the_same_name(engine: Engine, tmp_path: Path) -> None:
    """Somebody made the session anew: neither of the two is lost."""
    before = tombstoned(engine, tmp_path)
    session = make(tmp_path / NAME, {"new": "precious"})
    fresh = snapshot(session)
    archive_one(engine, session, leftovers=(TOMBSTONE.encode(),))
    _found_somewhere(engine, tmp_path, before)
    _found_somewhere(engine, tmp_path, fresh)


def _found_somewhere(engine: Engine, parent: Path, wanted: Snapshot) -> None:
    """As a directory, or in an archive, whatever it is called now."""
    for path in list(parent.iterdir()):
        if path.is_dir() and snapshot(path) == wanted:
            return
        if path.is_file() and ".tar.gz" in path.name:
            copy, dest = parent / "proof.tar.gz", parent / "proof"  # under a name that tells the format again
            shutil.copy(path, copy)
            assert restore_one(engine, copy, dest, **FAITHFUL).action == "restored"
            found = snapshot(dest)
            shutil.rmtree(dest)
            copy.unlink()
            if found == wanted:
                return
    pytest.fail(f"lost: {sorted(wanted)}; there is {sorted(os.listdir(parent))}")


def test_tombstone_that_is_a_link_is_left(engine: Engine, tmp_path: Path) -> None:
    other = make(tmp_path / "other", plain(9))
    _, before = kept(engine, tmp_path)
    shutil.rmtree(tmp_path / NAME)
    (tmp_path / TOMBSTONE).symlink_to("other")
    archive_one(engine, tmp_path / NAME, leftovers=(TOMBSTONE.encode(),))
    assert_same(before, snapshot(other))


def test_scan_finds_the_leftovers_and_a_second_run_converges(engine: Engine, tmp_path: Path) -> None:
    """All states at once, found by a scan of names as the planner does it, then nothing but archives."""
    states = {number: tmp_path / f"{number}" for number in range(4)}
    expected = {}
    for number, parent in states.items():
        parent.mkdir()
        session = make(parent / NAME, plain(number))
        expected[number] = snapshot(session)
    (states[1] / PART).write_bytes(b"half")
    archive_one(engine, states[2] / NAME, keep_source=True)
    archive_one(engine, states[3] / NAME, keep_source=True)
    (states[3] / NAME).rename(states[3] / TOMBSTONE)
    os.unlink(states[3] / TOMBSTONE / "results.csv")
    jobs = jobs_of(engine, tmp_path)
    assert [job.path for job in jobs] == [os.fsencode(parent / NAME) for parent in states.values()]
    from support.drive import archive

    assert {outcome.action for outcome in archive(engine, jobs)} == {"archived"}
    for number, parent in states.items():
        assert os.listdir(parent) == [ARCHIVE]
        holds(engine, parent / ARCHIVE, expected[number])


# ------------------------------------------------------------------------------------------------ compare


def test_verify_compare(engine: Engine, tmp_path: Path) -> None:
    session = make(tmp_path / NAME, everything(tmp_path))
    before = snapshot(session)
    outcome = archive_one(engine, session, verify="compare")
    assert outcome.action == "archived", outcome
    holds(engine, tmp_path / ARCHIVE, before)


def test_restored_without_removing_the_archive_archives_again(engine: Engine, tmp_path: Path) -> None:
    """S2 by way of a restore: equal, so the archive is used as it is."""
    outcome = archive_one(engine, make(tmp_path / NAME, Dir({"a": File(b"x", mode=0o640), **plain()}, mode=0o750)))
    inode = os.stat(outcome.target).st_ino
    assert restore_one(engine, outcome.target, tmp_path / NAME, **FAITHFUL).action == "restored"
    assert archive_one(engine, tmp_path / NAME).action == "archived"
    assert os.stat(outcome.target).st_ino == inode
    assert os.listdir(tmp_path) == [ARCHIVE]
