"""The functions SciTeX's users know."""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path

import pytest
from test_plan import make, name

import runark
from runark import engine as choice
from runark.engine.protocol import Engine
from runark.errors import ArchiveDamaged, InvalidArgument, SessionSkipped, SourceMissing, TargetExists, UnsafePath


@pytest.fixture(autouse=True)
def in_use(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """These functions take no engine; `auto` is each of those that are installed."""
    monkeypatch.setitem(choice._choices, "auto", choice.Choice(engine, "the one under test"))


def test_names_and_defaults() -> None:
    def defaults(function: object) -> list[tuple[str, object]]:
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]  # type: ignore[arg-type]

    none = inspect.Parameter.empty
    assert defaults(runark.archive_session_dir) == [
        ("src_dir", none), ("format", "tar.gz"), ("remove_src", True), ("compresslevel", 1),
    ]  # fmt: skip
    assert defaults(runark.restore_session_archive) == [
        ("archive_path", none), ("dest_dir", None), ("remove_archive", False),
    ]  # fmt: skip
    assert defaults(runark.archive_existing) == [
        ("root", none), ("older_than_days", None), ("format", "tar.gz"), ("pattern", None), ("dry_run", True),
        ("max_dirs", None), ("track_bytes", False), ("use_fd", True),
    ]  # fmt: skip
    assert defaults(runark.restore_existing) == [
        ("root", none), ("pattern", "*.tar.gz"), ("dest_root", None), ("remove_archive", False), ("dry_run", True),
        ("max_files", None), ("track_bytes", False),
    ]  # fmt: skip


@pytest.mark.parametrize("format", ["tar.gz", "tar.xz", "tar"])
def test_one_session_there_and_back(tmp_path: Path, format: str) -> None:
    session = make(tmp_path / "results of today")
    archive = runark.archive_session_dir(session, format=format)
    assert archive == tmp_path / f"results of today.{format}" and not session.exists()
    assert runark.restore_session_archive(archive) == session
    assert (session / "logs" / "stdout.log").read_text() == "hello\n" and archive.exists()
    with pytest.raises(TargetExists):
        runark.restore_session_archive(archive)
    elsewhere = runark.restore_session_archive(archive, dest_dir=tmp_path / "a" / "b", remove_archive=True)
    assert elsewhere == tmp_path / "a" / "b" and (elsewhere / "logs").is_dir() and not archive.exists()


def test_keeping_the_source(tmp_path: Path) -> None:
    session = make(tmp_path / name(1))
    archive = runark.archive_session_dir(str(session), remove_src=False)
    assert session.exists() and archive.exists()
    # Again, now removing: the archive that is there is compared with the session and stands.
    before = archive.stat()
    assert runark.archive_session_dir(session) == archive
    assert not session.exists() and archive.stat().st_ino == before.st_ino


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make(tmp_path / name(1))
    with pytest.raises(InvalidArgument):
        runark.archive_session_dir(session, format="zip")
    with pytest.raises(ValueError, match="level"):
        runark.archive_session_dir(session, compresslevel=11)
    with pytest.raises(FileNotFoundError):
        runark.archive_session_dir(tmp_path / "nothing")
    with pytest.raises(NotADirectoryError):
        runark.archive_session_dir(session / "logs" / "stdout.log")
    os.mknod(session / "socket", 0o140644)
    with pytest.raises(SessionSkipped, match="socket"):
        runark.archive_session_dir(session)
    monkeypatch.chdir(session)
    for path in (".", "logs/..", session, tmp_path, "/"):
        with pytest.raises(UnsafePath):
            runark.archive_session_dir(path)
    assert (session / "logs" / "stdout.log").exists()
    with pytest.raises(SourceMissing):
        runark.restore_session_archive(tmp_path / "nothing.tar.gz")
    (tmp_path / "x.tar.gz").write_bytes(b"no archive at all")
    with pytest.raises((ArchiveDamaged, OSError)):
        runark.restore_session_archive(tmp_path / "x.tar.gz")
    assert sorted(os.listdir(tmp_path)) == sorted([name(1), "x.tar.gz"])


def test_bulk(tmp_path: Path) -> None:
    for number in range(4):
        make(tmp_path / name(number))
    make(tmp_path / "other")
    make(tmp_path / "below" / name(5))
    dry = runark.archive_existing(tmp_path)
    assert dry == {
        "scanned": 6,
        "candidates": 4,
        "archived": 0,
        "skipped": 0,
        "failed": 0,
        "bytes_in": 0,
        "bytes_out": 0,
    }
    assert runark.archive_existing(tmp_path, track_bytes=True)["bytes_in"] == 24
    assert runark.archive_existing(tmp_path, max_dirs=2)["candidates"] == 2
    assert runark.archive_existing(tmp_path, pattern="30m02s")["candidates"] == 1
    assert not (tmp_path / ".runark").exists()
    done = runark.archive_existing(tmp_path, dry_run=False, max_dirs=2, track_bytes=True, use_fd=False)
    assert (done["candidates"], done["archived"], done["bytes_in"]) == (2, 2, 12) and done["bytes_out"] > 0
    assert runark.archive_existing(tmp_path) == {**dry, "candidates": 2}
    assert (tmp_path / "below" / name(5)).exists()

    assert runark.restore_existing(tmp_path) == {
        "scanned": 2,
        "candidates": 2,
        "restored": 0,
        "skipped": 0,
        "failed": 0,
    }
    assert runark.restore_existing(tmp_path, max_files=1, dry_run=False)["restored"] == 1
    back = runark.restore_existing(tmp_path, dry_run=False, remove_archive=True)
    assert back == {"scanned": 2, "candidates": 1, "restored": 1, "skipped": 1, "failed": 0}
    assert len(list(tmp_path.glob("*.tar.gz"))) == 1
    assert runark.restore_existing(tmp_path, pattern="*.tar.xz")["scanned"] == 0
    assert runark.restore_existing(tmp_path, dest_root=tmp_path / "new", dry_run=False)["restored"] == 1
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_age_is_that_of_the_newest_entry_and_fractions_count(tmp_path: Path) -> None:
    session = make(tmp_path / name(1))
    log = session / "logs" / "stdout.log"
    os.utime(log, (time.time() - 0.6 * 86_400,) * 2)
    assert runark.archive_existing(tmp_path, older_than_days=0.5)["candidates"] == 1
    assert runark.archive_existing(tmp_path, older_than_days=0.7)["candidates"] == 0
    assert runark.archive_existing(tmp_path, older_than_days=1)["candidates"] == 0


def test_what_runs_is_no_candidate(tmp_path: Path) -> None:
    make(tmp_path / "RUNNING" / name(1))
    assert runark.archive_existing(tmp_path / "RUNNING", dry_run=False)["candidates"] == 0
    assert (tmp_path / "RUNNING" / name(1)).exists()
