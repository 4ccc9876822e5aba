"""Stopped after each system call, while somebody else works on the session: what a writer made is in the archive or
in its place."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from runark import archive as archive_plan
from runark import plan
from runark.engine.protocol import Engine, Outcome
from runark.errors import RootLocked
from support.drive import archive, archive_all, archive_one, jobs_of, restore_one
from support.promise import archives_of, assert_kept, assert_only_archives, kept
from support.sessions import NAME, many
from support.torture import filesystem_of, record, some
from support.traced import CHANGES, LOOKS, Call, Traced
from support.traced import record as recorded
from support.trees import Snapshot, Symlink, differences, make, snapshot

MARK = b"made by a writer\n"
FAITHFUL = {"same_owner": True, "special_modes": True}


def _fresh(root: Path) -> tuple[Path, Snapshot]:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    session = root / NAME
    tree = {"logs": {"a.log": "log\n" * 40}, "out.csv": "1,2\n" * 99, "l": Symlink(b"logs/a.log")}
    before = snapshot(make(session, tree))
    make(root / "outside", {"precious": "p" * 100})
    time.sleep(0.03)  # older than a tick of the clock: else it is looked at twice, and calls are counted otherwise
    return session, before


def _append(session: Path) -> None:
    with open(session / "out.csv", "r+b") as file:  # does not make it
        file.seek(0, os.SEEK_END)
        file.write(MARK)


def _overwrite(session: Path) -> None:
    """The same size, and the old times put back as well as a program can."""
    old = os.stat(session / "out.csv")
    with open(session / "out.csv", "r+b") as file:
        file.write(MARK)
    os.utime(session / "out.csv", ns=(old.st_atime_ns, old.st_mtime_ns))


def _truncate(session: Path) -> None:
    os.truncate(session / "out.csv", 5)


def _replace(session: Path) -> None:
    new = session.parent / "new"
    new.write_bytes(MARK)
    try:
        os.rename(new, session / "out.csv")
    except OSError:
        new.unlink()
        raise


def _add(session: Path) -> None:
    (session / "added").write_bytes(MARK)


def _add_below(session: Path) -> None:
    (session / "logs" / "added").write_bytes(MARK)


def _rename(session: Path) -> None:
    os.rename(session / "out.csv", session / "renamed.csv")


def _take_out(session: Path) -> None:
    os.rename(session / "out.csv", session.parent / "outside" / "taken.csv")


def _remove(session: Path) -> None:
    os.unlink(session / "logs" / "a.log")


def _swap_session(session: Path) -> None:
    os.rename(session, session.parent / "elsewhere")
    os.symlink(session.parent / "outside", session)


def _swap_directory(session: Path) -> None:
    os.rename(session / "logs", session.parent / "elsewhere")
    os.symlink(session.parent / "outside", session / "logs")


WRITERS: list[Callable[[Path], None]] = [
    _append, _overwrite, _truncate, _replace, _add, _add_below, _rename, _take_out, _remove, _swap_session,
    _swap_directory, ]  # fmt: skip


def _finds(writer: Callable[[Path], None], session: Path) -> bool:
    """Let the writer work; whether what it works on was there."""
    try:
        writer(session)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _files(directory: Path) -> dict[str, bytes]:
    """Every regular file below that a writer may have made, by its path."""
    return {
        os.path.join(top, entry): Path(top, entry).read_bytes()
        for top, _, names in os.walk(directory)
        for entry in names
        if not os.path.islink(os.path.join(top, entry)) and not entry.startswith(".") and not entry.endswith(".tar.gz")
    }


def _in_archives(root: Path, engine: Engine, scratch: Path) -> set[bytes]:
    """The contents of all files in all archives there are, also those set aside."""
    found: set[bytes] = set()
    for entry in os.listdir(root):
        if ".tar.gz" in entry and not entry.endswith(".part"):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            shutil.copy(root / entry, scratch / "a.tar.gz")
            assert restore_one(engine, scratch / "a.tar.gz", scratch / "a", **FAITHFUL).action == "restored", entry
            found.update(_files(scratch / "a").values())
    return found


def _archiving(engine: Engine, session: Path) -> Callable[[], Outcome]:
    return lambda: archive_one(engine, session, jobs=1)


def _stops(engine: Engine, root: Path) -> list[Call]:
    archive_one(engine, _fresh(root)[0])
    session, _ = _fresh(root)
    _, calls = recorded(_archiving(engine, session))
    return [call for call in calls if call.name not in ("write", "read") or "/" in call.args]


def test_part_files_where_there_are_no_locks(engine: Engine, tmp_path: Path) -> None:
    """Nothing tells whether one is in use: a young one is left to whoever may be writing it."""
    session, before = _fresh(tmp_path / "r")
    part = session.parent / f".{NAME}.tar.gz.{'0' * 16}.part"
    part.write_bytes(b"half")

    def work() -> Outcome:
        return archive_one(engine, session, (os.fsencode(part.name),), jobs=1)

    with Traced(work, "flock:error=ENOLCK") as traced:
        outcome = traced.answer()
    assert (outcome.action, part.read_bytes()) == ("skipped", b"half") and "less than an hour old" in outcome.reason
    assert not differences(before, snapshot(session))
    os.utime(part, (0, 0))
    with Traced(work, "flock:error=ENOLCK") as traced:
        assert traced.answer().action == "archived"
    assert not part.exists() and kept(session, before) == ["archive"]


@pytest.mark.parametrize("writer", [_append, _overwrite, _truncate, _replace], ids=lambda one: one.__name__.strip("_"))
def test_a_writer_in_memory(engine: Engine, tmp_path: Path, writer: Callable[[Path], None]) -> None:
    """There the archiver holds leases on the files until they are gone: who opens one for writing waits for it, then
    finds the session whole."""
    root = _in_memory(tmp_path)
    waited = met = 0
    try:
        calls = some(_stops(engine, root), 20)
        for call in calls:
            session, before = _fresh(root)
            with (
                Traced(_archiving(engine, session), f"{call.name}:signal=STOP:when={call.nth}") as traced,
                ThreadPoolExecutor(1) as aside,
            ):
                assert traced.until_stopped(), call
                writing = aside.submit(_finds, writer, session)
                waits = not wait([writing], timeout=0.3).done
                there = {} if waits else _files(root)
                traced.go_on()
                outcome = traced.answer()
                found = writing.result(timeout=30)
            told = (call, outcome, sorted(os.listdir(root)))
            waited, met = waited + waits, met + found
            if waits:
                assert found and outcome.action == "changed", told
                there = _files(root)
                assert str(session / "out.csv") in there, told
            elif not found:
                assert_kept(session, before, told)
            packed = _in_archives(root, engine, tmp_path / "scratch") | set(_files(root).values())
            assert packed >= set(there.values()), told
    finally:
        shutil.rmtree(root)
    assert met >= len(calls) // 3
    assert waited >= 3 or writer is _replace
    record(f"writer in memory: {writer.__name__.strip('_')}", len(calls), engine.name, "tmpfs")


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__.strip("_"))
def test_a_writer_at_every_step(engine: Engine, tmp_path: Path, writer: Callable[[Path], None]) -> None:
    root = tmp_path / "r"
    calls = some(_stops(engine, root), 20)
    met = 0
    for call in calls:
        session, _ = _fresh(root)
        with Traced(_archiving(engine, session), f"{call.name}:signal=STOP:when={call.nth}") as traced:
            there: dict[str, bytes] = {}
            if traced.until_stopped():
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    writer(session)
                    met += 1
                there = _files(root)
                traced.go_on()
            outcome = traced.answer()
        told = (call, outcome)
        assert _files(root / "outside").items() >= {str(root / "outside" / "precious"): b"p" * 100}.items(), told
        stands = _files(root)
        packed = _in_archives(root, engine, tmp_path / "scratch")
        for path, content in there.items():
            assert content in stands.values() or content in packed, (path, told, sorted(os.listdir(root)))
        # And the next runs converge, whatever is there by now.
        for _ in range(2):
            outcomes = archive(engine, jobs_of(engine, root))
        assert {one.action for one in outcomes} <= {"archived"}, (told, outcomes)
        packed = _in_archives(root, engine, tmp_path / "scratch") | set(_files(root).values())
        assert packed >= set(there.values()), (told, sorted(os.listdir(root)))
    assert met >= len(calls) // 3
    record(f"writer: {writer.__name__.strip('_').replace('_', ' ')}", len(calls), engine.name, filesystem_of(tmp_path))


def test_a_second_archiver_at_every_step(pair: tuple[Engine, Engine], tmp_path: Path) -> None:
    root = tmp_path / "r"
    first, second = pair
    calls = some(_stops(first, root), 20)
    for call in calls:
        session, before = _fresh(root)
        with Traced(_archiving(first, session), f"{call.name}:signal=STOP:when={call.nth}") as traced:
            other: list[Outcome] = []
            if traced.until_stopped():
                other = archive(second, jobs_of(second, root))
                assert_kept(session, before, (call, other))
                traced.go_on()
            outcome = traced.answer()
        assert_kept(session, before, (call, outcome, other))
        archive(second, jobs_of(second, root))
        assert kept(session, before) == ["archive"], (call, outcome, other)
        names = [entry for entry in os.listdir(root) if entry != "outside" and ".superseded-" not in entry]
        assert names == [f"{NAME}.tar.gz"], (call, outcome, other, names)
    record("second archiver", len(calls), f"{first.name}, {second.name}", filesystem_of(tmp_path))


def test_a_restorer_at_every_step(pair: tuple[Engine, Engine], tmp_path: Path) -> None:
    """The archive is published while the source still stands; a restorer that removes archives comes by."""
    root = tmp_path / "r"
    first, second = pair
    calls = some(_stops(first, root), 20)
    for call in calls:
        session, before = _fresh(root)
        with Traced(_archiving(first, session), f"{call.name}:signal=STOP:when={call.nth}") as traced:
            other = None
            if traced.until_stopped():
                if archives_of(session):
                    other = restore_one(second, archives_of(session)[0], session, remove_archive=True, **FAITHFUL)
                assert_kept(session, before, (call, other))
                traced.go_on()
            outcome = traced.answer()
        assert_kept(session, before, (call, outcome, other))
    record("restorer that removes archives", len(calls), f"{first.name}, {second.name}", filesystem_of(tmp_path))


def _together(*works: Callable[[], list[Outcome]]) -> list[list[Outcome]]:
    """Each in a thread of its own, begun at the same moment."""
    barrier = threading.Barrier(len(works))

    def begin(work: Callable[[], list[Outcome]]) -> list[Outcome]:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return [future.result() for future in [threads.submit(begin, work) for work in works]]


def test_archivers_in_threads_of_one_process(pair: tuple[Engine, Engine], tmp_path: Path) -> None:
    """Without the lock of a root, which `runark archive` takes: two tasks, in the same or in opposite order."""
    rounds = some(list(range(40)), 4)
    first, second = pair
    for number in rounds:
        root = tmp_path / str(number)
        root.mkdir()
        sessions = {Path(os.fsdecode(path)): snapshot(path) for path in many(root, 40)}
        jobs = jobs_of(first, root)
        order = jobs if number % 2 else jobs[::-1]
        outcomes = _together(lambda j=jobs: archive(first, j, jobs=2), lambda j=order: archive(second, j, jobs=2))
        for session, before in sessions.items():
            assert_kept(session, before, (number, outcomes))
        assert {one.action for all_of_them in outcomes for one in all_of_them} <= {
            "archived", "skipped", "changed", "failed",
        }, outcomes  # fmt: skip
        archive(second, jobs_of(second, root))
        assert_only_archives(sessions, (number, outcomes))
        shutil.rmtree(root)
    record("archivers in threads", len(rounds), f"{first.name}, {second.name}", filesystem_of(tmp_path))


def test_an_archiver_and_a_restorer_in_threads(pair: tuple[Engine, Engine], tmp_path: Path) -> None:
    """One archives while the other restores and removes the archives."""
    rounds = some(list(range(40)), 4)
    first, second = pair
    for number in rounds:
        root = tmp_path / str(number)
        root.mkdir()
        sessions = {Path(os.fsdecode(path)): snapshot(path) for path in many(root, 40)}
        archive(first, jobs_of(first, root)[::2])
        packed = [session for session in sessions if archives_of(session)]
        assert packed

        def restoring(packed: list[Path] = packed) -> list[Outcome]:
            return [restore_one(second, f"{one}.tar.gz", one, remove_archive=True, **FAITHFUL) for one in packed]

        outcomes = _together(lambda r=root: archive(first, jobs_of(first, r), jobs=2), restoring)
        for session, before in sessions.items():
            assert_kept(session, before, (number, outcomes))
        archive(second, jobs_of(second, root))
        assert_only_archives(sessions, (number, outcomes))
        shutil.rmtree(root)
    record("archiver and restorer in threads", len(rounds), f"{first.name}, {second.name}", filesystem_of(tmp_path))


def test_two_runs_in_threads_of_one_process(pair: tuple[Engine, Engine], tmp_path: Path) -> None:
    """With the lock: one of them works, the other is told who does; or they come after each other."""
    first, second = pair
    sessions = {Path(os.fsdecode(path)): snapshot(path) for path in many(tmp_path, 60)}

    def run(engine: Engine) -> list[Outcome]:
        try:
            result = archive_plan(plan(tmp_path, engine=engine.name), keep_outcomes=True)
        except RootLocked:
            return []
        assert result.ok or result.counts.get("skipped") or result.counts.get("changed"), result
        return list(result.outcomes)

    outcomes = _together(lambda: run(first), lambda: run(second))
    for session, before in sessions.items():
        assert_kept(session, before, outcomes)
    assert any(outcomes)
    run(first)
    assert_only_archives(sessions, outcomes)
    record("two runs in threads", 1, f"{first.name}, {second.name}", filesystem_of(tmp_path))


@pytest.mark.parametrize("how", ["open", "mapped"])
def test_a_file_open_for_writing_is_seen(engine: Engine, tmp_path: Path, how: str) -> None:
    """Stores through a mapping may change no time at all; here nothing is even written before the archive is made."""
    session, before = _fresh(tmp_path / "r")
    with open(session / "out.csv", "r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0) if how == "mapped" else None
        if mapping is not None:
            os.close(os.dup(file.fileno()))
            file.close()
        outcome = archive_one(engine, session)
        assert (outcome.action, outcome.reason) == ("changed", "out.csv is open for writing"), outcome
        assert not differences(before, snapshot(session))
        assert sorted(os.listdir(session.parent)) == [NAME, "outside"]
        if mapping is not None:
            mapping.close()
    assert archive_all(engine, [session])[0].action == "archived"


OLD = """\
import ctypes, os, sys
from runark.engine import load
from runark.engine.protocol import ArchiveJob, ArchiveOptions
ctypes.CDLL(None).personality(0x0020000)  # UNAME26
assert os.uname().release.startswith("2.6.")
task = load(sys.argv[1]).archive([ArchiveJob(os.fsencode(path)) for path in sys.argv[2:]], ArchiveOptions(jobs=1))
while (found := task.poll(1)) is not None:
    for outcome in found:
        print(outcome.action, outcome.settled, outcome.reason)
