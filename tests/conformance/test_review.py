"""Narrow places of deleting and restoring: names given as leftovers, rights, limits of names and of open files."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runark.engine.protocol import Engine, RestoreJob
from support import apart, privileges
from support.drive import archive_all, archive_one, restore_all, restore_one
from support.sessions import NAME
from support.trees import snapshot

ARCHIVE = f"{NAME}.tar.gz"
TOMBSTONE = f".{NAME}.removing-0123456789abcdef"
FAITHFUL: dict[str, Any] = {"same_owner": True, "special_modes": True}


def small(path: Path) -> Path:
    """A session whose entries all lie in directories that come before and after others."""
    for name in ("a/early", "m", "z/late"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    return path


def acl(path: Path, *arguments: str) -> bool:
    """`setfacl`; False where it or the filesystem has none."""
    if shutil.which("setfacl") is None:
        return False
    return subprocess.run(["setfacl", *arguments, path], capture_output=True, check=False).returncode == 0


# ---------------------------------------------------------------------------------------------- what is not ours


def test_only_staging_directories_are_swept_away(engine: Engine, tmp_path: Path) -> None:
    """A restore clears what it is told is left over, but never anything that is not called like its staging."""
    archived = archive_one(engine, small(tmp_path / NAME))
    for name in ("precious", f".{NAME}.restoring-0123456789ABCDEF", ".other.restoring-0123456789abcdef"):
        small(tmp_path / name)
        outcome = restore_one(engine, archived.target, tmp_path / NAME, leftovers=[name.encode()])
        assert outcome.action == "restored", outcome
        assert len(snapshot(tmp_path / name)) == 6
        shutil.rmtree(tmp_path / NAME)


def test_only_part_files_are_dropped(engine: Engine, tmp_path: Path) -> None:
    session = small(tmp_path / NAME)
    names = [f".{NAME}.notes.part", f".{NAME}.tar.gz.0123456789abcdef.part.part"]
    for name in names:
        (tmp_path / name).write_text("mine")
    outcome = archive_one(engine, session, [name.encode() for name in names])
    assert outcome.action == "archived", outcome
    assert sorted(os.listdir(tmp_path)) == sorted([*names, ARCHIVE])


def test_only_tombstones_are_finished(engine: Engine, tmp_path: Path) -> None:
    """A directory equal to the archive is not removed because somebody calls it a leftover."""
    session = small(tmp_path / NAME)
    subprocess.run(["cp", "-a", session, tmp_path / "copy"], check=True)
    before = snapshot(tmp_path / "copy")
    for name in (b"copy", b".other.removing-0123456789abcdef"):
        outcome = archive_one(engine, session, [name], keep_source=True)
        assert outcome.action == "kept", outcome
        assert snapshot(tmp_path / "copy") == before


def test_the_archive_that_proves_a_tombstone_is_found(engine: Engine, tmp_path: Path) -> None:
    """Beside a tombstone stand an old archive and the right one, of another format: the removal is finished."""
    session = small(tmp_path / NAME)
    assert archive_one(engine, session, keep_source=True).action == "kept"
    (tmp_path / ARCHIVE).rename(tmp_path / "old")
    (session / "m").write_text("newer")
    assert archive_one(engine, session, keep_source=True, format="tar.xz").action == "kept"
    before = snapshot(session)
    (tmp_path / "old").rename(tmp_path / ARCHIVE)
    session.rename(tmp_path / TOMBSTONE)
    (tmp_path / TOMBSTONE / "z/late").unlink()
    outcome = archive_one(engine, session, [TOMBSTONE.encode()])
    assert outcome.action == "archived", outcome
    assert sorted(os.listdir(tmp_path)) == [ARCHIVE, f"{NAME}.tar.xz"]
    assert restore_one(engine, tmp_path / f"{NAME}.tar.xz", session, **FAITHFUL).action == "restored"
    assert snapshot(session) == before


# ------------------------------------------------------------------------------------------------------- rights


@pytest.mark.parametrize("name", ["a", "m", "z"])
def test_a_read_only_directory_leaves_the_session_whole(engine: Engine, tmp_path: Path, name: str) -> None:
    """What cannot be removed is not half removed: the refusal comes before the first entry goes."""
    session = small(tmp_path / NAME)
    if name == "m":
        (session / "m").unlink()
        small(session / "m")
        (session / "m/a").chmod(0o555)
    else:
        (session / name).chmod(0o555)
    before = snapshot(session)
    for _ in range(2):
        outcome = apart.call(engine.name, "archive_one", session, prefix=privileges.without_override())
        assert outcome.action == "failed", outcome
        assert outcome.fault.op == "unlink"
        assert "chmod u+w" in outcome.reason
        assert snapshot(session) == before
        assert sorted(os.listdir(tmp_path)) == [NAME, ARCHIVE]


@pytest.mark.parametrize("fmt", ["tar.gz", "tar.xz", "tar"])
@pytest.mark.parametrize("mode", [0o555, 0o311, 0o000])
def test_a_read_only_session_comes_back(engine: Engine, tmp_path: Path, fmt: str, mode: int) -> None:
    """Also without a seal, where the directory is moved out of the staging directory."""
    session = small(tmp_path / NAME)
    session.chmod(mode)
    outcome = archive_one(engine, session, keep_source=True, format=fmt)
    if not privileges.is_root() and mode & 0o500 != 0o500:
        assert outcome.action == "failed", outcome
        return
    before = snapshot(session)
    session.chmod(0o755)
    shutil.rmtree(session)
    prefix = privileges.without_override()
    back = apart.call(engine.name, "restore_one", outcome.target, session, prefix=prefix, **FAITHFUL)
    assert back.action == "restored", back
    assert snapshot(session) == before
    assert sorted(os.listdir(tmp_path)) == [NAME, f"{NAME}.{fmt}"]


@pytest.mark.root
def test_another_groups_file_closes_the_archive_to_the_group(engine: Engine, tmp_path: Path) -> None:
    session = small(tmp_path / NAME)
    for top, _, files in os.walk(session):
        os.chmod(top, 0o750)
        for name in files:
            os.chmod(os.path.join(top, name), 0o640)
    outcome = archive_one(engine, session, keep_source=True)
    assert os.stat(outcome.target).st_mode & 0o777 == 0o640
    os.unlink(outcome.target)
    os.chown(session / "m", -1, 4242)
    outcome = archive_one(engine, session, keep_source=True)
    assert os.stat(outcome.target).st_mode & 0o777 == 0o600


def test_an_acl_for_one_user_does_not_open_the_archive_to_the_group(engine: Engine, tmp_path: Path) -> None:
    """With an ACL the mode's group bits are the mask; the group itself may have nothing."""
    session = small(tmp_path / NAME)
    subprocess.run(["chmod", "-R", "u=rwX,go=", session], check=True)
    if not acl(session, "-R", "-m", "u:1234:rX"):
        assert not acl(tmp_path, "-m", "u:1234:rX")
        return
    outcome = archive_one(engine, session, keep_source=True)
    assert os.stat(outcome.target).st_mode & 0o777 == 0o600


