"""Which sessions are pruned, and that nothing else ever is."""

from __future__ import annotations

import errno
import logging
import os
import re
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import runark.archive.discard
from runark.engine.protocol import Engine
from runark.errors import OperationFailed
from runark.record import MARKER, STALE_NS
from runark.workdir import SessionDir
from support import apart
from support.privileges import mounted, without_override
from support.trees import Symlink, assert_same, make, snapshot
from support.workdirs import MARK, aged, ended, held, killed

X = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each engine removes in turn."""
    monkeypatch.setattr(runark.archive.discard, "load", lambda name: engine)


def unlimited(base: Path, **rules: int) -> SessionDir:
    return SessionDir(base, **{"max_session_dirs": -1, "max_age_days": -1, **rules})


def test_names_are_unique_and_sort_as_sessions_began(base: Path) -> None:
    sessions = [SessionDir(base).create() for _ in range(300)]
    names = [session.path.name for session in sessions]
    assert len(set(names)) == 300 and names == sorted(names) == sorted(os.listdir(base))
    assert all(re.fullmatch(r"session_\d{4}(-\d\d){5}_\d{6}", name) for name in names)
    for session in sessions:
        session.end()


def test_no_name_is_used_twice_though_its_bearer_is_archived(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (session,) = ended(base)
    runark.archive_sessions([session])
    active = SessionDir(base).create()
    names = iter((session.name, active.path.name, "session_next"))
    monkeypatch.setattr(SessionDir, "_name", lambda self, now: next(names))
    with SessionDir(base).create() as other:
        assert other.path.name == "session_next"
    assert sorted(os.listdir(base)) == sorted([f"{session.name}.tar.gz", active.path.name, "session_next"])
    active.end()


def test_names_are_unique_while_the_clock_stands_still(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    with SessionDir(base).create() as one, SessionDir(base).create() as two:
        assert one.path.name < two.path.name


def test_a_process_without_handles_leaves_no_directory_behind(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a marker nobody would ever remove it."""
    directory = SessionDir(base)
    with monkeypatch.context() as patched, pytest.raises(OperationFailed, match="Too many open files"):
        patched.setattr(os, "open", Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))
        directory.create()
    assert os.listdir(base) == []


def test_by_count(base: Path) -> None:
    sessions = ended(base, 7)
    keep = unlimited(base, max_session_dirs=3)
    assert keep.prune_candidates() == sessions[:4]
    assert all(path.is_dir() for path in sessions), "listing deletes nothing"
    assert keep.prune() == sessions[:4]
    assert sorted(os.listdir(base)) == [path.name for path in sessions[4:]]
    assert keep.prune_candidates() == keep.prune() == []


def test_by_age(base: Path) -> None:
    sessions = ended(base, 4)
    aged(sessions[0], 9.9)
    aged(sessions[2], 10.1)
    assert unlimited(base, max_age_days=10).prune() == [sessions[2]]
    assert unlimited(base, max_age_days=0).prune_candidates() == [sessions[0], sessions[1], sessions[3]]


def test_both_rules_each_once(base: Path) -> None:
    sessions = ended(base, 5)
    for path in sessions[:3]:
        aged(path, 20)
    told: list[list[Path]] = []
    assert unlimited(base, max_session_dirs=4, max_age_days=10).prune(told.append) == sessions[:3]
    assert told == [sessions[:3]]


def test_switched_off(base: Path) -> None:
    for path in ended(base, 3):
        aged(path, 10_000)
    assert unlimited(base).prune_candidates() == unlimited(base).prune() == []


def test_none_is_kept(base: Path) -> None:
    sessions = ended(base, 2)
    with unlimited(base, max_session_dirs=0).create() as active:
        assert unlimited(base, max_session_dirs=0).prune() == sessions
    assert os.listdir(base) == [active.path.name]


def test_age_counts_from_the_end(base: Path) -> None:
    """A session that ran for a month has results of today."""
    (session,) = ended(base)
    text = (session / MARK).read_text()
    (session / MARK).write_text(re.sub(r'START_DATETIME: "\d{4}', 'START_DATETIME: "2020', text))
    assert unlimited(base, max_age_days=1).prune_candidates() == []


