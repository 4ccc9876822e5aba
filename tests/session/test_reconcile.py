"""Which sessions in RUNNING/ are ghosts, and what becomes of them; the heartbeat that tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from runark import reconcile
from runark.errors import InvalidArgument, SourceMissing
from runark.record import boot_id, process_start
from runark.session import pump
from runark.session.yaml_config import dump, load_yaml
from support.runs import clean_environment, decorated

NAME = "2026Y-02M-13D-14h30m15s_Z5MR-main"
OLD = time.time() - 200_000


def ghost(root: Path, name: str = NAME, age: float | None = None, **record: Any) -> Path:
    """A session in RUNNING/ whose record says this."""
    run = root / "job_out" / "RUNNING" / name
    (run / "CONFIGS").mkdir(parents=True)
    (run / "logs").mkdir()
    (run / "logs" / "stdout.log").write_text("log\n")
    values = {
        "ID": name.partition("-main")[0], "SDIR_RUN": str(run), "HOST": os.uname().nodename, "PID": 4_000_000,
        "PROCESS_START": 1, "BOOT_ID": boot_id(), "EXIT_STATUS": None, "END_DATETIME": None, **record,
    }  # fmt: skip
    (run / "CONFIGS" / "CONFIG.yaml").write_bytes(dump(values))
    if age is not None:
        for path in (*run.rglob("*"), run):
            os.utime(path, (time.time() - age, time.time() - age))
    return run


def test_a_dead_process(tmp_path: Path) -> None:
    run = ghost(tmp_path)
    (run / "CONFIGS" / "outputs.jsonl").write_text('{"path": "a.csv", "bytes": 1, "sha256": "x", "time": "t"}\n{"pa')
    (found,) = reconcile(tmp_path, execute=True)
    target = tmp_path / "job_out" / "FINISHED_ERROR" / NAME
    assert (found.moved, found.target) == (True, target) and not run.exists()
    record = load_yaml(target / "CONFIGS" / "CONFIG.yaml")
    assert record["EXIT_STATUS"] == 1 and "4000000" in record["END_REASON"] and record["SDIR_RUN"] == str(target)
    assert datetime.fromisoformat(record["END_DATETIME"]) <= datetime.fromisoformat(record["RECONCILED"])
    assert record["OUTPUTS"] == [{"path": "a.csv", "bytes": 1, "sha256": "x", "time": "t"}]
    assert json.dumps(found.to_json())
    assert reconcile(tmp_path) == []


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"PID": os.getpid(), "PROCESS_START": process_start(os.getpid())}, None),
        ({"PID": os.getpid(), "PROCESS_START": 1}, "FINISHED_ERROR"),
        ({"PID": os.getpid(), "PROCESS_START": process_start(os.getpid()), "BOOT_ID": "another"}, "FINISHED_ERROR"),
        ({"END_DATETIME": "2026-02-13T15:00:00+00:00", "EXIT_STATUS": 0}, "FINISHED_SUCCESS"),
        ({"END_DATETIME": "2026-02-13T15:00:00+00:00", "EXIT_STATUS": 9}, "FINISHED_ERROR"),
        ({"END_DATETIME": "2026-02-13T15:00:00+00:00"}, "FINISHED"),
        ({"HOST": "elsewhere"}, None),
        ({"PID_NAMESPACE": "pid:[1]"}, None),
        ({"PID_NAMESPACE": os.readlink("/proc/self/ns/pid")}, "FINISHED_ERROR"),
    ],
)
def test_which(tmp_path: Path, record: dict[str, Any], what: str | None) -> None:
    ghost(tmp_path, **record)
    found = reconcile(tmp_path, execute=True)
    if what is None:
        assert found == []
    else:
        assert [one.target and one.target.parent.name for one in found] == [what] and found[0].moved


def test_on_another_machine_the_heartbeat_decides(tmp_path: Path) -> None:
    ghost(tmp_path, HOST="elsewhere", age=7200)
    assert reconcile(tmp_path) == []
    (found,) = reconcile(tmp_path, stale_after=3600)
    assert "2 hours" in found.reason
    (tmp_path / "job_out" / "RUNNING" / NAME / "logs" / "stdout.log").touch()
    assert reconcile(tmp_path, stale_after=3600) == []
    with pytest.raises(InvalidArgument):
        reconcile(tmp_path, stale_after=-1)
    with pytest.raises(SourceMissing):
        reconcile(tmp_path / "nowhere")


@pytest.mark.root
def test_a_live_session_in_a_container_is_no_ghost(tmp_path: Path) -> None:
    """It has the host's name and boot, and PIDs of its own."""
    (tmp_path / "job.py").write_text(decorated("print('ready', flush=True); input()"))
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "job.py"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert reconcile(tmp_path, execute=True) == []
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def test_a_session_that_starts_has_no_record_yet(tmp_path: Path) -> None:
    (tmp_path / "job_out" / "RUNNING" / NAME / "CONFIGS").mkdir(parents=True)
    (tmp_path / "job_out" / "RUNNING" / NAME / "logs").mkdir()
    assert reconcile(tmp_path, execute=True) == []