def test_a_restored_session_inherits_no_acl(engine: Engine, tmp_path: Path) -> None:
    """It would be open to users it was closed to, and unlike its archive."""
    session = small(tmp_path / NAME)
    archived = archive_one(engine, session)
    acl(tmp_path, "-d", "-m", "u:1234:rwx")
    assert restore_one(engine, archived.target, session, **FAITHFUL).action == "restored"
    again = archive_one(engine, session, keep_source=True)
    assert again.action == "kept", again
    assert not [name for name in os.listdir(tmp_path) if "superseded" in name]
    assert os.listxattr(session) == os.listxattr(session / "m") == []


@pytest.mark.root
def test_a_restore_where_the_group_is_handed_down(engine: Engine, tmp_path: Path) -> None:
    """The group is what the directory above gives, and the archive goes only if that is the archived one."""
    tmp_path.chmod(0o2775)
    os.chown(tmp_path, -1, 4242)
    session = small(tmp_path / NAME)
    assert os.stat(session / "a/early").st_gid == 4242
    archived = archive_one(engine, session)
    outcome = restore_one(engine, archived.target, session, remove_archive=True, special_modes=True)
    assert (outcome.action, outcome.reason) == ("restored", ""), outcome
    assert os.listdir(tmp_path) == [NAME]
    for path in (session, session / "a", session / "a/early"):
        assert os.stat(path).st_gid == 4242

    tmp_path.chmod(0o755)
    os.chown(tmp_path, -1, os.getegid())
    shutil.rmtree(session)
    archived = archive_one(engine, small(session))
    tmp_path.chmod(0o2775)
    os.chown(tmp_path, -1, 4242)
    outcome = restore_one(engine, archived.target, session, remove_archive=True)
    assert outcome.action == "restored", outcome
    assert outcome.reason.startswith("archive kept"), outcome
    assert sorted(os.listdir(tmp_path)) == [NAME, ARCHIVE]