"""


def test_a_writer_is_seen_on_old_kernels(engine: Engine, tmp_path: Path) -> None:
    """Before Linux 5.8 only `syncfs` is not trusted: each file is synced by itself."""
    root = make(tmp_path / "r", {})
    sessions = [os.fsdecode(path) for path in many(root, 12)]
    with open(os.path.join(sessions[0], "out.csv"), "a"):
        command = (sys.executable, "-c", OLD, engine.name, *sessions)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = sorted(done.stdout.splitlines())
    how = "volatile" if filesystem_of(tmp_path) == "tmpfs" else "fsync"
    assert lines == [f"archived {how} "] * 11 + ["changed  out.csv is open for writing"]


def test_a_lease_that_is_broken_does_not_kill(engine: Engine, tmp_path: Path) -> None:
    """Stopped with the lease in hand while a writer comes: the kernel signals the holder."""
    root = tmp_path / "r"
    archive_one(engine, _fresh(root)[0])
    session, before = _fresh(root)
    with Traced(
        _archiving(engine, session), "fcntl:signal=STOP:when=2", ("fcntl",)
    ) as traced:  # 1: F_SETSIG, 2: F_SETLEASE
        assert traced.until_stopped()
        for path in (session / "logs" / "a.log", session / "out.csv"):
            with contextlib.suppress(BlockingIOError):
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        traced.go_on()
        outcome = traced.answer()
    assert outcome is not None, "killed by the signal"
    assert outcome.action == "archived", outcome
    assert kept(session, before) == ["archive"]


@pytest.mark.parametrize("kept", [False, True], ids=["packed", "compared"])
def test_a_mapping_that_is_gone_again(engine: Engine, tmp_path: Path, kept: bool) -> None:
    """Mapped before it is packed, or compared with the archive it has; written to and unmapped after that: in memory no
    time changes, and nobody is left to be seen before the removal."""
    root = _in_memory(tmp_path)
    try:
        session, before = _fresh(root)
        if kept:
            archive_one(engine, session, keep_source=True)
        with open(session / "out.csv", "r+b") as file:
            mapping = mmap.mmap(file.fileno(), 0)
        call = "renameat2" if kept else "fchmod"
        with Traced(_archiving(engine, session), f"{call}:signal=STOP:when=1") as traced:
            if traced.until_stopped():  # packed, or found equal, in spite of it
                mapping[: len(MARK)] = MARK
                mapping.close()
                traced.go_on()
            outcome = traced.answer()
        assert (outcome.action, outcome.reason) == ("changed", "out.csv is open for writing"), outcome
        assert not differences(before, snapshot(session))
    finally:
        shutil.rmtree(root)


LARGE, MANY = {"out.csv": "1,2\n" * 700_000}, {f"{number}.csv": "1,2\n" for number in range(40)}


@pytest.mark.parametrize("kept", [False, True], ids=["packed", "compared"])
@pytest.mark.parametrize("files", [LARGE, MANY], ids=["large", "many"])
def test_a_mapping_that_came_and_went(engine: Engine, tmp_path: Path, files: dict[str, str], kept: bool) -> None:
    """The same of a session whose files are not held, by somebody who was not there yet when it was packed, or compared
    with the archive it has: nothing but the content tells."""
    root = _in_memory(tmp_path)
    try:
        session, _ = _fresh(root)
        for name, text in files.items():
            (session / name).write_text(text)
        time.sleep(0.03)
        before = snapshot(session)
        if kept:
            archive_one(engine, session, keep_source=True)
        name = min(files)
        call = "faccessat2" if kept else "fchmod"  # before the recheck, after packing
        with Traced(_archiving(engine, session), f"{call}:signal=STOP:when=1") as traced:
            assert traced.until_stopped()
            times = os.stat(session / name)
            with open(session / name, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
                assert mapping[:1] == b"1"  # a page that was read first is written to without the kernel's knowing
                mapping[:1] = b"9"
            now = os.stat(session / name)
            told = now.st_ctime_ns != times.st_ctime_ns or now.st_mtime_ns != times.st_mtime_ns
            assert not told or filesystem_of(root) != "tmpfs"
            traced.go_on()
            outcome = traced.answer()
        assert outcome.action == "changed" and outcome.reason.startswith(f"{name} changed"), outcome
        assert (session / name).read_bytes().startswith(b"9,2")
        assert all(name in line for line in differences(before, snapshot(session)))
        assert archive_one(engine, session).action == "archived"
    finally:
        shutil.rmtree(root)


def _in_memory(tmp_path: Path) -> Path:
    return Path("/dev/shm") / f"race-{os.getpid()}" if os.path.isdir("/dev/shm") else tmp_path / "r"


def _map(session: Path) -> mmap.mmap | None:
    try:
        with open(session / "out.csv", "r+b") as file:
            return mmap.mmap(file.fileno(), 0)
    except FileNotFoundError:
        return None


def test_a_mapping_made_while_it_is_archived(engine: Engine, tmp_path: Path) -> None:
    """Opened and mapped after the file was packed, written to after the last look at its times: in memory the kernel
    does not even change them."""
    root = _in_memory(tmp_path)
    calls = [call for call in _stops(engine, root) if call.name in CHANGES or call.name in LOOKS]
    begin = next(at for at, call in enumerate(calls) if call.name == "write")
    points = some(calls[begin:], 20)
    met = 0
    try:
        for call in points:
            session, before = _fresh(root)
            with Traced(_archiving(engine, session), f"{call.name}:signal=STOP:when={call.nth}") as traced:
                assert traced.until_stopped(), call
                with ThreadPoolExecutor(1) as aside:
                    opened = aside.submit(_map, session)
                    wait([opened], timeout=0.3)  # a lease may hold it up until the archiver goes on
                    traced.go_on()
                    outcome = traced.answer()
                    mapping = opened.result(timeout=30)
                if mapping is not None:
                    met += 1
                    mapping[: len(MARK)] = MARK
                    mapping.close()
                    assert (session / "out.csv").read_bytes().startswith(MARK), (call, outcome)
                else:
                    assert_kept(session, before, (call, outcome))
    finally:
        shutil.rmtree(root)
    assert met >= 3
    record("mapping made meanwhile", len(points), engine.name, "tmpfs")


def test_a_part_file_that_rots(engine: Engine, tmp_path: Path) -> None:
    """What was written is not what is there: a disk that lies, until the archive is read again."""
    root = tmp_path / "r"
    calls = _stops(engine, root)
    begin = next(at for at, call in enumerate(calls) if call.name == "write")
    proof = next(at for at, call in enumerate(calls) if at > begin and call.name == "openat" and ".part" in call.args)
    points = some(calls[begin:proof], 20)
    for call in points:
        session, before = _fresh(root)
        with Traced(_archiving(engine, session), f"{call.name}:signal=STOP:when={call.nth}") as traced:
            assert traced.until_stopped(), call
            (part,) = (root / entry for entry in os.listdir(root) if entry.endswith(".part"))
            with open(part, "r+b") as file:
                file.seek(-12, os.SEEK_END)
                file.write(b"rot!")
            traced.go_on()
            outcome = traced.answer()
        assert outcome.action == "failed", (call, outcome)
        assert kept(session, before) == ["source"], (call, outcome)
    record("part file rots before it is read again", len(points), engine.name, filesystem_of(tmp_path))
