"""Power cuts on ext4, xfs and btrfs: the disk as it is at some instant of a run, with another machine started from it.

The archiver is stopped with SIGSTOP, the file behind its loop device copied, and the archiver let go on. What the
kernel had not
yet written to the device is not in the copy, as after a power cut; the copy is mounted, which replays its journal.
What the kernel writes while the copy is made is only more of the same run: a device, too, may write on for a moment.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runark.engine.protocol import Engine
from support import apart
from support.drive import archive, jobs_of
from support.images import MAKERS, copy_image, make_image, mounted_image
from support.promise import assert_kept, assert_only_archives, kept
from support.sessions import many
from support.torture import FULL, record
from support.trees import Snapshot, snapshot

SESSIONS = 500 if FULL else 150
CUTS = 40 if FULL else 5


@pytest.fixture
def memory() -> Iterator[Path]:
    where = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    yield Path(where)
    shutil.rmtree(where)


@pytest.mark.mounts
@pytest.mark.parametrize("kind", MAKERS)
def test_power_cut(engine: Engine, memory: Path, kind: str) -> None:
    image = make_image(memory / "image", kind, 400)
    with mounted_image(image, memory / "mnt") as disk:
        sessions = [Path(os.fsdecode(path)) for path in many(disk / "r", SESSIONS)]
        before = {session: snapshot(session) for session in sessions}
        os.sync()
        time.sleep(0.05)  # past the tick of the clock
        begun = time.monotonic()
        archive_copy = _timed(engine, image, memory)
        process = apart.start(engine.name, "archive_all", [[os.fsencode(session) for session in sessions]], {"jobs": 2})
        copies = []
        rng = random.Random(kind + engine.name)
        try:
            for cut in range(CUTS):
                time.sleep(rng.uniform(0.0, archive_copy * 2 / CUTS))
                if process.poll() is not None:
                    break
                os.killpg(process.pid, signal.SIGSTOP)
                try:
                    copies.append(copy_image(image, memory / f"cut{cut}"))
                finally:
                    os.killpg(process.pid, signal.SIGCONT)
            process.communicate(timeout=120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        assert time.monotonic() - begun < 120
    assert copies
    torn = 0
    for copy in copies:
        with mounted_image(copy, memory / "mnt") as disk:
            found = {disk / "r" / session.name: manifest for session, manifest in before.items()}
            torn += _check(engine, found, copy.name)
        copy.unlink()
    record("power cut", len(copies), engine.name, kind)


def _timed(engine: Engine, image: Path, memory: Path) -> float:
    """About how long archiving takes, on a copy; seconds."""
    trial = copy_image(image, memory / "trial")
    with mounted_image(trial, memory / "mnt2") as disk:
        jobs = jobs_of(engine, disk)
        begun = time.monotonic()
        archive(engine, jobs, jobs=2)
        spent = time.monotonic() - begun
    trial.unlink()
    return spent


def _check(engine: Engine, sessions: dict[Path, Snapshot], what: str) -> int:
    """The promise for each session, then the next run; how many sessions were neither untouched nor done."""
    between = 0
    for session, before in sessions.items():
        assert_kept(session, before, what)
        between += kept(session, before) == ["source", "archive"]
    (root,) = {session.parent for session in sessions}
    outcomes = archive(engine, jobs_of(engine, root), jobs=2)
    assert {outcome.action for outcome in outcomes} <= {"archived"}, outcomes
    for leftover in os.listdir(root):  # a torn archive is set aside, and only looked at by a person
        if ".damaged-" in leftover:
            os.unlink(root / leftover)
    assert_only_archives(sessions, what)
    return between