# ------------------------------------------------------------------------------------------------------- limits


@pytest.mark.mounts
def test_an_archive_on_disk_outlives_a_restore_into_memory(engine: Engine, tmp_path: Path) -> None:
    """`remove_archive` waits for a durable tree, and a tree in memory is none (unless the archive is no better)."""
    disk, memory = tmp_path / "disk", tmp_path / "memory"
    image = tmp_path / "image"
    disk.mkdir()
    memory.mkdir()
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    sbin = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    subprocess.run(["mkfs.ext4", "-q", image], check=True, env=sbin)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    try:
        with privileges.mounted(memory):
            archived = archive_one(engine, small(disk / NAME))
            outcome = restore_one(engine, archived.target, memory / NAME, remove_archive=True, **FAITHFUL)
            assert outcome.action == "restored", outcome
            assert outcome.reason.startswith("archive kept"), outcome
            assert os.path.exists(archived.target)
            archived = archive_one(engine, memory / NAME)
            outcome = restore_one(engine, archived.target, memory / NAME, remove_archive=True, **FAITHFUL)
            assert (outcome.action, outcome.reason) == ("restored", ""), outcome
            assert not os.path.exists(archived.target)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("length", [219, 220, 226, 248, 255])
def test_long_names(engine: Engine, tmp_path: Path, length: int) -> None:
    """Room is needed for the archive's name and for that of an archive moved aside; without it nothing is begun."""
    session = small(tmp_path / ("n" * length))
    before = snapshot(session)
    outcome = archive_one(engine, session)
    if length > 219:
        assert (outcome.action, outcome.reason) == ("skipped", "name too long for an archive's name"), outcome
        assert snapshot(session) == before
        assert os.listdir(tmp_path) == [session.name]
        return
    assert outcome.action == "archived", outcome
    back = restore_one(engine, outcome.target, session, remove_archive=True, **FAITHFUL)
    assert (back.action, back.reason) == ("restored", ""), back
    # A stale archive can be moved aside.
    assert archive_one(engine, session, keep_source=True).action == "kept"
    (session / "m").write_text("newer")
    assert archive_one(engine, session).action == "archived"
    assert len(os.listdir(tmp_path)) == 2


def test_a_name_too_long_to_be_moved_aside_keeps_its_archive(engine: Engine, tmp_path: Path) -> None:
    archived = archive_one(engine, small(tmp_path / NAME), format="tar")
    target = tmp_path / ("n" * 223 + ".tar")
    os.rename(archived.target, target)
    back = restore_one(engine, target, tmp_path / ("n" * 223), remove_archive=True, **FAITHFUL)
    assert (back.action, back.reason) == ("restored", "archive kept: its name is too long to be moved aside"), back
    assert len(os.listdir(tmp_path)) == 2


@contextmanager
def open_files(most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_many_workers_share_few_open_files(engine: Engine, tmp_path: Path) -> None:
    """Every session has more directories than a worker may keep open."""
    in_use = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 64
    sessions = []
    for number in range(48):
        session = tmp_path / f"{NAME}-{number}"
        for inner in range(40):
            (session / f"d{inner}/e").mkdir(parents=True)
            (session / f"d{inner}/e/f").write_bytes(b"x")
        sessions.append(session)
    with open_files(max(256, 4 * in_use)):
        outcomes = archive_all(engine, sessions, jobs=48)
        assert {outcome.action for outcome in outcomes} == {"archived"}, outcomes
        jobs = [RestoreJob(outcome.target, outcome.path) for outcome in outcomes]
        outcomes = restore_all(engine, jobs, jobs=48)
        assert {outcome.action for outcome in outcomes} == {"restored"}, outcomes