def test_a_clock_that_was_set_back(base: Path) -> None:
    """Sessions of a time to come do not push out what has just ended, and are not removed before their time."""
    later = [aged(path, -1000) for path in ended(base, 3)]
    keep = unlimited(base, max_session_dirs=2, max_age_days=1)
    now = ended(base, 3)
    assert keep.prune() == now[:1]
    assert all(path.exists() for path in (*later, *now[1:]))


def test_a_marker_that_is_no_text(base: Path) -> None:
    damaged, sound = ended(base, 2)
    text = (damaged / MARK).read_bytes().replace(b'BOOT_ID: "', b'BOOT_ID: "\xff').replace(b"END_", b"XND_")
    (damaged / MARK).write_bytes(text)
    assert unlimited(base, max_session_dirs=0).prune() == [sound]


def test_what_is_not_ours_stays(base: Path, tmp_path: Path) -> None:
    ended(base)
    make(tmp_path / "elsewhere", {MARK: (ended(tmp_path / "other")[0] / MARK).read_bytes(), "precious": "x"})
    name = "session_2020-01-01-00-00-00_"
    marker = (tmp_path / "elsewhere" / MARK).read_bytes()
    make(base / f"{name}plain", {"data": "no marker"})
    make(base / f"{name}empty", {MARK: ""})
    make(base / f"{name}linked", {MARK: Symlink(os.fsencode(tmp_path / "elsewhere" / MARK))})
    make(base / f"{name}directory", {MARK: {"a": "b"}})
    make(base / f"{name}words", {MARK: "START_DATETIME: yesterday\n"})
    make(base / "other_2020-01-01-00-00-00", {MARK: marker})
    make(base / "nested", {f"{name}deep": {MARK: marker}})
    (base / f"{name}file").write_bytes(marker)
    (base / f"{name}link").symlink_to(tmp_path / "elsewhere")
    (base / f"{name}dangling").symlink_to("nowhere")
    before, outside = snapshot(base), snapshot(tmp_path / "elsewhere")
    assert unlimited(base, max_session_dirs=1, max_age_days=1).prune() == []
    assert_same(before, snapshot(base))
    assert_same(outside, snapshot(tmp_path / "elsewhere"))


@pytest.mark.root
def test_another_users_session_stays(base: Path) -> None:
    directory, marker = ended(base, 2)
    os.chown(directory, 4711, 4711)
    os.chown(marker / MARK, 4711, 4711)
    assert unlimited(base, max_session_dirs=0).prune() == []


def test_the_prefix_is_part_of_the_rule(base: Path) -> None:
    mine, other = ended(base, prefix="mine_"), ended(base, prefix="other_")
    assert unlimited(base, max_session_dirs=0).prune() == []
    assert SessionDir(base, prefix="mine_", max_session_dirs=0).prune() == mine
    assert SessionDir(base, prefix="", max_session_dirs=0).prune() == other


def test_an_active_session_stays(base: Path) -> None:
    old = unlimited(base).create()
    ended(base, 3)
    assert old.path not in unlimited(base, max_session_dirs=1).prune()
    aged(old.path, 100)
    assert unlimited(base, max_age_days=1).prune() == []
    old.end()
    assert old.path in unlimited(base, max_session_dirs=0).prune()


def test_one_that_another_process_holds_stays_until_it_is_killed(base: Path) -> None:
    with held(base) as path:
        aged(path, 100)
        keep = unlimited(base, max_session_dirs=0, max_age_days=1)
        assert keep.prune_candidates() == keep.prune() == []
        assert path.is_dir()
    assert keep.prune() == [path]


