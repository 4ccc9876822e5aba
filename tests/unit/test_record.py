"""What the record of a session says about its life."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runark.record import Life, life


def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def record(directory: Path, text: str) -> bytes:
    configs = directory / "CONFIGS"
    configs.mkdir()
    (configs / "CONFIG.yaml").write_text(text)
    return os.fsencode(directory)


def running(**changes: object) -> str:
    values = {
        "HOST": socket.gethostname(),
        "PID": os.getpid(),
        "PROCESS_START": start_of(os.getpid()),
        "BOOT_ID": boot(),
    }
    return "".join(f"{name}: {value}\n" for name, value in {**values, **changes}.items() if value is not None)


def test_no_record(tmp_path: Path) -> None:
    assert life(os.fsencode(tmp_path)) is Life.OVER
    assert life(os.fsencode(tmp_path / "nothing")) is Life.OVER


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"EXIT_STATUS": "null"},
        {"EXIT_STATUS": "~"},
        {"END_DATETIME": ""},
        {"PROCESS_START": None},
        {"BOOT_ID": None},
    ],
)
def test_alive(tmp_path: Path, changes: dict[str, object]) -> None:
    assert life(record(tmp_path, running(**changes))) is Life.ALIVE


@pytest.mark.parametrize(
    "changes",
    [
        {"EXIT_STATUS": 0},
        {"EXIT_STATUS": 137},
        {"END_DATETIME": "2026-02-13 14:30:15"},
        {"BOOT_ID": "11111111-2222-3333-4444-555555555555"},
        {"PROCESS_START": 1},
        {"PID": None},
    ],
)
def test_over(tmp_path: Path, changes: dict[str, object]) -> None:
    assert life(record(tmp_path, running(**changes))) is Life.OVER


def test_a_process_that_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as other:
        other.wait()
    assert life(record(tmp_path, running(PID=other.pid, PROCESS_START=None))) is Life.OVER


@pytest.mark.parametrize(
    "changes", [{"HOST": "elsewhere"}, {"HOST": None}, {"PID": "many"}, {"PID": -1}, {"PID_NAMESPACE": "pid:[1]"}]
)
def test_unsure(tmp_path: Path, changes: dict[str, object]) -> None:
    assert life(record(tmp_path, running(**changes))) is Life.UNSURE


@pytest.mark.parametrize("text", ["PID: [\n", "PID: 1\n\tx", "PID: 1\nx: !!python/object:os.system {}\n", "PID\n"])
def test_a_broken_record_is_no_proof_of_death(tmp_path: Path, text: str) -> None:
    assert life(record(tmp_path, text)) is Life.UNSURE


def test_a_record_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "CONFIGS" / "CONFIG.yaml").mkdir(parents=True)
    assert life(os.fsencode(tmp_path)) is Life.UNSURE
    (tmp_path / "a" / "CONFIGS").mkdir(parents=True)
    (tmp_path / "a" / "CONFIGS" / "CONFIG.yaml").symlink_to("/dev/null")
    assert life(os.fsencode(tmp_path / "a")) is Life.UNSURE
    os.mkdir(tmp_path / "b")
    os.mkdir(tmp_path / "b" / "CONFIGS")
    os.mkfifo(tmp_path / "b" / "CONFIGS" / "CONFIG.yaml")  # must not hang; nobody writes into it
    assert life(os.fsencode(tmp_path / "b")) is Life.OVER


def test_a_record_as_others_write_it_when_they_end(tmp_path: Path) -> None:
    text = "ID: x\nPID: 4711\nSTART_DATETIME: 2026-02-13 14:30:15\nEXIT_STATUS: 0\nEND_DATETIME: 2026-02-13 14:31:15\n"
    assert life(record(tmp_path, text)) is Life.OVER
