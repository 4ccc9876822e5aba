"""Stopping the command: Ctrl-C and SIGTERM end it within two seconds, kill -9 loses nothing, locks hold."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.cli import clean_environment, executable, runark
from support.sessions import many
from support.trees import Snapshot, assert_same, snapshot

FORMAT = "tar.xz"
"""The slowest, so that a run lasts long enough to be stopped half way."""
SUFFIX = f".{FORMAT}"
EXECUTE = ("--execute", "--format", FORMAT)


def begin(*words: str | Path) -> subprocess.Popen[bytes]:
    """Start the command in a process group of its own, as a shell does."""
    return subprocess.Popen(
        [executable(), *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        start_new_session=True,
    )


def until_under_way(root: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the first archive is there."""
    deadline = time.monotonic() + 60
    while not any(name.endswith(SUFFIX) for name in os.listdir(root)):
        assert process.poll() is None and time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.005)


def check_states(root: Path, before: dict[str, Snapshot]) -> tuple[int, int]:
    """Every session is S0, S2 or S4, and nothing else is there. How many are archived, how many not."""
    names = set(os.listdir(root)) - {".runark"}
    for name, tree in before.items():
        there, archived = name in names, f"{name}.{FORMAT}" in names
        assert there or archived, f"lost: {name}"
        if there:
            assert_same(tree, snapshot(root / name))
    known = set(before) | {f"{name}.{FORMAT}" for name in before}
    assert names <= known, f"left behind: {sorted(names - known)[:5]}"
    return len(names - set(before)), len(names & set(before))


def converge(root: Path, before: dict[str, Snapshot], eng: list[str]) -> None:
    """A second run archives what is left, in its own format; then everything restores to what it was."""
    runark(*eng, "archive", root, "--execute").ok()
    names = set(os.listdir(root)) - {".runark"}
    for name in before:
        assert len({f"{name}.{FORMAT}", f"{name}.tar.gz"} & names) == 1 and name not in names
    assert not [name for name in names if name.startswith(".")]
    runark(*eng, "restore", root, "--execute", "--remove-archive", "--same-owner").ok()
    for name, tree in before.items():
        assert_same(tree, snapshot(root / name))


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("group", [True, False], ids=["group", "process"])
def test_interrupted_run(eng: list[str], tmp_path: Path, which: signal.Signals, group: bool) -> None:
    """A terminal sends Ctrl-C to the whole group, `kill` to one process; both end within two seconds."""
    root = tmp_path / "root"
    before = {os.path.basename(path).decode(): snapshot(path) for path in many(root, 700)}
    process = begin(*eng, "archive", root, *EXECUTE, "--json", "--jobs", "2")
    until_under_way(root, process)
    sent = time.monotonic()
    if group:
        os.killpg(process.pid, which)
    else:
        process.send_signal(which)
    out, err = process.communicate(timeout=60)
    took = time.monotonic() - sent
    assert process.returncode == 128 + which, (process.returncode, err)
    assert took < 2, f"{took:.2f} s after the signal"
    assert b"Traceback" not in err, err.decode()
    result = json.loads(out)
    assert result["stopped"] == "interrupted" and result["left"] > 0
    archived, kept = check_states(root, before)
    assert archived and kept, "the moment was badly chosen"
    assert result["counts"].get("archived", 0) + result["counts"].get("kept", 0) == archived
    converge(root, before, eng)


def test_interrupted_twice(eng: list[str], tmp_path: Path) -> None:
    """An impatient user: still nothing is lost, and the second run converges."""
    root = tmp_path / "root"
    before = {os.path.basename(path).decode(): snapshot(path) for path in many(root, 600)}
    process = begin(*eng, "archive", root, *EXECUTE, "--jobs", "2")
    until_under_way(root, process)
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    _wait_for_end(process.pid)
    converge(root, before, eng)


def test_killed_run(eng: list[str], tmp_path: Path) -> None:
    """kill -9 to the command alone: its workers notice; the second run starts at once and must not be disturbed."""
    root = tmp_path / "root"
    before = {os.path.basename(path).decode(): snapshot(path) for path in many(root, 600)}
    process = begin(*eng, "archive", root, *EXECUTE, "--jobs", "2")
    until_under_way(root, process)
    process.kill()
    process.communicate()
    first = runark(*eng, "archive", root, *EXECUTE, "--json")
    assert first.code in (0, 3), first
    _wait_for_end(process.pid)
    converge(root, before, eng)


def _wait_for_end(group: int) -> None:
    """Until no process of the group is left."""
    deadline = time.monotonic() + 30
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < deadline, "workers outlive the command"
        time.sleep(0.01)


# ------------------------------------------------------------------------------------------------ locks


def test_locked_root(eng: list[str], tmp_path: Path) -> None:
    """Somebody holds the lock: exit 11, nothing touched; a plan needs no lock."""
    root = tmp_path / "root"
    many(root, 3)
    runark(*eng, "archive", root, *EXECUTE, "--keep-source").ok()
    before = snapshot(root)
    with open(root / ".runark" / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = runark(*eng, "archive", root, *EXECUTE).expect(11)
        assert done.err
        assert_same(before, snapshot(root))
        runark(*eng, "archive", root).ok()
    runark(*eng, "archive", root, *EXECUTE).ok()


def test_second_run_names_the_first(eng: list[str], tmp_path: Path) -> None:
    root = tmp_path / "root"
    many(root, 700)
    process = begin(*eng, "archive", root, *EXECUTE, "--jobs", "1")
    until_under_way(root, process)
    done = runark(*eng, "archive", root, *EXECUTE).expect(11)
    assert str(process.pid).encode() in done.err and os.uname().nodename.encode() in done.err, done.err
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_overlapping_roots(eng: list[str], tmp_path: Path) -> None:
    """One run on the tree, one on a part of it, at the same time: each session ends in one sound archive."""
    root = tmp_path / "root"
    before = {os.path.basename(path).decode(): snapshot(path) for path in many(root / "part", 400)}
    runs = [begin(*eng, "archive", where, *EXECUTE, "--jobs", "1") for where in (root, root / "part")]
    for run in runs:
        _, err = run.communicate(timeout=120)
        assert run.returncode in (0, 3), (run.returncode, err.decode())
        assert b"Traceback" not in err
    names = {name for name in os.listdir(root / "part") if name != ".runark"}
    for name in before:
        assert name in names or f"{name}.{FORMAT}" in names, f"lost: {name}"
    runark(*eng, "archive", root, *EXECUTE).ok()
    runark(*eng, "verify", root).ok()
    runark(*eng, "restore", root, "--execute", "--remove-archive", "--same-owner").ok()
    for name, tree in before.items():
        assert_same(tree, snapshot(root / "part" / name))
