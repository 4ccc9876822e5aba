"""The Python API that SciTeX's users know: names, defaults, summary keys; and what is refused."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runark
from runark.errors import InvalidArgument, SourceMissing, TargetExists, UnsafePath
from support.sessions import NAME, many, name, plain
from support.trees import Dir, File, Socket, assert_same, make, snapshot


def test_signatures() -> None:
    """The arguments and defaults of the usage page."""
    expected: dict[Callable[..., Any], dict[str, Any]] = {
        runark.archive_session_dir: {"src_dir": ..., "format": "tar.gz", "remove_src": True, "compresslevel": 1},
        runark.restore_session_archive: {"archive_path": ..., "dest_dir": None, "remove_archive": False},
        runark.archive_existing: {
            "root": ..., "older_than_days": None, "format": "tar.gz", "pattern": None, "dry_run": True,
            "max_dirs": None, "track_bytes": False, "use_fd": True,
        },
        runark.restore_existing: {
            "root": ..., "pattern": "*.tar.gz", "dest_root": None, "remove_archive": False, "dry_run": True,
            "max_files": None,
        },
    }  # fmt: skip
    for function, wanted in expected.items():
        found = {
            key: ... if item.default is inspect.Parameter.empty else item.default
            for key, item in inspect.signature(function).parameters.items()
        }
        assert {key: found[key] for key in wanted} == wanted, function
        assert list(found)[: len(wanted)] == list(wanted), function


@pytest.mark.parametrize("fmt", ["tar.gz", "tar", "tar.xz"])
def test_one_there_and_back(tmp_path: Path, fmt: str) -> None:
    session = make(tmp_path / NAME, plain())
    before = snapshot(session)
    archive = runark.archive_session_dir(session.decode(), format=fmt)
    assert isinstance(archive, Path) and archive == tmp_path / f"{NAME}.{fmt}"
    assert not os.path.exists(session)
    restored = runark.restore_session_archive(archive, remove_archive=False)
    assert restored == tmp_path / NAME
    assert archive.exists()
    assert_same(before, snapshot(session), ignore=("uid", "gid"))


def test_any_directory(tmp_path: Path) -> None:
    """The name need not look like a session's."""
    make(tmp_path / "results of may", plain())
    assert runark.archive_session_dir(tmp_path / "results of may") == tmp_path / "results of may.tar.gz"


def test_keep_the_source(tmp_path: Path) -> None:
    session = make(tmp_path / NAME, plain())
    before = snapshot(session)
    runark.archive_session_dir(tmp_path / NAME, remove_src=False)
    assert_same(before, snapshot(session))


