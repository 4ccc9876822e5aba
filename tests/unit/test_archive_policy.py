"""Carrying plans out: slices, budgets, caps, stops, locks; with an engine that only pretends, and with a real one."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from test_plan import X, make, name

from runark.archive import archive as module
from runark.archive.archive import archive, archive_sessions
from runark.archive.control import Control
from runark.archive.filters import Filters
from runark.archive.plan import Plan, plan
from runark.archive.restore import plan_restore, restore
from runark.engine.protocol import ArchiveJob, ArchiveOptions, Fault, Outcome, Progress
from runark.errors import InvalidArgument, OperationFailed, RootLocked, SourceMissing, UnsafePath


class PretendTask:
    """Ends one job a poll, as `judge` says; cancelled, it cancels the rest."""

    def __init__(self, jobs: Sequence[ArchiveJob], engine: Pretend) -> None:
        self.jobs, self.engine, self.at, self.cancelled = list(jobs), engine, 0, False

    def poll(self, timeout: float) -> list[Outcome] | None:
        if self.at == len(self.jobs):
            return None
        path = self.jobs[self.at].path
        self.at += 1
        action = "cancelled" if self.cancelled else self.engine.judge(path)
        fault = Fault("read", path, 5, "Input/output error") if action == "failed" else None
        return [Outcome(path, action, inodes_freed=3, fault=fault)]

    def cancel(self) -> None:
        self.cancelled = True

    def progress(self) -> Progress:
        return Progress(self.at, len(self.jobs), 0, 0)


class Pretend:
    name = "pretend"

    def __init__(self) -> None:
        self.given: list[tuple[list[bytes], ArchiveOptions]] = []
        self.action = "archived"

    def judge(self, path: bytes) -> str:
        return self.action

    def archive(self, jobs: Sequence[ArchiveJob], options: ArchiveOptions) -> PretendTask:
        self.given.append(([job.path for job in jobs], options))
        return PretendTask(jobs, self)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    engine = Pretend()
    monkeypatch.setattr(module, "load", lambda _name: engine)
    return engine


def planned(*roots: Path, **arguments: object) -> Plan:
    return plan(*roots, engine="pure", jobs=1, **arguments)  # type: ignore[arg-type]


def test_roots_and_slices(tmp_path: Path, pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 2)
    for root in ("b", "b-c", "a"):
        for number in range(3):
            make(tmp_path / root / name(number))
    seen: list[Progress] = []
    todo = planned(*(tmp_path / root for root in ("b", "b-c", "a")), filters=Filters(older_than="1d"))
    result = archive(todo, jobs=1, control=Control(on_progress=seen.append))
    paths = [path for paths, _ in pretend.given for path in paths]
    assert sorted(paths) == [job.path for job in todo.jobs] and [len(paths) for paths, _ in pretend.given] == [2, 1] * 3
    for paths, options in pretend.given:
        (directory,) = {os.path.dirname(path) for path in paths}
        assert options.reserve == directory + b"/.runark" and options.older_than_ns == todo.scan.older_than_ns
    assert result.counts == {"archived": 9} and result.inodes_freed == 27 and result.left == 0 and result.ok
    assert seen[-1].done == 9


def test_a_cap_stops_the_run(tmp_path: Path, pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 4)
    pretend.action = "failed"
    for number in range(8):
        make(tmp_path / name(number))
    result = archive(planned(tmp_path), jobs=1, max_failures=1)
    assert result.stopped == "cap" and result.counts == {"failed": 2, "cancelled": 2} and result.left == 6
    assert len(result.problems) == 2 and not result.ok
    assert archive(planned(tmp_path), jobs=1, max_failures=None).counts == {"failed": 8}


def test_a_budget_leaves_work(tmp_path: Path, pretend: Pretend) -> None:
    for number in range(3):
        make(tmp_path / name(number))
    result = archive(planned(tmp_path, max_sessions=1), jobs=1)
    assert (result.stopped, result.left, result.counts) == ("budget", 2, {"archived": 1})


def test_an_exception_waits_for_the_task(tmp_path: Path, pretend: Pretend) -> None:
    for number in range(3):
        make(tmp_path / name(number))

    def interrupt(outcomes: Sequence[Outcome]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive(planned(tmp_path), jobs=1, control=Control(on_outcomes=interrupt))
    # The lock is free again.
    assert archive(planned(tmp_path), jobs=1).counts == {"archived": 3}


def test_a_plan_of_an_interrupted_scan_is_not_carried_out(tmp_path: Path, pretend: Pretend) -> None:
    make(tmp_path / name(1))
    control = Control()
    control.stop()
    todo = planned(tmp_path, control=control)
    assert todo.scan.stopped == "interrupted"
    result = archive(todo, jobs=1)
    assert pretend.given == [] and result.stopped == "interrupted" and result.left == len(todo.jobs)


def test_a_root_that_is_a_session_is_locked_above(tmp_path: Path, pretend: Pretend) -> None:
    session = make(tmp_path / name(1))
    assert archive(planned(session), jobs=1).counts == {"archived": 1}
    assert not (session / ".runark").exists() and (tmp_path / ".runark" / "lock").exists()


def test_a_locked_root(tmp_path: Path, pretend: Pretend) -> None:
    from runark.archive.root import lock_roots

    make(tmp_path / name(1))
    todo = planned(tmp_path)
    with lock_roots([os.fsencode(tmp_path)]), pytest.raises(RootLocked):
        archive(todo, jobs=1)
    assert pretend.given == []


@pytest.mark.parametrize(
    "wrong",
    [{"format": "zip"}, {"level": 10}, {"level": 0}, {"format": "tar", "level": 1}, {"format": "tar.zst", "level": 20},
     {"format": "tar.xz", "level": 10}, {"verify": "hope"}, {"jobs": -1}],
)  # fmt: skip
def test_wrong_options(tmp_path: Path, pretend: Pretend, wrong: dict[str, object]) -> None:
    make(tmp_path / name(1))
    with pytest.raises(InvalidArgument):
        archive(planned(tmp_path), **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / ".runark").exists()


# ------------------------------------------------------------------------------------------- the real engine


def test_there_and_back(tmp_path: Path) -> None:
    for number in range(3):
        make(tmp_path / "FINISHED_SUCCESS" / name(number))
    make(tmp_path / f".{name(9)}.removing-{X}")  # no archive proves it: to be renamed back
    result = archive(planned(tmp_path), jobs=1, keep_outcomes=True)
    assert result.counts == {"archived": 3, "failed": 1} and len(result.outcomes) == 4
    assert (tmp_path / name(9) / "logs" / "stdout.log").read_text() == "hello\n"
    todo = plan_restore(tmp_path, to=tmp_path / "back", engine="pure")
    assert [os.path.relpath(job.dest, os.fsencode(tmp_path)) for job in todo.jobs] == [
        f"back/FINISHED_SUCCESS/{name(number)}".encode() for number in range(3)
    ]
    assert restore(todo, jobs=1).counts == {"restored": 3}
    assert (tmp_path / "back" / "FINISHED_SUCCESS" / name(1) / "logs" / "stdout.log").read_text() == "hello\n"
    again = plan_restore(tmp_path / "FINISHED_SUCCESS", to=tmp_path / "back" / "FINISHED_SUCCESS", engine="pure")
    assert again.jobs == () and again.skipped == {"the target exists": 3}


def test_two_archives_of_one_session(tmp_path: Path) -> None:
    for suffix in ("tar.gz", "tar.xz", "tar"):
        (tmp_path / f"{name(1)}.{suffix}").touch()
    todo = plan_restore(*sorted(tmp_path.iterdir()), engine="pure")
    assert len(todo.jobs) == 1 and len(todo.skips) == 2
    with pytest.raises(InvalidArgument, match="rename"):
        (tmp_path / "x.zip").touch()
        plan_restore(tmp_path / "x.zip", engine="pure")
    with pytest.raises(SourceMissing):
        plan_restore(tmp_path / "nothing.tar.gz", engine="pure")
    with pytest.raises(UnsafePath):
        (tmp_path / "link.tar.gz").symlink_to(tmp_path / f"{name(1)}.tar.gz")
        plan_restore(tmp_path / "link.tar.gz", engine="pure")


def test_archive_sessions_takes_exactly_these(tmp_path: Path) -> None:
    make(tmp_path / "any name")
    make(tmp_path / "other")
    result = archive_sessions([tmp_path / "any name"], engine="pure")
    assert result.counts == {"archived": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["any name.tar.gz", "other"]


def test_archive_sessions_within_each_other(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(InvalidArgument, match="lies in"):
        archive_sessions([tmp_path / "a", tmp_path / "a" / "logs"], engine="pure")
    assert (tmp_path / "a" / "logs" / "stdout.log").exists()


def test_archive_sessions_raises_if_one_is_left(tmp_path: Path) -> None:
    make(tmp_path / "a")
    os.mknod(tmp_path / "a" / "socket", 0o140644)
    make(tmp_path / "b")
    with pytest.raises(OperationFailed, match="1 of 2"):
        archive_sessions([tmp_path / "a", tmp_path / "b"], engine="pure")
    assert (tmp_path / "a" / "logs" / "stdout.log").exists() and not (tmp_path / "b").exists()
    result = archive_sessions([tmp_path / "a"], engine="pure", check=False)
    assert result.counts == {"skipped": 1}


def test_the_package_is_the_verb() -> None:
    import runark

    package: object = importlib.import_module("runark.archive")
    verb: object = runark.archive
    assert verb is package and callable(verb)
    assert importlib.import_module("runark.archive.scan").scan is runark.scan
    for each in runark.__all__:
        assert getattr(runark, each) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = runark.nothing