@pytest.mark.parametrize(
    ("changes", "days", "goes"),
    [
        ({}, 100, True),  # its process is gone
        ({"PID": str(os.getpid()), "PROCESS_START": "null"}, 100, False),
        ({"PID": str(os.getpid()), "PROCESS_START": "1"}, 100, True),  # another process with its number
        ({"HOST": '"elsewhere"', "BOOT_ID": '"x"'}, 100, False),  # cannot be told: not yet stale
        ({"HOST": '"elsewhere"', "BOOT_ID": '"x"'}, 0, False),
    ],
)
def test_without_locks_the_record_tells(
    base: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], days: float, goes: bool
) -> None:
    path = killed(base)
    text = (path / MARK).read_text()
    for key, value in changes.items():
        text = re.sub(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
    (path / MARK).write_text(text)
    aged(path, days)
    monkeypatch.setattr("runark.workdir.marker.lock", lambda directory: "none")
    monkeypatch.setattr("runark.workdir.prune.lock", lambda directory: "none")
    assert bool(unlimited(base, max_session_dirs=0).prune()) is goes
    assert path.exists() is not goes


def test_of_another_machine_until_it_is_stale(base: Path) -> None:
    path = killed(base)
    text = (path / MARK).read_text().replace(f'HOST: "{os.uname().nodename}"', 'HOST: "elsewhere"')
    (path / MARK).write_text(re.sub('BOOT_ID: ".*"', 'BOOT_ID: "x"', text))
    (path / "deep").mkdir()
    (path / "deep" / "log").write_text("written to")
    keep = unlimited(base, max_session_dirs=0)
    stale = (path / MARK).stat().st_mtime_ns - STALE_NS - 10**9
    for one in (path / MARK, path / "deep", path):
        os.utime(one, ns=(stale, stale))
    assert keep.prune() == [], "something in it is new"
    os.utime(path / "deep" / "log", ns=(stale, stale))
    assert keep.prune() == [path]


def test_of_a_machine_with_the_same_name(base: Path) -> None:
    """Another boot of this host is an earlier one, unless something was written since this one."""
    path = killed(base)
    text = (path / MARK).read_text()
    (path / MARK).write_text(re.sub('BOOT_ID: ".*"', 'BOOT_ID: "x"', text))
    keep = unlimited(base, max_session_dirs=0)
    assert keep.prune() == []
    before = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) - 60
    for one in (path / MARK, path):
        os.utime(one, (before, before))
    assert keep.prune() == [path]


