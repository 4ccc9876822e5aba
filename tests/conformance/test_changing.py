"""Sessions that are alive, tasks that are stopped, processes that are killed: nothing is lost, ever."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runark.engine.protocol import ArchiveJob, ArchiveOptions, Engine, Outcome, RestoreJob, RestoreOptions
from support import apart
from support.drive import archive, archive_all, archive_one, drain, jobs_of, restore_all, restore_one, verify
from support.sessions import NAME, many, plain
from support.trees import Snapshot, assert_same, make, snapshot


@contextlib.contextmanager
def while_running(step: Callable[[], object]) -> Iterator[None]:
    """Do `step` again and again in a thread until the block ends; a step that fails fails the test."""
    stop, broken = threading.Event(), []

    def loop() -> None:
        try:
            while not stop.is_set():
                step()
        except OSError as error:
            broken.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not broken, broken


def _clean(parent: Path) -> list[str]:
    """What stands beside the session."""
    return sorted(name for name in os.listdir(parent) if name != NAME)


@pytest.mark.parametrize("verify_how", ["hash", "compare"])
@pytest.mark.parametrize("what", ["append", "touch", "chmod", "create and remove", "directory time"])
def test_a_session_that_changes_while_it_is_packed_is_kept(
    engine: Engine, tmp_path: Path, what: str, verify_how: str
) -> None:
    """A writer that never pauses, beside enough content that packing spans many of its steps."""
    session = Path(
        os.fsdecode(make(tmp_path / NAME, {"big": os.urandom(6 << 20), "z": {"live.log": "begin\n"}, "zz": "x"}))
    )
    log = session / "z" / "live.log"
    steps: dict[str, Callable[[], object]] = {
        "append": lambda: _append(log),
        "touch": lambda: os.utime(log),
        "chmod": lambda: _back_and_forth(log),
        "create and remove": lambda: _come_and_go(session / "z" / "tmp"),
        "directory time": lambda: os.utime(session / "z"),
    }
    with while_running(steps[what]):
        outcome = archive_one(engine, session, verify=verify_how)
    assert outcome.action in ("changed", "failed"), outcome
    if outcome.action == "failed":  # a file that came and went between listing and opening it
        assert what == "create and remove", outcome
    assert (session / "zz").read_text() == "x"
    assert (session / "big").stat().st_size == 6 << 20
    assert log.read_bytes().startswith(b"begin\n")
    assert [name for name in _clean(tmp_path) if "superseded" not in name] == []
    # Quiet now: the second run takes it.
    before = snapshot(session)
    done = archive_one(engine, session)
    assert done.action == "archived", done
    assert restore_one(engine, done.target, session, same_owner=True, special_modes=True).action == "restored"
    assert_same(before, snapshot(session))


def _back_and_forth(path: Path) -> None:
    path.chmod(0o600)
    path.chmod(0o644)


def _come_and_go(path: Path) -> None:
    path.write_text("x")
    path.unlink()


def _append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"line\n")


def test_a_file_that_shrinks(engine: Engine, tmp_path: Path) -> None:
    session = Path(os.fsdecode(make(tmp_path / NAME, {"big": os.urandom(6 << 20), "z": b"z" * 100_000})))

    def step() -> None:
        os.truncate(session / "z", 50_000)
        os.truncate(session / "z", 100_000)

    with while_running(step):
        outcome = archive_one(engine, session)
    assert outcome.action == "changed", outcome
    assert (session / "big").stat().st_size == 6 << 20
    assert _clean(tmp_path) == []


def test_a_directory_that_is_swapped_for_a_link(engine: Engine, tmp_path: Path) -> None:
    """Whenever the swap happens, nothing behind the link is packed or removed."""
    outside = make(tmp_path / "outside", {"precious": "outside", "x": {"y": "z"}})
    before = snapshot(outside)
    session = Path(
        os.fsdecode(make(tmp_path / "root", {NAME: {"big": os.urandom(3 << 20), "d": {"in": "side"}, "e": "x"}}))
    )
    session /= NAME

    def step() -> None:
        os.rename(session / "d", session / "aside")
        os.symlink(outside, session / "d")
        os.unlink(session / "d")
        os.rename(session / "aside", session / "d")

    with while_running(step):
        for _ in range(3):
            outcome = archive_one(engine, session)
            assert outcome.action in ("changed", "failed"), outcome
    assert_same(before, snapshot(outside))
    assert (session / "d" / "in").read_text() == "side"


def test_last_change_just_before_the_run_is_seen(engine: Engine, tmp_path: Path) -> None:
    """Written a moment ago and again right after the run: the second archive holds the second content."""
    for round_ in range(5):
        session = Path(os.fsdecode(make(tmp_path / f"{round_}", {NAME: {"log": "a"}}))) / NAME
        (session / "log").write_text("b")
        task = engine.archive([ArchiveJob(os.fsencode(session))], ArchiveOptions(keep_source=True))
        (outcome,) = drain(task)
        assert outcome.action == "kept"
        (session / "log").write_text("c")
        assert archive_one(engine, session).action == "archived"
        dest = tmp_path / f"{round_}" / "dest"
        assert restore_one(engine, outcome.target, dest).action == "restored"
        assert (dest / "log").read_text() == "c"


# ------------------------------------------------------------------------------------------------ cancelling


def states(root: Path, sessions: list[bytes], before: dict[bytes, Snapshot]) -> dict[str, int]:
    """The states found, each checked: a session's directory is whole, or its archive is there."""
    count = {"S0": 0, "S2": 0, "S4": 0, "part": 0, "tombstone": 0}
    for session in sessions:
        archived = os.path.exists(session + b".tar.gz")
        if os.path.lexists(session):
            assert_same(before[session], snapshot(session))
            count["S2" if archived else "S0"] += 1
        else:
            assert archived or any(
                name.startswith(b"." + os.path.basename(session)) for name in os.listdir(os.fsencode(root))
            ), f"neither session nor archive nor tombstone: {session!r}"
            count["S4"] += archived
    for name in os.listdir(root):
        count["part"] += name.endswith(".part")
        count["tombstone"] += ".removing-" in name
    return count


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("after", [0, 1, 40])
def test_cancelled_task_gives_every_outcome(engine: Engine, tmp_path: Path, after: int, jobs: int) -> None:
    root = tmp_path / "root"
    sessions = many(root, 200)
    before = {session: snapshot(session) for session in sessions}
    task = engine.archive([ArchiveJob(session) for session in sessions], ArchiveOptions(jobs=jobs))
    outcomes: list[Outcome] = []
    while len(outcomes) < after:
        some = task.poll(0.05)
        assert some is not None
        outcomes += some
    task.cancel()
    task.cancel()  # twice does no harm
    outcomes += drain(task)
    assert sorted(outcome.path for outcome in outcomes) == sorted(sessions)
    actions = {outcome.path: outcome.action for outcome in outcomes}
    assert set(actions.values()) <= {"archived", "kept", "cancelled"}
    found = states(root, sessions, before)
    assert found["part"] == found["tombstone"] == 0
    for session, action in actions.items():
        there, archived = os.path.exists(session), os.path.exists(session + b".tar.gz")
        assert (there, archived) == {"archived": (False, True), "kept": (True, True), "cancelled": (True, False)}[
            action
        ]
    assert {outcome.action for outcome in archive(engine, jobs_of(engine, root))} <= {"archived"}
    assert {outcome.action for outcome in verify(engine, [session + b".tar.gz" for session in sessions])} == {"sound"}


