"""Killed, and refused, at one system call after the other: nothing is lost, the next run converges, errors name a
path."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runark.engine.protocol import Engine, Outcome
from support.drive import archive, archive_all, archive_one, jobs_of, restore_one
from support.promise import assert_kept, assert_only_archives, kept
from support.sessions import name
from support.torture import FULL, filesystem_of, record, some
from support.traced import CHANGES, Call, Traced
from support.traced import record as recorded
from support.trees import Snapshot, Socket, Symlink, Tree, differences, make, snapshot

ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EINTR", "EXDEV", "ESTALE")
FAITHFUL = {"same_owner": True, "special_modes": True}
SYNC = "fsync"  # each part file by itself: more calls, more points


def _session(number: int) -> Tree:
    return {"logs": {"a.log": f"{number}\n" * 40, "b": ""}, "out.csv": f"{number}," * 99, "l": Symlink(b"logs/a.log")}


def _fresh(root: Path) -> dict[Path, Snapshot]:
    """A root with two sessions, and what they hold."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    return {root / name(i): snapshot(make(root / name(i), _session(i))) for i in range(2)}


def _points(calls: list[Call], names: tuple[str, ...] = ()) -> list[Call]:
    return [call for call in calls if not names or call.name in names]


def _converge(engine: Engine, root: Path, sessions: dict[Path, Snapshot], told: object) -> None:
    for session, before in sessions.items():
        assert_kept(session, before, told)
    outcomes = archive(engine, jobs_of(engine, root), sync=SYNC)
    assert {outcome.action for outcome in outcomes} <= {"archived"}, (told, outcomes)
    assert_only_archives(sessions, (told, outcomes))


def _archiving(engine: Engine, sessions: dict[Path, Snapshot]) -> Callable[[], list[Outcome]]:
    return lambda: archive_all(engine, sessions, sync=SYNC, jobs=1)


def test_killed_while_archiving(engine: Engine, tmp_path: Path) -> None:
    root = tmp_path / "r"
    archive_all(engine, _fresh(root))  # imports and tables of names are not what is tested
    sessions = _fresh(root)
    _, calls = recorded(_archiving(engine, sessions))
    points = some(_points(calls, CHANGES), 40)
    assert len(points) >= 20
    for call in points:
        sessions = _fresh(root)
        with Traced(_archiving(engine, sessions), f"{call.name}:signal=KILL:when={call.nth}", CHANGES) as traced:
            assert traced.answer() is None, f"not killed at {call}"
        _converge(engine, root, sessions, call)
    record("kill -9 at a system call, archiving", len(points), engine.name, filesystem_of(tmp_path))


def test_killed_while_a_tombstone_gets_its_name_back(engine: Engine, tmp_path: Path) -> None:
    """One that no archive can hold any more: what is left of it is found, under either name, and then under its own."""
    root = tmp_path / "r"

    def fresh() -> tuple[Path, Path, Snapshot]:
        session, *_ = _fresh(root)
        assert archive_all(engine, [session], keep_source=True)[0].action == "kept"
        tombstone = session.rename(root / f".{session.name}.removing-{'0' * 16}")
        (tombstone / "out.csv").unlink()
        make(tombstone / "run", {"control": Socket()})
        return session, tombstone, snapshot(tombstone)

    def work(session: Path, tombstone: Path) -> Callable[[], Outcome]:
        return lambda: archive_one(engine, session, (os.fsencode(tombstone.name),), jobs=1)

    session, tombstone, _ = fresh()
    _, calls = recorded(work(session, tombstone))
    points = _points(calls, CHANGES)
    assert any(call.name == "renameat2" for call in points), calls
    for call in points:
        session, tombstone, left = fresh()
        archive_bytes = (root / f"{session.name}.tar.gz").read_bytes()
        with Traced(work(session, tombstone), f"{call.name}:signal=KILL:when={call.nth}", CHANGES) as traced:
            assert traced.answer() is None, f"not killed at {call}"
        (found,) = (path for path in (session, tombstone) if path.exists())
        assert not differences(left, snapshot(found)), call
        if found == tombstone:
            assert work(session, tombstone)().action == "failed", call
        assert not differences(left, snapshot(session)), call
        assert (root / f"{session.name}.tar.gz").read_bytes() == archive_bytes, call
    record("kill -9 at a system call, giving a name back", len(points), engine.name, filesystem_of(tmp_path))


