"""The archive engine knows these directories: scan, archive, restore, verify and doctor on a base."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import runark
from runark.engine.protocol import Engine
from runark.errors import OperationFailed
from runark.workdir import SessionDir
from support.trees import assert_same, make, snapshot
from support.workdirs import ended, held, killed


def command(engine: Engine, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "runark", "--engine", engine.name, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("prefix", ["session_", "job-", ""])
def test_by_command(engine: Engine, base: Path, prefix: str) -> None:
    sessions = ended(base, 3, prefix=prefix)
    make(base / f"{prefix}2026-02-13-14-30-15_nomarker", {"a": "b"})
    before = {path: snapshot(path) for path in sessions}
    told = command(engine, "scan", base)
    assert "3 sessions found" in told and told.count("workdir") == 3
    assert all(path.name in told for path in sessions) and "nomarker" not in told
    command(engine, "archive", base, "--execute")
    assert sorted(path.name for path in base.glob("*.tar.gz")) == [f"{path.name}.tar.gz" for path in sessions]
    assert not any(path.exists() for path in sessions)
    assert "3" in command(engine, "verify", base)
    command(engine, "restore", base, "--execute", "--remove-archive")
    for path in sessions:
        assert_same(before[path], snapshot(path))
    assert SessionDir(base, prefix=prefix, max_session_dirs=0).prune() == sessions, "what comes back is one of ours"


def test_a_format_of_ones_own(engine: Engine, base: Path) -> None:
    """With the rule of docs/workdir.md."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "workdir.md").read_text()
    rule = page.partition("```yaml\n")[2].partition("```")[0]
    with SessionDir(base, prefix="job_", timestamp_format="%Y%m%dT%H%M%S").create() as session:
        pass
    assert len(runark.scan(base, engine=engine.name)) == 0
    (base / "runark.yaml").write_text(rule)
    (row,) = runark.scan(base, engine=engine.name)
    assert (row.path, row.layout) == (os.fsencode(session.path), "jobs") and row.started is not None


def test_retention_by_age(engine: Engine, base: Path) -> None:
    old, new = ended(base, 2)
    for path in (old, *old.iterdir()):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    todo = runark.plan(base, filters=runark.Filters(older_than="30d"), layouts=["workdir"], engine=engine.name)
    assert [job.path for job in todo.jobs] == [os.fsencode(old)]
    assert new.exists()


def test_a_running_session_is_not_archived(engine: Engine, base: Path) -> None:
    dead = killed(base)
    with held(base) as other, SessionDir(base).create() as own:
        todo = runark.plan(base, engine=engine.name)
        assert [job.path for job in todo.jobs] == [os.fsencode(dead)]
        assert todo.skipped == {"alive": 2}
        with pytest.raises(OperationFailed, match="another process is working on it"):
            runark.archive_sessions([own.path], engine=engine.name)
        assert own.path.is_dir() and other.is_dir()


def test_doctor_explains_what_an_interrupted_pruning_left(engine: Engine, base: Path) -> None:
    (session,) = ended(base)
    left = base / f".{session.name}.discarding-0123456789abcdef"
    session.rename(left)
    (finding,) = runark.examine(base, engine=engine.name).findings
    assert (finding.path, finding.state) == (os.fsencode(left), "discard")
    assert "next pruning" in finding.then
    assert len(runark.plan(base, engine=engine.name).jobs) == 0
    SessionDir(base).prune()
    assert os.listdir(base) == []