def test_cancel_inside_a_large_session(engine: Engine, tmp_path: Path) -> None:
    """Not begun or rolled back: soon, and without a trace."""
    session = make(tmp_path / NAME, {f"{i}": os.urandom(8 << 20) for i in range(8)})
    names = sorted(os.listdir(session))
    task = engine.archive([ArchiveJob(session)], ArchiveOptions(format="tar.xz", level=9))
    task.poll(0.3)
    task.cancel()
    (outcome,) = drain(task)
    assert outcome.action == "cancelled", outcome
    assert os.listdir(tmp_path) == [NAME]
    assert sorted(os.listdir(session)) == names


def test_cancelled_restore(engine: Engine, tmp_path: Path) -> None:
    sessions = many(tmp_path / "root", 120)
    targets = [outcome.target for outcome in archive_all(engine, sessions)]
    jobs = [RestoreJob(target, session) for target, session in zip(targets, sessions, strict=True)]
    task = engine.restore(jobs, RestoreOptions(remove_archive=True))
    task.cancel()
    outcomes = drain(task)
    assert {outcome.action for outcome in outcomes} <= {"restored", "cancelled"}
    for session in sessions:
        assert os.path.exists(session) != os.path.exists(session + b".tar.gz")
    assert not [name for name in os.listdir(tmp_path / "root") if ".restoring-" in name]


# ------------------------------------------------------------------------------------------------ killing


