"""What a task may ask of the filesystem: rates, fewer workers, a soft stop; the same on both engines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from runark.archive import backoff
from runark.archive.archive import archive
from runark.archive.plan import plan
from runark.engine.protocol import ArchiveJob, ArchiveOptions, Engine, Outcome, Progress, Task, VerifyOptions
from runark.errors import InvalidArgument
from support.drive import drain
from support.sessions import name
from support.traced import Call, Traced
from support.trees import Symlink, Tree, make

SESSION: Tree = {"logs": {"a.log": b"a" * 1000, "b": b""}, "out.csv": b"1," * 500, "l": Symlink(b"logs/a.log")}
OPERATIONS = (
    "open", "openat", "stat", "lstat", "fstat", "newfstatat", "statx", "getdents64", "readlink", "readlinkat", "rename",
    "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "fchmod", "fchmodat",
    "fchown", "fchownat", "utimensat", "ftruncate", "flistxattr", "fgetxattr", "fsync", "fdatasync", "syncfs", "flock",
    "faccessat", "faccessat2", "fstatfs", "fcntl",
)  # fmt: skip


def _jobs(root: Path, count: int, tree: Tree = SESSION) -> list[ArchiveJob]:
    root.mkdir(exist_ok=True)
    jobs = [ArchiveJob(make(root / name(i), tree)) for i in range(count)]
    time.sleep(0.03)  # older than the clock's step, so that packing need not wait for it
    return jobs


def _run(engine: Engine, todo: list[ArchiveJob], /, **options: object) -> tuple[Progress, float]:
    """Archive all of them; what was done and the seconds it took."""
    began = time.monotonic()
    task = engine.archive(todo, ArchiveOptions(**options))  # type: ignore[arg-type]
    outcomes = drain(task)
    seconds = time.monotonic() - began
    assert {outcome.action for outcome in outcomes} == {"archived"}, Counter(o.action for o in outcomes)
    return task.progress(), seconds


def _has_seen(entries: int, now: Progress) -> bool:
    return now.entries >= entries


def _wait_for(task: Task, done: Callable[[Progress], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done(task.progress()):
        assert time.monotonic() < deadline, task.progress()
        time.sleep(0.002)


# ------------------------------------------------------------------------------------------------ counting


def _assert_counted(told: Progress, calls: list[Call], root: Path) -> None:
    """The engine counts what strace sees below `root`, to 10 %."""
    seen = [call for call in calls if str(root) in call.args and (call.name != "fcntl" or "F_SETLEASE" in call.args)]
    assert told.operations == pytest.approx(len(seen), rel=0.1), Counter(call.name for call in seen)


@pytest.mark.parametrize("sync", ["auto", "fsync"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_operations_are_those_that_strace_sees(engine: Engine, tmp_path: Path, jobs: int, sync: str) -> None:
    _run(engine, _jobs(tmp_path / "before", 1), jobs=1)  # imports
    todo = _jobs(tmp_path / "r", 32)
    with Traced(lambda: _run(engine, todo, jobs=jobs, sync=sync)[0], calls=OPERATIONS) as traced:
        told: Progress = traced.answer()
        calls = traced.calls()
    assert told.operations > 32 * 50
    _assert_counted(told, calls, tmp_path / "r")


def test_an_archive_that_is_there_is_counted_too(engine: Engine, tmp_path: Path) -> None:
    todo = _jobs(tmp_path / "r", 20)
    _run_kept = drain(engine.archive(todo, ArchiveOptions(jobs=1, keep_source=True)))
    assert {outcome.action for outcome in _run_kept} == {"kept"}
    with Traced(lambda: _run(engine, todo, jobs=1)[0], calls=OPERATIONS) as traced:
        told: Progress = traced.answer()
        calls = traced.calls()
    _assert_counted(told, calls, tmp_path / "r")


# ------------------------------------------------------------------------------------------------ rates


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_operations_keep_to_the_rate(engine: Engine, tmp_path: Path, jobs: int) -> None:
    free, _ = _run(engine, _jobs(tmp_path / "free", 200), jobs=jobs)
    rate = free.operations / 4.0
    told, seconds = _run(engine, _jobs(tmp_path / "r", 200), jobs=jobs, max_ops=rate)
    assert told.operations / seconds == pytest.approx(rate, rel=0.1)


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_bytes_keep_to_the_rate(engine: Engine, tmp_path: Path, jobs: int) -> None:
    tree: Tree = {"data": os.urandom(300_000), "more": b"x" * 100_000}
    told, seconds = _run(engine, _jobs(tmp_path / "r", 40, tree), jobs=jobs, max_bytes=16e6 / 3.0)
    assert told.bytes == 16_000_000
    assert told.bytes / seconds == pytest.approx(16e6 / 3.0, rel=0.1)


def test_a_large_file_is_paid_for_while_it_is_read(engine: Engine, tmp_path: Path) -> None:
    """Not after it: the wait before its last piece is as short as that before its first."""
    (job,) = _jobs(tmp_path, 1, {"data": b"x" * 6_000_000})
    _, seconds = _run(engine, [job], jobs=1, max_bytes=2e6)
    assert seconds == pytest.approx(3.0, rel=0.15)


def test_both_limits_hold(engine: Engine, tmp_path: Path) -> None:
    told, seconds = _run(engine, _jobs(tmp_path / "r", 10), jobs=2, max_ops=400, max_bytes=1e9)
    assert told.operations / seconds <= 440


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_what_is_no_rate_is_refused(engine: Engine, rate: float) -> None:
    with pytest.raises(InvalidArgument, match="max_ops"):
        engine.archive([], ArchiveOptions(max_ops=rate))
    with pytest.raises(InvalidArgument, match="max_bytes"):
        engine.archive([], ArchiveOptions(max_bytes=rate))


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("limit", [{"max_ops": 0.5}, {"max_bytes": 0.5}])
def test_a_cancel_does_not_wait_for_the_rate(
    engine: Engine, tmp_path: Path, jobs: int, limit: dict[str, float]
) -> None:
    todo = _jobs(tmp_path, 20)
    task = engine.archive(todo, ArchiveOptions(jobs=jobs, **limit))  # type: ignore[arg-type]
    time.sleep(0.5)
    began = time.monotonic()
    task.cancel()
    outcomes = drain(task)
    assert time.monotonic() - began < 2
    assert {outcome.action for outcome in outcomes} == {"cancelled"}
    assert len(outcomes) == len(os.listdir(tmp_path)) == 20  # and no part file is left


# ------------------------------------------------------------------------------------------------ a soft stop


def _assert_whole(root: Path, outcomes: list[Outcome], count: int) -> Counter[str]:
    """Each session is archived or as it was, as its outcome says."""
    assert len(outcomes) == count
    for outcome in outcomes:
        path = Path(os.fsdecode(outcome.path))
        there = (path.exists(), Path(f"{path}.tar.gz").exists())
        assert there == {"archived": (False, True), "cancelled": (True, False)}[outcome.action], outcome
    assert len(os.listdir(root)) == count
    return Counter(outcome.action for outcome in outcomes)


@pytest.mark.parametrize("sync", ["auto", "fsync"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_drain_finishes_what_was_begun(engine: Engine, tmp_path: Path, jobs: int, sync: str) -> None:
    todo = _jobs(tmp_path, 300)
    task = engine.archive(todo, ArchiveOptions(jobs=jobs, sync=sync, max_ops=4000))  # type: ignore[arg-type]
    _wait_for(task, partial(_has_seen, 20))
    task.drain()
    began = time.monotonic()
    outcomes = drain(task)
    assert time.monotonic() - began < 5
    counts = _assert_whole(tmp_path, outcomes, 300)
    assert counts["archived"] and counts["cancelled"] > 100, counts


def test_drain_before_anything_was_begun(engine: Engine, tmp_path: Path) -> None:
    todo = _jobs(tmp_path, 50)
    task = engine.archive(todo, ArchiveOptions(jobs=2, max_ops=1))
    task.drain()
    task.cancel()
    assert _assert_whole(tmp_path, drain(task), 50) == {"cancelled": 50}


def test_a_cancel_may_follow(engine: Engine, tmp_path: Path) -> None:
    todo = _jobs(tmp_path, 50)
    task = engine.archive(todo, ArchiveOptions(jobs=2, max_ops=20))
    time.sleep(0.7)
    task.drain()
    assert task.poll(0.3) is not None
    began = time.monotonic()
    task.cancel()
    outcomes = drain(task)
    assert time.monotonic() - began < 2
    assert _assert_whole(tmp_path, outcomes, 50)["cancelled"] >= 48


def test_drain_of_a_verification(engine: Engine, tmp_path: Path) -> None:
    todo = _jobs(tmp_path, 60)
    _run(engine, todo, jobs=2)
    task = engine.verify([job.path + b".tar.gz" for job in todo], VerifyOptions(jobs=2))
    task.drain()
    outcomes = drain(task)
    assert len(outcomes) == 60
    assert {outcome.action for outcome in outcomes} <= {"sound", "cancelled"}


# ------------------------------------------------------------------------------------------------ fewer workers


def test_no_more_workers_than_wanted(engine: Engine, tmp_path: Path) -> None:
    """Which threads or processes touch sessions between two marks in the record of their calls."""
    todo = _jobs(tmp_path / "r", 300)
    marks = [tmp_path / f"mark-{number}" for number in range(4)]

    def run() -> None:
        task = engine.archive(todo, ArchiveOptions(jobs=3, max_ops=5000))
        for workers, (begin, end) in ((1, marks[:2]), (3, marks[2:])):
            task.use(workers)
            time.sleep(0.5)
            begin.exists()
            _wait_for(task, partial(_has_seen, task.progress().entries + 150))
            end.exists()
        task.cancel()
        assert len(drain(task)) == 300

    with Traced(run, calls=("openat", "stat", "newfstatat", "statx")) as traced:
        traced.answer()
        calls = traced.calls()
    at = [next(i for i, call in enumerate(calls) if str(mark) in call.args) for mark in marks]

    def workers(begin: int, end: int) -> int:
        return len({call.thread for call in calls[at[begin] : at[end]] if f"{tmp_path}/r" in call.args})

    assert (workers(0, 1), workers(2, 3)) == (1, 3)


@pytest.mark.parametrize("to", [1, 2])
def test_workers_rest_and_come_back(engine: Engine, tmp_path: Path, to: int) -> None:
    """At a rate that one worker reaches by itself nothing but the number of workers changes: all sessions end."""
    todo = _jobs(tmp_path, 200)
    task = engine.archive(todo, ArchiveOptions(jobs=4, max_ops=20_000))
    outcomes: list[Outcome] = []
    for workers in (1, 4, to, 0, 99, to):
        task.use(workers)
        outcomes += task.poll(0.1) or []
    outcomes += drain(task)
    assert _assert_whole(tmp_path, outcomes, 200) == {"archived": 200}


def test_cancel_while_workers_rest(engine: Engine, tmp_path: Path) -> None:
    todo = _jobs(tmp_path, 100)
    task = engine.archive(todo, ArchiveOptions(jobs=4, max_ops=100))
    task.use(1)
    time.sleep(0.3)
    task.cancel()
    assert _assert_whole(tmp_path, drain(task), 100)["cancelled"] >= 95


def test_drain_while_workers_rest(engine: Engine, tmp_path: Path) -> None:
    todo = _jobs(tmp_path, 100)
    task = engine.archive(todo, ArchiveOptions(jobs=4, max_ops=2000))
    task.use(1)
    time.sleep(0.3)
    task.drain()
    assert _assert_whole(tmp_path, drain(task), 100)["cancelled"] >= 50


# ------------------------------------------------------------------------------------------------ backing off


def test_workers_back_off_when_the_filesystem_gets_slow(engine: Engine, tmp_path: Path) -> None:
    """The probe's `unlink` (the engines make none, but `unlinkat`) takes 100 ms from its eighth on."""
    _jobs(tmp_path / "r", 200)
    todo = plan(tmp_path / "r", engine=engine.name, jobs=1)

    def run() -> tuple[list[str], int]:
        backoff._EVERY = backoff._FIRST = 0.1
        result = archive(todo, jobs=4, max_ops=3000, back_off=True)
        return list(result.notes), result.counts["archived"]

    with Traced(run, "unlink:delay_enter=100ms:when=8+", ("unlink", "openat", "unlinkat")) as traced:
        notes, count = traced.answer()
        calls = [call for call in traced.calls() if f"{tmp_path}/r/" in call.args and "/.runark" not in call.args]
    assert count == 200
    assert len(notes) == 1 and "backed off 2 times" in notes[0]
    assert not os.path.exists(tmp_path / "r" / ".runark" / "probe")
    assert len({call.thread for call in calls}) >= 4
    assert len({call.thread for call in calls[-len(calls) // 4 :]}) == 1


# ------------------------------------------------------------------------------------------------ priority


_NICE = """
import ctypes, os, platform, sys
from runark.cli.load import be_nice
from runark.engine import load
from runark.engine.protocol import ArchiveJob, ArchiveOptions

be_nice(7)
jobs = [ArchiveJob(os.fsencode(path)) for path in sys.argv[2:]]
task = load(sys.argv[1]).archive(jobs, ArchiveOptions(jobs=2, max_ops=50))
task.poll(1.0)
me = f"PPid:\\t{os.getpid()}\\n"
children = [pid for pid in os.listdir("/proc") if pid.isdigit() and me in open(f"/proc/{pid}/status").read()]
threads = [int(tid) for pid in ("self", *children) for tid in os.listdir(f"/proc/{pid}/task")]
ioprio_get = 252 if platform.machine() == "x86_64" else 31
classes = {ctypes.CDLL(None).syscall(ioprio_get, 1, tid) >> 13 for tid in threads}
print(len(threads), {os.getpriority(os.PRIO_PROCESS, tid) for tid in threads}, classes)
task.cancel()
while task.poll(1.0) is not None:
    pass
"""


def test_workers_are_as_nice_as_who_started_them(engine: Engine, tmp_path: Path) -> None:
    todo = [os.fsdecode(job.path) for job in _jobs(tmp_path, 20)]
    done = subprocess.run([sys.executable, "-c", _NICE, engine.name, *todo], capture_output=True, text=True, check=True)
    count, _, rest = done.stdout.strip().partition(" ")
    assert int(count) >= 3, done.stdout
    assert rest == "{7} {3}"  # 3: the idle class
