"""Paths that are refused, and those that are not."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest

from runark.archive.guard import ancestors_of_cwd, check_root, check_roots, check_session
from runark.errors import InvalidArgument, NotADirectory, SourceMissing, UnsafePath


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "2026Y-02M-13D-14h30m15s_Z5MR"
    path.mkdir()
    return path


def test_a_session_is_taken_however_it_is_named(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsencode(os.path.realpath(session))
    assert check_session(session) == check_session(str(session)) == check_session(os.fsencode(session) + b"//") == real
    monkeypatch.chdir(session.parent)
    assert check_session(session.name) == check_session(f"./{session.name}") == real
    (session.parent / "beside").mkdir()
    monkeypatch.chdir(session.parent / "beside")
    assert check_session(f"../{session.name}") == real


@pytest.mark.parametrize(
    "path", [".", "..", "./", "../", "x/..", "x/.", "", "/", "/etc", "/usr", "/home", "/proc/self"]
)
def test_refused_as_a_session(session: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    (session / "x").mkdir()
    monkeypatch.chdir(session)
    with pytest.raises(UnsafePath):
        check_session(path)


def test_the_working_directory_and_what_holds_it(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = session / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    for path in (session, session / "a", inside, session.parent):
        with pytest.raises(UnsafePath, match="working directory"):
            check_session(path)


def test_a_home_directory() -> None:
    with pytest.raises(UnsafePath, match=r"home|system"):
        check_session(pwd.getpwuid(os.geteuid()).pw_dir)


def test_a_symlink_names_its_target(session: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(session)
    for path in (str(link), f"{link}/"):
        with pytest.raises(UnsafePath, match=session.name):
            check_session(path)
        with pytest.raises(UnsafePath, match=session.name):
            check_root(path, changing=False)


def test_a_symlink_above_is_resolved(session: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(tmp_path)
    assert check_session(tmp_path / "way" / session.name) == os.fsencode(os.path.realpath(session))


def test_missing_and_files(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for check in (check_session, lambda path: check_root(path, changing=True)):
        with pytest.raises(SourceMissing, match="nothing"):
            check(tmp_path / "nothing")
        with pytest.raises(FileNotFoundError):
            check(tmp_path / "nothing")
        with pytest.raises(NotADirectory):
            check(file)
        with pytest.raises(NotADirectoryError):
            check(file / "below")
        with pytest.raises(UnsafePath):
            check("")
        with pytest.raises(InvalidArgument):
            check(b"a\0b")


def test_a_mount_point() -> None:
    with pytest.raises(UnsafePath):
        check_session("/dev/shm" if os.path.ismount("/dev/shm") else "/proc")


def test_roots_may_be_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    assert check_root(".", changing=True) == os.fsencode(tmp_path / "x")
    assert check_root("..", changing=True) == os.fsencode(os.path.realpath(tmp_path))
    assert check_root("/etc", changing=False) == b"/etc"


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/home", "/proc", "/proc/self", "/var"])
def test_roots_that_are_never_changed(path: str) -> None:
    if os.path.islink(path):
        path = os.path.realpath(path)
    with pytest.raises(UnsafePath):
        check_root(path, changing=True)


def test_several_roots(tmp_path: Path) -> None:
    for name in ("b", "a", "a/x"):
        (tmp_path / name).mkdir()
    a, b = os.fsencode(tmp_path / "a"), os.fsencode(tmp_path / "b")
    assert check_roots((b, a, b), changing=True) == (a, b)
    with pytest.raises(InvalidArgument, match="lies in"):
        check_roots((a, a + b"/x"), changing=True)
    with pytest.raises(InvalidArgument, match="no root"):
        check_roots((), changing=True)


def test_ancestors_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    (root / "s" / "logs").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(root / "s" / "logs")
    way = tmp_path / "way"
    way.symlink_to(tmp_path)
    for named in (root, way / "root"):
        top = os.fsencode(named)
        assert ancestors_of_cwd(top) == [top, top + b"/s", top + b"/s/logs"]
    assert ancestors_of_cwd(os.fsencode(tmp_path / "other")) == []


def test_a_removed_working_directory_is_no_error(
    session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    shutil.rmtree(gone)
    assert check_session(session) == os.fsencode(os.path.realpath(session))
    assert ancestors_of_cwd(os.fsencode(tmp_path)) == []