def test_no_marker_no_pruning_while_a_session_starts(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pruner at work at every moment between the directory and its marker."""
    import runark.workdir.marker
    import runark.workdir.session

    seen: list[str] = []

    def prune(at: str) -> None:
        seen.append(at)
        assert unlimited(base, max_session_dirs=0).prune() == []

    def before(module: Any, name: str) -> None:
        real = getattr(module, name)

        def hooked(*arguments: Any, **options: Any) -> Any:
            prune(name)
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, hooked)

    before(runark.workdir.session, "lock")
    before(runark.workdir.session, "write_marker")
    real_replace = os.replace

    def replace(*arguments: Any, **options: Any) -> None:
        prune("before the marker")
        real_replace(*arguments, **options)
        prune("after the marker")

    monkeypatch.setattr(os, "replace", replace)
    session = SessionDir(base).create()
    assert seen == ["lock", "write_marker", "before the marker", "after the marker"]
    assert session.path.is_dir() and (session.path / MARK).exists()
    session.end()


@pytest.mark.parametrize("how", ["link", "directory", "gone"])
def test_swapped_after_it_was_looked_at(base: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    (session,) = ended(base)
    make(tmp_path / "outside", {MARK: (session / MARK).read_bytes(), "precious": "x"})
    before = snapshot(tmp_path / "outside")

    def swap(paths: list[Path]) -> None:
        session.rename(tmp_path / "aside")
        if how == "link":
            session.symlink_to(tmp_path / "outside")
        elif how == "directory":
            (tmp_path / "outside").rename(session)

    assert unlimited(base, max_session_dirs=0).prune(swap) == []
    assert_same(before, snapshot(session if how == "directory" else tmp_path / "outside"))
    assert (tmp_path / "aside" / "result.txt").exists()
    assert len(caplog.records) == (how != "gone")


def test_swapped_all_the_time(base: Path, tmp_path: Path) -> None:
    """One thread prunes, another one swaps sessions for links to what must stay."""
    make(tmp_path / "outside", {"precious": "x", "sub": {"a": "b"}})
    sessions = ended(base, 60)
    for session in sessions:
        (session / MARK).write_bytes((session / MARK).read_bytes())
    (tmp_path / "outside" / MARK).write_bytes((sessions[0] / MARK).read_bytes())
    before = snapshot(tmp_path / "outside")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for session in sessions:
                try:
                    os.rename(session, tmp_path / f"aside-{os.urandom(8).hex()}")
                    os.symlink(tmp_path / "outside", session)
                    os.unlink(session)
                except OSError:
                    continue

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        unlimited(base, max_session_dirs=0).prune()
    finally:
        done.set()
        swapper.join()
    assert_same(before, snapshot(tmp_path / "outside"))


@pytest.mark.mounts
def test_one_that_cannot_be_removed_is_logged_and_the_rest_go_on(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    sessions = ended(base, 3)
    (sessions[1] / "data").mkdir()
    with mounted(sessions[1] / "data") as inner, caplog.at_level(logging.DEBUG, "runark.workdir"):
        (inner / "precious").write_text("x")
        assert unlimited(base, max_session_dirs=0).prune() == [sessions[0], sessions[2]]
        assert (inner / "precious").exists() and (sessions[1] / "result.txt").exists()
    assert any(sessions[1].name in record.message and "mount point" in record.message for record in caplog.records)


def test_without_the_right_to_remove_one(base: Path) -> None:
    sessions = ended(base, 3)
    (sessions[1] / "sub").mkdir()
    (sessions[1] / "sub" / "file").write_text("x")
    (sessions[1] / "sub").chmod(0o555)
    code = (
        f"import logging; from runark.workdir import SessionDir\n"
        f"logging.basicConfig(format='%(levelname)s %(message)s')\n"
        f"print(*SessionDir({os.fspath(base)!r}, max_session_dirs=0).prune(), sep='\\n')"
    )
    done = apart.run(code, prefix=without_override())
    (sessions[1] / "sub").chmod(0o755)
    assert done.stdout.split() == [os.fspath(sessions[0]), os.fspath(sessions[2])]
    assert done.stderr.startswith("WARNING ") and f"{sessions[1]}: not discarded" in done.stderr
    assert (sessions[1] / "sub" / "file").exists() and (sessions[1] / "result.txt").exists()


def test_what_an_interrupted_pruning_left(base: Path) -> None:
    ended(base)
    make(base / f".session_2020-01-01-00-00-00_000001.discarding-{X}", {"rest": "x"})
    make(base / f".other_2020-01-01-00-00-00_000001.discarding-{X}", {"rest": "x"})
    (base / f".session_2020-01-01-00-00-00_000002.discarding-{X}").symlink_to(base)
    assert unlimited(base, max_age_days=1).prune() == []
    assert len(os.listdir(base)) == 3 and not (base / f".session_2020-01-01-00-00-00_000001.discarding-{X}").exists()


def test_the_working_directory_is_not_removed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = ended(base, 2)
    (sessions[0] / "sub").mkdir()
    monkeypatch.chdir(sessions[0] / "sub")
    assert unlimited(base, max_session_dirs=0).prune() == [sessions[1]]


def test_a_base_that_is_gone(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep = SessionDir(base, max_session_dirs=0)
    base.rmdir()
    assert keep.prune_candidates() == []
    assert keep.prune() == [] and "not pruned" in caplog.text
    base.write_text("a file now")
    with pytest.raises(OperationFailed):
        keep.prune_candidates()
    base.unlink()
    with keep.create() as session:
        assert session.path.parent == base


def test_two_pruners_tell_the_hook_once(base: Path) -> None:
    sessions = ended(base, 5)
    told: list[Path] = []

    def slow(paths: list[Path]) -> None:
        told.extend(paths)
        other.start()

    other = threading.Thread(target=unlimited(base, max_session_dirs=0).prune, args=(told.extend,))
    unlimited(base, max_session_dirs=0).prune(slow)
    other.join()
    assert told == sessions


def test_the_record_is_whole(base: Path) -> None:
    session = SessionDir(base).create()
    running = (session.path / MARK).read_text()
    assert f"PID: {os.getpid()}\n" in running and "END_DATETIME: null\n" in running
    session.end()
    session.end()
    assert re.search('END_DATETIME: ".*"', (session.path / MARK).read_text())
    assert os.listdir(session.path) == [os.fsdecode(MARKER)]