def test_killed_at_any_moment(engine: Engine, tmp_path: Path) -> None:
    """Ten times, or more until one was killed half way: kill -9 at a random moment, run again; then every session is in
    a sound archive and restores whole.

    The moments are spread over the time that a run takes here, which is measured first.
    Odd rounds kill the whole process group, even ones only the process that started the workers: those must notice
    and must not disturb the second run, which starts at once.
    """
    chance = random.Random(20260213)
    root = tmp_path / "root"
    seen = {"S0": 0, "S2": 0, "S4": 0, "part": 0, "tombstone": 0}
    sessions = many(root, 300)
    before = {session: snapshot(session) for session in sessions}
    length = _undisturbed(engine, root, sessions)
    for round_ in range(20):
        if round_ >= 10 and seen["S0"] and seen["S4"]:
            break
        process = apart.start(engine.name, "archive_all", [sessions], {"jobs": 2})
        _wait_for_work(root)
        time.sleep(chance.uniform(0, 0.9 * length))
        if round_ % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
        if round_ % 2:  # nobody works any more, so the states can be looked at
            for key, value in states(root, sessions, before).items():
                seen[key] += value
        outcomes = archive(engine, jobs_of(engine, root))
        bad = [outcome for outcome in outcomes if outcome.action not in ("archived", "skipped")]
        if not round_ % 2 and bad:  # the orphaned workers were still rolling back: once more
            _wait_for_end(process.pid)
            outcomes = archive(engine, jobs_of(engine, root))
            bad = [outcome for outcome in outcomes if outcome.action != "archived"]
        assert not bad, bad[:3]
        _all_in_archives(engine, root, sessions, before)
    assert seen["S0"] and seen["S4"], f"the moments were badly chosen, no run was killed half way: {seen}"


def _undisturbed(engine: Engine, root: Path, sessions: list[bytes]) -> float:
    """Seconds from the first part file to the end of a run that nobody kills. The sessions are restored after it."""
    process = apart.start(engine.name, "archive_all", [sessions], {"jobs": 2})
    _wait_for_work(root)
    began = time.monotonic()
    while not all(name.endswith(".tar.gz") for name in os.listdir(root)):
        assert process.poll() is None or process.returncode == 0
        time.sleep(0.002)
    took = time.monotonic() - began
    process.communicate()
    back = restore_all(engine, [RestoreJob(s + b".tar.gz", s) for s in sessions], remove_archive=True, same_owner=True)
    assert {outcome.action for outcome in back} == {"restored"}
    return took


def _wait_for_work(root: Path) -> None:
    deadline = time.monotonic() + 60
    while not any(name.endswith((".part", ".tar.gz")) for name in os.listdir(root)):
        assert time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.002)


def _wait_for_end(group: int) -> None:
    """Until no process of the group is left."""
    deadline = time.monotonic() + 30
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < deadline, "workers outlive the process that started them"
        time.sleep(0.01)


def _all_in_archives(engine: Engine, root: Path, sessions: list[bytes], before: dict[bytes, Snapshot]) -> None:
    left = [name for name in os.listdir(root) if not name.endswith(".tar.gz") and "superseded" not in name]
    assert left == [], left[:5]
    back = restore_all(
        engine, [RestoreJob(s + b".tar.gz", s) for s in sessions], remove_archive=True, same_owner=True
    )  # fmt: skip
    assert {outcome.action for outcome in back} == {"restored"}
    for session in sessions:
        assert_same(before[session], snapshot(session))


def test_two_archivers_on_the_same_sessions(engine: Engine, tmp_path: Path) -> None:
    """Without any lock above them: each session ends in one sound archive, or stays whole."""
    root = tmp_path / "root"
    sessions = many(root, 150)
    before = {session: snapshot(session) for session in sessions}
    options = ArchiveOptions(jobs=1)
    tasks = [engine.archive([ArchiveJob(session) for session in sessions], options) for _ in range(2)]
    outcomes = [drain(task) for task in tasks]
    assert all(len(some) == len(sessions) for some in outcomes)
    states(root, sessions, before)
    outcomes = [archive(engine, jobs_of(engine, root))]
    assert {outcome.action for some in outcomes for outcome in some} <= {"archived"}
    _all_in_archives(engine, root, sessions, before)


def test_archiver_and_restorer_meet(engine: Engine, tmp_path: Path) -> None:
    """One archives what the other restores and takes the archives of: nothing is ever in neither place."""
    root = tmp_path / "root"
    sessions = many(root, 60)
    before = {session: snapshot(session) for session in sessions}
    archive_all(engine, sessions)
    for _ in range(3):
        tasks = [
            engine.restore(
                [RestoreJob(s + b".tar.gz", s) for s in sessions],
                RestoreOptions(jobs=1, remove_archive=True, same_owner=True),
            ),
            engine.archive([ArchiveJob(session) for session in sessions], ArchiveOptions(jobs=1)),
        ]
        outcomes = [drain(task) for task in tasks]
        assert all(len(some) == len(sessions) for some in outcomes)
        lost = [s for s in sessions if not os.path.exists(s) and not os.path.exists(s + b".tar.gz")]
        assert not lost, (lost[:3], sorted(os.listdir(root))[:5])
    assert {outcome.action for outcome in archive(engine, jobs_of(engine, root))} <= {"archived"}
    _all_in_archives(engine, root, sessions, before)


def test_plain_sessions_are_what_the_other_tests_think(tmp_path: Path) -> None:
    """The helper makes eight inodes a session, all with a time in the past."""
    found = snapshot(make(tmp_path / NAME, plain(5)))
    assert len(found) == 8
    assert max(entry.mtime_ns for entry in found.values()) < time.time_ns() - 10**9
