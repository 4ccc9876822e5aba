"""Workers of the pure engine: every job gets one outcome, whatever happens to them."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runark.engine.protocol import ArchiveJob, ArchiveOptions, Outcome, Task, VerifyOptions
from runark.engine.pure import PureEngine
from runark.engine.pure.task import PureTask
from runark.errors import InvalidArgument

MANY = 200


def _sessions(root: Path, count: int = MANY) -> list[ArchiveJob]:
    jobs = []
    for number in range(count):
        session = root / f"S_{number:04}"
        session.mkdir(parents=True)
        (session / "log").write_bytes(os.urandom(2000))
        jobs.append(ArchiveJob(os.fsencode(session)))
    time.sleep(0.03)  # older than the clock's step, so that packing need not wait for it
    return jobs


def _drain(task: Task) -> list[Outcome]:
    outcomes: list[Outcome] = []
    deadline = time.monotonic() + 60
    while (some := task.poll(0.2)) is not None:
        outcomes.extend(some)
        assert time.monotonic() < deadline, "the task hangs"
    return outcomes


def _states(root: Path) -> collections.Counter[str]:
    """How many sessions are there, and how many archives; nothing else may be."""
    names = os.listdir(root)
    hidden = [name for name in names if name.startswith(".")]
    assert not hidden, hidden
    archived = {name.removesuffix(".tar.gz") for name in names if name.endswith(".tar.gz")}
    return collections.Counter({"S": len(names) - len(archived), "archive": len(archived)})


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_job_one_outcome(jobs: int, tmp_path: Path) -> None:
    todo = _sessions(tmp_path)
    task = PureEngine().archive(todo, ArchiveOptions(jobs=jobs))
    outcomes = _drain(task)
    assert sorted(outcome.path for outcome in outcomes) == [job.path for job in todo]
    assert {outcome.action for outcome in outcomes} == {"archived"}
    progress = task.progress()
    assert (progress.done, progress.total, progress.entries, progress.bytes) == (MANY, MANY, 2 * MANY, 2000 * MANY)
    assert task.poll(0) is None


def test_no_jobs() -> None:
    assert PureEngine().archive([], ArchiveOptions()).poll(0) is None


def test_a_defect_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks inside, no job is left without an outcome."""
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    todo = _sessions(tmp_path, 3)
    task = PureTask("archive", todo, None, 1, 1, lambda job: bytes(job.path))
    outcomes = _drain(task)
    assert [outcome.action for outcome in outcomes] == ["failed"] * 3
    assert _states(tmp_path) == {"S": 3, "archive": 0}


def test_a_killed_worker(tmp_path: Path) -> None:
    todo = _sessions(tmp_path)
    engine = PureEngine()
    before = set(_children())
    task = engine.archive(todo, ArchiveOptions(jobs=2))
    deadline = time.monotonic() + 20
    while not (workers := set(_children()) - before):
        assert time.monotonic() < deadline
    os.kill(workers.pop(), signal.SIGKILL)
    outcomes = _drain(task)
    assert len(outcomes) == MANY
    failed = [outcome for outcome in outcomes if outcome.action == "failed"]
    assert failed and all(outcome.fault is not None and "signal 9" in outcome.fault.message for outcome in failed)
    names = os.listdir(tmp_path)
    jobs = []
    for job in todo:
        name = os.path.basename(os.fsdecode(job.path))
        if name in names:
            parts = tuple(os.fsencode(one) for one in names if one.startswith(f".{name}."))
            jobs.append(ArchiveJob(job.path, parts))
    assert {outcome.action for outcome in _drain(engine.archive(jobs, ArchiveOptions(jobs=2)))} <= {"archived"}
    assert _states(tmp_path) == {"S": 0, "archive": MANY}


def _children() -> list[int]:
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(number) for path in found for number in path.read_text().split()]


@pytest.mark.parametrize("jobs", [1, 2])
def test_cancel(jobs: int, tmp_path: Path) -> None:
    todo = _sessions(tmp_path)
    task = PureEngine().archive(todo, ArchiveOptions(jobs=jobs))
    while not (outcomes := task.poll(0.05)):
        assert outcomes is not None
    task.cancel()
    outcomes += _drain(task)
    assert len(outcomes) == MANY
    actions = collections.Counter(outcome.action for outcome in outcomes)
    assert set(actions) <= {"archived", "cancelled", "kept"}
    states = _states(tmp_path)
    assert states["archive"] == actions["archived"] + actions["kept"]
    assert states["S"] == actions["cancelled"] + actions["kept"]


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """A caller that is killed leaves no worker behind, and no session in pieces."""
    _sessions(tmp_path)
    program = (
        "import os, sys, time\n"
        "from runark.engine.pure import PureEngine\n"
        "from runark.engine.protocol import ArchiveJob, ArchiveOptions\n"
        "root = os.fsencode(sys.argv[1])\n"
        "jobs = [ArchiveJob(root + b'/' + name) for name in sorted(os.listdir(root))]\n"
        "task = PureEngine().archive(jobs, ArchiveOptions(jobs=2))\n"
        "while not task.poll(0.01):\n"
        "    pass\n"
        "for t in os.listdir('/proc/self/task'):\n"
        "    print(open(f'/proc/self/task/{t}/children').read(), end=' ')\n"
        "print()\n"
        "sys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    caller = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert caller.stdout is not None
    workers = caller.stdout.readline().split()
    assert workers
    caller.kill()
    caller.wait()
    caller.stdout.close()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{int(number)}/cmdline").exists() for number in workers):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.02)
    _states(tmp_path)


def test_jobs_must_be_positive() -> None:
    with pytest.raises(InvalidArgument):
        PureEngine().verify([b"/x"], VerifyOptions(jobs=0))