def test_without_logs_there_is_no_heartbeat(tmp_path: Path) -> None:
    run = ghost(tmp_path, HOST="elsewhere")
    (run / "logs" / "stdout.log").unlink()
    for path in (*run.rglob("*"), run):
        os.utime(path, (OLD, OLD))
    (found,) = reconcile(tmp_path, execute=True)
    assert found.target is None and "by hand" in found.reason and run.exists()


def test_what_cannot_be_judged_is_told_and_left(tmp_path: Path) -> None:
    for text in (b"a: [", b"- 1\n", b"x: 1\n", None):
        run = ghost(tmp_path)
        record = run / "CONFIGS" / "CONFIG.yaml"
        record.write_bytes(text) if text is not None else record.unlink()
        for path in (*run.rglob("*"), run):
            os.utime(path, (OLD, OLD))
        (found,) = reconcile(tmp_path, execute=True)
        assert found.target is None and not found.moved and "by hand" in found.reason and run.exists()
        subprocess.run(["rm", "-r", str(run)], check=True)


@pytest.mark.root
def test_another_users_session_is_left(tmp_path: Path) -> None:
    run = ghost(tmp_path)
    os.chown(run, 12345, 12345)
    (found,) = reconcile(tmp_path, execute=True)
    assert "uid 12345" in found.reason and found.target is None and run.exists()


def test_the_target_exists(tmp_path: Path) -> None:
    run = ghost(tmp_path)
    target = tmp_path / "job_out" / "FINISHED_ERROR" / NAME
    target.mkdir(parents=True)
    before = (run / "CONFIGS" / "CONFIG.yaml").read_bytes()
    command = [sys.executable, "-m", "runark", "reconcile", str(tmp_path), "--execute", "--json"]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    (told,) = json.loads(done.stdout)["ghosts"]
    assert "exists" in told["error"] and not told["moved"]
    assert (run / "CONFIGS" / "CONFIG.yaml").read_bytes() == before


def test_finished_sessions_are_not_even_entered(tmp_path: Path) -> None:
    run = ghost(tmp_path)
    (tmp_path / "job_out" / "FINISHED_SUCCESS").mkdir()
    os.rename(run, tmp_path / "job_out" / "FINISHED_SUCCESS" / NAME)
    assert reconcile(tmp_path) == []


HEART = """
import os, sys
import runark.session.pump as pump
pump.HEARTBEAT = 0.05
control, control_write = os.pipe()
report_read, report = os.pipe()
source, source_write = os.pipe()
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
if os.fork() == 0:
    os.close(control_write), os.close(source_write), os.close(report_read)
    pump.main(["token", str(control), str(report), str(log), f"{source}:-1:0:-1"])
    os._exit(0)
print("ready", flush=True)
sys.stdin.readline()
os.close(control_write)
print("script gone", flush=True)
sys.stdin.readline()
"""


def test_the_log_bears_the_heartbeat_of_the_script(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    process = subprocess.Popen(
        [sys.executable, "-c", HEART, log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    def beats() -> bool:
        os.utime(log, (OLD, OLD))
        until = time.monotonic() + 1
        while time.monotonic() < until and log.stat().st_mtime == pytest.approx(OLD):
            time.sleep(0.02)
        return bool(log.stat().st_mtime > OLD + 1)

    assert beats()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "script gone\n"
    time.sleep(0.2)
    assert not beats(), "its death is not hidden by a child that holds the pipe"
    process.communicate("\n", timeout=30)
    assert pump.HEARTBEAT == 60