def test_refused_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths that mean something else than they seem to."""
    make(tmp_path / "work", {NAME: {"x": plain()}})
    (tmp_path / "link").symlink_to(tmp_path / "work" / NAME)
    monkeypatch.chdir(tmp_path / "work" / NAME)
    before = snapshot(tmp_path)
    refused = [".", "", "x/..", "..", "../..", str(tmp_path / "link"), str(tmp_path / "work"), "/", "/etc", "/usr",
               "/home", str(tmp_path / "work" / NAME), os.path.expanduser("~")]  # fmt: skip
    for path in refused:
        with pytest.raises((UnsafePath, ValueError)):
            runark.archive_session_dir(path)
    assert_same(before, snapshot(tmp_path))


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        runark.archive_session_dir(tmp_path / "missing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError):
        runark.archive_session_dir(tmp_path / "file")
    session = make(tmp_path / NAME, plain())
    with pytest.raises(ValueError):
        runark.archive_session_dir(tmp_path / NAME, format="zip")
    with pytest.raises(InvalidArgument):
        runark.archive_session_dir(tmp_path / NAME, compresslevel=11)
    make(session + b"/s", {"agent": Socket()})
    with pytest.raises(runark.RunarkError, match="socket"):
        runark.archive_session_dir(tmp_path / NAME)
    shutil.rmtree(session + b"/s")
    archive = runark.archive_session_dir(tmp_path / NAME)
    with pytest.raises(SourceMissing):
        runark.restore_session_archive(tmp_path / "none.tar.gz")
    make(tmp_path / NAME, {"mine": "precious"})
    with pytest.raises(TargetExists):
        runark.restore_session_archive(archive)
    assert (tmp_path / NAME / "mine").read_text() == "precious"
    archive.write_bytes(archive.read_bytes()[:-9])
    with pytest.raises(OSError, match=archive.name):
        runark.restore_session_archive(archive, tmp_path / "dest")
    assert not (tmp_path / "dest").exists()


def test_bulk(tmp_path: Path) -> None:
    """A dry run by default, direct children only, the summary keys of the usage page."""
    many(tmp_path / "r", 5)
    make(tmp_path / "r" / "deeper", {NAME: plain()})
    make(tmp_path / "r" / "no session", plain())
    before = snapshot(tmp_path / "r")
    dry = runark.archive_existing(tmp_path / "r")
    assert list(dry) == ["scanned", "candidates", "archived", "skipped", "failed", "bytes_in", "bytes_out"]
    assert (dry["candidates"], dry["archived"]) == (5, 0)
    assert_same(before, snapshot(tmp_path / "r"))
    done = runark.archive_existing(tmp_path / "r", dry_run=False, track_bytes=True)
    assert (done["candidates"], done["archived"], done["failed"], done["skipped"]) == (5, 5, 0, 0)
    assert done["bytes_in"] == sum(entry.size for path, entry in before.items() if path.startswith(b"2026"))
    assert done["bytes_out"] == sum(path.stat().st_size for path in (tmp_path / "r").glob("*.tar.gz"))
    assert (tmp_path / "r" / "deeper" / NAME).is_dir()
    again = runark.archive_existing(tmp_path / "r", dry_run=False)
    assert (again["candidates"], again["archived"]) == (0, 0)
    archived = snapshot(tmp_path / "r")
    dry = runark.restore_existing(tmp_path / "r")
    assert list(dry) == ["scanned", "candidates", "restored", "skipped", "failed"]
    assert (dry["candidates"], dry["restored"]) == (5, 0)
    assert_same(archived, snapshot(tmp_path / "r"))
    back = runark.restore_existing(tmp_path / "r", dry_run=False, remove_archive=True)
    assert (back["candidates"], back["restored"], back["failed"]) == (5, 5, 0)
    wanted = {path: entry for path, entry in before.items() if path.startswith(b"2026")}
    found = {path: entry for path, entry in snapshot(tmp_path / "r").items() if path.startswith(b"2026")}
    assert_same(wanted, found, ignore=("uid", "gid"))


def test_bulk_choices(tmp_path: Path) -> None:
    root = tmp_path / "r"
    many(root, 5)
    assert runark.archive_existing(root, pattern="_0003")["candidates"] == 1
    assert runark.archive_existing(root, max_dirs=2)["candidates"] == 2
    (root / name(1) / "logs" / "growing.log").write_text("just now")
    assert runark.archive_existing(root, older_than_days=0.5)["candidates"] == 4
    assert runark.archive_existing(root, older_than_days=0.5, dry_run=False)["archived"] == 4
    assert (root / name(1)).is_dir()


def test_bulk_finds_every_form_of_name(tmp_path: Path) -> None:
    root = tmp_path / "r"
    make(root, {f"DEBUG_{NAME}": plain(), f"{NAME}-suffix": plain(), NAME: Dir({"x": File(b"y")})})
    assert runark.archive_existing(root, dry_run=False)["archived"] == 3


def test_scan_plan_archive(tmp_path: Path) -> None:
    """The richer functions, as values."""
    root = tmp_path / "r"
    many(root, 4)
    found = runark.scan(root)
    assert len(found) == 4 and found[0].path == os.fsencode(root / name(0))
    plan = runark.plan(root)
    assert len(plan.jobs) == 4 and plan.to_json()["sessions"] == 4
    result = runark.archive(plan)
    assert result.counts == {"archived": 4} and result.ok
    assert runark.verify(root).counts == {"sound": 4}
    listed = runark.list_archive(root)
    assert len(listed) == 4 and listed.to_json()["archives"] == 4
    members = runark.list_members(root / f"{name(0)}.tar.gz")
    assert [member.kind for member in members].count("dir") == 3
    assert runark.restore(root).counts == {"restored": 4}
