"""Into the wall: no blocks, no inodes left, at every point. Nothing is lost, the error is clear, and with room it
goes on.

The quota is that of a btrfs subvolume, which every kernel with btrfs keeps; project quota of ext4 and xfs gives the
same error, EDQUOT, which test_system_calls also injects at every call.
"""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from runark import archive as archive_plan
from runark import plan
from runark.engine.protocol import Engine
from support.drive import archive, jobs_of
from support.images import SBIN, make_image, mounted_image
from support.promise import assert_kept, assert_only_archives
from support.sessions import many
from support.torture import record, some
from support.trees import Snapshot, snapshot

COUNT = 12


def _sessions(root: Path) -> dict[Path, Snapshot]:
    return {Path(os.fsdecode(path)): snapshot(path) for path in many(root, COUNT)}


def _fill_blocks(disk: Path, left: int) -> None:
    """Take all blocks but about `left` bytes."""
    status = os.statvfs(disk)
    with open(disk / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, status.f_bavail * status.f_frsize - left))


def _fill_inodes(disk: Path, left: int) -> None:
    """Take all inodes but `left`."""
    (disk / "ballast").mkdir()
    for i in range(os.statvfs(disk).f_favail - left):
        (disk / "ballast" / str(i)).touch()


def _go(
    engine: Engine, disk: Path, sessions: dict[Path, Snapshot], told: object, errors: tuple[int, ...] = (errno.ENOSPC,)
) -> int:
    """Archive in the full filesystem; how many failed, each with a clear error."""
    outcomes = archive(engine, jobs_of(engine, disk / "r"), jobs=2)
    failed = 0
    for outcome in outcomes:
        assert outcome.action in ("archived", "failed"), (told, outcome)
        if outcome.action == "failed":
            failed += 1
            assert outcome.fault.errno in errors, (told, outcome)
            assert outcome.fault.path.startswith(os.fsencode(disk)), (told, outcome)
    for session, before in sessions.items():
        assert_kept(session, before, (told, outcomes))
    return failed


@pytest.mark.mounts
@pytest.mark.parametrize("what", ["blocks", "inodes"])
def test_full(engine: Engine, tmp_path: Path, what: str) -> None:
    lefts = [i * 4096 for i in range(16)] if what == "blocks" else list(range(12))
    lefts = some(lefts, 4)
    failures = 0
    for left in lefts:
        extra = ("-m", "0", *(("-N", "400") if what == "inodes" else ()))
        image = make_image(tmp_path / "image", "ext4", 32, extra)
        with mounted_image(image, tmp_path / "mnt") as disk:
            sessions = _sessions(disk / "r")
            (_fill_blocks if what == "blocks" else _fill_inodes)(disk, left)
            failures += _go(engine, disk, sessions, (what, left))
            subprocess.run(("rm", "-r", disk / "ballast"), check=True)
            outcomes = archive(engine, jobs_of(engine, disk / "r"), jobs=2)
            assert {outcome.action for outcome in outcomes} <= {"archived"}, (left, outcomes)
            assert_only_archives(sessions, (what, left))
    assert failures
    record(f"no {what} left", len(lefts), engine.name, "ext4")


def _quota(disk: Path, *words: str | Path) -> str:
    done = subprocess.run(("btrfs", *words), check=True, capture_output=True, text=True, env=SBIN)
    os.sync()
    return done.stdout


@pytest.mark.mounts
def test_quota_used_up(engine: Engine, tmp_path: Path) -> None:
    """A quota that leaves less or more room; then it is lifted."""
    lefts = some([i * 16384 for i in range(0, 32)], 4)
    failures = 0
    for left in lefts:
        with mounted_image(make_image(tmp_path / "image", "btrfs", 128), tmp_path / "mnt") as top:
            disk = top / "project"
            _quota(top, "subvolume", "create", disk)
            _quota(top, "quota", "enable", top)
            sessions = _sessions(disk / "r")
            os.sync()
            used = int(_quota(top, "qgroup", "show", "--raw", "-f", disk).splitlines()[-1].split()[1])
            _quota(top, "qgroup", "limit", str(used + left), disk)
            failures += _go(engine, disk, sessions, ("quota", left), (errno.EDQUOT,))
            _quota(top, "quota", "disable", top)
            outcomes = archive(engine, jobs_of(engine, disk / "r"), jobs=2)
            assert {outcome.action for outcome in outcomes} <= {"archived"}, (left, outcomes)
            assert_only_archives(sessions, ("quota", left))
    assert failures
    record("quota used up", len(lefts), engine.name, "btrfs")


@pytest.mark.mounts
def test_reserve_files_get_a_root_out_of_it(engine: Engine, tmp_path: Path) -> None:
    """With no inode left a root that was archived before can still be archived."""
    image = make_image(tmp_path / "image", "ext4", 32, ("-N", "400"))
    with mounted_image(image, tmp_path / "mnt") as disk:
        root = disk / "r"
        root.mkdir()
        many(root, 1, start=900)
        first = archive_plan(plan(root, engine=engine.name))
        assert first.counts == {"archived": 1}
        (root / next(name for name in os.listdir(root) if name.endswith(".gz"))).unlink()
        sessions = _sessions(root)
        _fill_inodes(disk, 0)
        result = archive_plan(plan(root, engine=engine.name), keep_outcomes=True)
        assert result.counts == {"archived": COUNT}, result.outcomes
        assert_only_archives(sessions)
    record("no inodes left, root archived before", 1, engine.name, "ext4")
