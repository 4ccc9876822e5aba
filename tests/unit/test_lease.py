"""The holder file: a run on another host is seen, a dead one is not, and of two that take over only one goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runark.archive import lease as module
from runark.archive.lease import STALE, Heart, Lease
from runark.archive.root import lock_roots
from runark.errors import RootLocked


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem on which a lock of another host may not be seen."""
    monkeypatch.setattr(module, "is_network", lambda _: True)


def held(root: Path, silent: float = 0.0, **holder: object) -> Path:
    """Somebody's holder file, last touched `silent` seconds ago."""
    (root / ".runark").mkdir(exist_ok=True)
    path = root / ".runark" / "holder.json"
    about = {"schema": 1, "user": "eve", "host": "node17", "pid": 4711, "started": int(time.time()) - 7300}
    path.write_text(json.dumps({**about, "version": "0.1.0", **holder}))
    os.utime(path, (time.time() - silent,) * 2)
    return path


@pytest.mark.usefixtures("network")
def test_another_host_is_heard(tmp_path: Path) -> None:
    path = held(tmp_path, silent=STALE / 2)
    with pytest.raises(RootLocked) as caught, lock_roots([os.fsencode(tmp_path)]):
        pass
    for part in ("user eve", "host node17", "pid 4711", "for 2 hours", "last sign of life 5 minutes ago", "10 minutes"):
        assert part in str(caught.value), str(caught.value)
    assert json.loads(path.read_text())["host"] == "node17"


@pytest.mark.usefixtures("network")
def test_another_host_that_is_silent_is_dead(tmp_path: Path) -> None:
    path = held(tmp_path, silent=STALE + 5)
    with lock_roots([os.fsencode(tmp_path)]) as notes:
        assert notes == () and json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()
    assert not [name for name in os.listdir(tmp_path / ".runark") if name.startswith("holder")]


@pytest.mark.usefixtures("network")
def test_the_servers_clock_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held(tmp_path, silent=5)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    with pytest.raises(RootLocked), lock_roots([os.fsencode(tmp_path)]):
        pass


def test_on_a_local_filesystem_the_lock_is_proof(tmp_path: Path) -> None:
    """A container has another host name: no reason to wait ten minutes."""
    held(tmp_path)
    with lock_roots([os.fsencode(tmp_path)]) as notes:
        assert notes == ()


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("torn", ["", "{", "[]", '{"host": "node17"}'])
def test_a_torn_file_is_somebodys_until_it_is_old(tmp_path: Path, torn: str) -> None:
    path = held(tmp_path)
    path.write_text(torn)
    with pytest.raises(RootLocked, match="left no name"), lock_roots([os.fsencode(tmp_path)]):
        pass
    os.utime(path, (time.time() - 2 * STALE,) * 2)
    with lock_roots([os.fsencode(tmp_path)]):
        pass


@pytest.mark.usefixtures("network")
def test_a_process_of_this_host(tmp_path: Path) -> None:
    """Alive: locked, however long it was silent. Gone, or from before a reboot: at once free."""
    from runark.record import boot_id, process_start

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        here = {"host": os.uname().nodename, "pid": other.pid, "boot_id": boot_id()}
        here["process_start"] = process_start(other.pid)
        held(tmp_path, silent=10 * STALE, **here)
        with pytest.raises(RootLocked, match=f"pid {other.pid}"), lock_roots([os.fsencode(tmp_path)]):
            pass
        held(tmp_path, **{**here, "boot_id": "before"})
        with lock_roots([os.fsencode(tmp_path)]):
            pass
        held(tmp_path, **here)
        other.kill()
        other.wait()
    with lock_roots([os.fsencode(tmp_path)]):
        pass


def make(root: Path, flocked: bool = True) -> Lease:
    (root / ".runark").mkdir(exist_ok=True)
    handle = os.open(root / ".runark" / "lock", os.O_CREAT | os.O_RDWR)
    return Lease(os.fsencode(root / ".runark"), handle, flocked)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_run_that_lost_its_root_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.02)
    first = make(tmp_path)
    lost: list[bool] = []
    heart = Heart([first], lambda: lost.append(True))
    before = os.stat(first.path).st_mtime_ns
    until(lambda: os.stat(first.path).st_mtime_ns > before)
    assert not lost
    second = make(tmp_path)  # its evidence said that the first is dead
    until(lambda: bool(lost))
    heart.stop()
    first.end()
    assert os.path.exists(second.path), "the file is the second one's"
    assert second.beat()
    second.end()
    assert lost == [True] and os.listdir(tmp_path / ".runark") == ["lock"]


@pytest.mark.usefixtures("network")
def test_two_that_find_a_dead_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second has looked before the first took over, and renames the first one's file away: it gives it back."""
    held(tmp_path, silent=2 * STALE)
    true_rename, winner = os.rename, []

    def late(source: bytes, target: bytes) -> None:
        monkeypatch.setattr(os, "rename", true_rename)
        winner.append(make(tmp_path, flocked=False))
        true_rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(RootLocked):
        make(tmp_path, flocked=False)
    assert winner[0].beat()
    winner[0].end()


def test_a_run_stops_when_its_root_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.02)
    lost: list[bool] = []
    with lock_roots([os.fsencode(tmp_path)], lambda: lost.append(True)):
        (tmp_path / ".runark" / "holder.json").unlink()
        until(lambda: bool(lost))