def test_refused_while_archiving(engine: Engine, tmp_path: Path) -> None:
    root = tmp_path / "r"
    archive_all(engine, _fresh(root))
    sessions = _fresh(root)
    _, calls = recorded(_archiving(engine, sessions))
    points = [(call, error) for call in calls for error in ERRORS]
    points = some(points, 101)  # no multiple of the number of errors: each of them comes
    told = 0
    for call, error in points:
        sessions = _fresh(root)
        with Traced(_archiving(engine, sessions), f"{call.name}:error={error}:when={call.nth}", (call.name,)) as traced:
            outcomes = traced.answer()
        for outcome in outcomes:
            assert outcome.action in ("archived", "failed", "changed", "skipped", "kept"), (call, error, outcome)
            if outcome.action == "failed":
                told += 1
                assert outcome.fault.path.startswith(os.fsencode(root)), (call, error, outcome)
                assert outcome.fault.message, (call, error, outcome)
            elif outcome.action == "archived":
                session = Path(os.fsdecode(outcome.path))
                assert kept(session, sessions[session]) == ["archive"], (call, error, outcome)
        _converge(engine, root, sessions, (call, error, outcomes))
    assert told > len(points) // 4  # the faults did reach the engine
    record("error at a system call, archiving", len(points), engine.name, filesystem_of(tmp_path))


def _archived(engine: Engine, root: Path) -> tuple[Path, Snapshot]:
    """A root with one archive, and what it holds."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    session = root / name(7)
    before = snapshot(make(session, _session(7)))
    assert archive_all(engine, [session])[0].action == "archived"
    return session, before


@pytest.mark.parametrize("fault", ["KILL", *(ERRORS if FULL else ERRORS[:2])])
def test_stopped_while_restoring(engine: Engine, tmp_path: Path, fault: str) -> None:
    """`remove_archive` frees what the archive took: again never neither."""
    root = tmp_path / "r"

    def restoring(session: Path) -> Callable[[], Outcome]:
        return lambda: restore_one(engine, f"{session}.tar.gz", session, remove_archive=True, **FAITHFUL)

    session, before = _archived(engine, root)
    _, calls = recorded(restoring(session))
    names = CHANGES if fault == "KILL" else (*CHANGES, "openat", "read", "fstat")
    points = some(_points(calls, names), 20)
    for call in points:
        session, before = _archived(engine, root)
        what = "signal=KILL" if fault == "KILL" else f"error={fault}"
        with Traced(restoring(session), f"{call.name}:{what}:when={call.nth}", (call.name,)) as traced:
            outcome = traced.answer()
        assert (outcome is None) == (fault == "KILL"), (call, outcome)
        assert_kept(session, before, (call, outcome))
        if session.exists():
            assert not differences(before, snapshot(session)), (call, outcome)  # whole or not there at all
        again = [entry for entry in os.listdir(root) if ".restoring-" in entry]
        if not session.exists():
            leftovers = [os.fsencode(entry) for entry in again]
            last = restore_one(engine, f"{session}.tar.gz", session, leftovers, remove_archive=True, **FAITHFUL)
            assert last.action == "restored", (call, last)
            assert os.listdir(root) == [session.name], (call, last)
    kind = "kill -9" if fault == "KILL" else "error"
    record(f"{kind} at a system call, restoring", len(points), engine.name, filesystem_of(tmp_path))
