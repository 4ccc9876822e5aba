"""The restore drill: what comes back is compared, whatever is wrong is told, and scratch is left as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runark.archive import drill as module
from runark.archive.control import Control
from runark.archive.drill import drill
from runark.archive.result import Result
from runark.engine.protocol import FORMATS, Engine, Limits, Member, Outcome, RestoreJob, RestoreOptions, Task
from runark.errors import InvalidArgument, NotADirectory, SourceMissing, UnsafePath
from support import privileges, tarbytes
from support.cli import clean_environment, executable, runark
from support.drive import archive_one
from support.sessions import everything, many, name, plain
from support.trees import Dir, File, HardLink, Symlink, make, snapshot


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def root(tmp_path: Path, engine: Engine) -> Path:
    """Six archives."""
    base = tmp_path / "project"
    for session in many(base / "FINISHED_SUCCESS", 6):
        archive_one(engine, session)
    return base


def archives(root: Path) -> list[Path]:
    return sorted(root.rglob("*.tar*"))


def run(*paths: Path, engine: Engine, scratch: Path, number: int = 100, **options: Any) -> Result:
    """A drill that must leave the archives, all around them and scratch as they were."""
    before = [snapshot(path) for path in paths if path.is_dir()]
    result = drill(*paths, number=number, scratch=scratch, engine=engine.name, keep_outcomes=True, **options)
    assert [snapshot(path) for path in paths if path.is_dir()] == before
    assert os.listdir(scratch) == []
    return result


@pytest.mark.parametrize("fmt", FORMATS)
def test_everything_comes_back(engine: Engine, tmp_path: Path, scratch: Path, fmt: str) -> None:
    base = tmp_path / "project"
    base.mkdir()
    archive_one(engine, make(base / name(1), everything(base)), format=fmt)
    archive_one(engine, make(base / name(2), Dir({"shut": Dir({"f": "x"}, mode=0o500)})), format=fmt, keep_source=True)
    result = run(base, engine=engine, scratch=scratch)
    sealed = fmt in ("tar.gz", "tar.zst")
    assert result.counts == {"sound" if sealed else "unsealed": 2} and result.ok and result.left == 0
    assert result.reasons == {} and all(outcome.sha256 for outcome in result.outcomes)
    assert [outcome.path for outcome in sorted(result.outcomes, key=lambda one: one.path)] == [
        bytes(path) for path in archives(base)
    ]


def test_by_chance_and_by_seed(engine: Engine, root: Path, scratch: Path) -> None:
    def taken(seed: int | None) -> list[bytes]:
        found = run(root, engine=engine, scratch=scratch, number=3, seed=seed)
        assert found.counts == {"sound": 3}
        return [outcome.path for outcome in found.outcomes]

    assert taken(7) == taken(7)
    assert len({tuple(sorted(taken(seed))) for seed in range(4)}) > 1
    assert len(set(taken(None))) == 3


def test_damage_is_told(engine: Engine, root: Path, scratch: Path) -> None:
    flipped, cut, empty, foreign, dangling, *_ = archives(root)
    data = bytearray(flipped.read_bytes())
    data[300] ^= 1
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-100])
    empty.write_bytes(b"")
    foreign.write_bytes(b"no archive at all" * 100)
    result = run(root, engine=engine, scratch=scratch)
    assert result.counts == {"sound": 2, "damaged": 4} and not result.ok
    assert {outcome.path for outcome in result.problems} == set(map(bytes, (flipped, cut, empty, foreign)))
    for outcome in result.problems:
        assert outcome.reason and outcome.fault is not None and outcome.fault.path == outcome.path
    dangling.unlink()
    with pytest.raises(SourceMissing):
        drill(dangling, number=1, scratch=scratch, engine=engine.name)


class Sloppy:
    """An engine that restores, and then does something to what it has restored."""

    def __init__(self, engine: Engine, what: Any) -> None:
        self._engine, self._what = engine, what

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._engine, verb)

    def restore(self, jobs: Sequence[RestoreJob], options: RestoreOptions) -> Task:
        task = self._engine.restore(jobs, options)
        while True:
            outcomes = task.poll(1.0)
            assert outcomes is not None
            if outcomes:
                break
        before = [os.stat(job.dest) for job in jobs]
        for job, status in zip(jobs, before, strict=True):
            self._what(Path(os.fsdecode(job.dest)))
            if os.path.isdir(job.dest):
                os.utime(job.dest, ns=(status.st_mtime_ns, status.st_mtime_ns))
        return Given(outcomes)


class Given:
    """A task that is done."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        self._outcomes: list[Outcome] | None = outcomes

    def poll(self, timeout: float) -> list[Outcome] | None:
        given, self._outcomes = self._outcomes, None
        return given

    def cancel(self) -> None:
        pass

    def progress(self) -> Any:
        from runark.engine.protocol import Progress

        return Progress(1, 1, 0, 0)


def _one_byte(tree: Path) -> None:
    path = tree / "results.csv"
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "what",
    [
        _one_byte,
        lambda tree: (tree / "results.csv").chmod(0o640),
        lambda tree: (tree / "results.csv").unlink(),
        lambda tree: (tree / "new").write_text(""),
        lambda tree: os.utime(tree / "results.csv"),
    ],
    ids=["byte", "mode", "missing", "more", "time"],
)
def test_a_bad_restore_is_told(
    engine: Engine, root: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, what: Any
) -> None:
    monkeypatch.setattr(module, "load", lambda _: Sloppy(engine, what))
    result = run(archives(root)[0], engine=engine, scratch=scratch)
    (problem,) = result.problems
    assert problem.action == "damaged" and problem.reason.startswith("what was restored differs: ")


@pytest.mark.root
def test_without_the_right_to_give_files_away(engine: Engine, tmp_path: Path, scratch: Path) -> None:
    base = tmp_path / "project"
    base.mkdir()
    tree = {"f": File(b"x" * 100, owner=(1001, 1002)), "link": Symlink(b"f"), "same": HardLink(b"f")}
    archive_one(engine, make(base / name(1), tree))
    assert run(base, engine=engine, scratch=scratch).counts == {"sound": 1}
    done = subprocess.run(
        [
            "setpriv", "--bounding-set=-chown", "--inh-caps=-chown", executable(), "--engine", engine.name,
            "verify", str(base), "--drill", "1", "--scratch", str(scratch),
        ],
        capture_output=True, env=clean_environment(), check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b""), done
    assert b"drill: 1 sound" in done.stdout
    assert (
        b"has another owner" in done.stdout and b"names, kinds, modes, sizes, times and links compared" in done.stdout
    )
    assert os.listdir(scratch) == []


def test_renamed_archives_and_those_of_others(engine: Engine, root: Path, tmp_path: Path, scratch: Path) -> None:
    moved = tmp_path / "renamed.tar.gz"
    archives(root)[0].rename(moved)
    (outcome,) = run(moved, engine=engine, scratch=scratch).outcomes
    assert outcome.action == "sound" and "renamed since it was packed" in outcome.reason

    tree = make(tmp_path / "theirs", {"d": {"f": "hello", "g": Symlink(b"f")}, "h": HardLink(b"d/f"), **plain()})
    for words in (["-C", str(tmp_path), "theirs"], ["-C", os.fsdecode(tree), "."]):
        theirs = tmp_path / "theirs.tar.gz"
        subprocess.run(["tar", "-czf", theirs, *words], check=True)
        (outcome,) = run(theirs, engine=engine, scratch=scratch).outcomes
        assert outcome.action == "unsealed", outcome
        theirs.unlink()


def test_no_room(engine: Engine, root: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize, f_files, f_favail = 1, 4096, 100, 1000

    monkeypatch.setattr(os, "statvfs", lambda _: Full)
    result = run(root, engine=engine, scratch=scratch, number=1)
    (problem,) = result.problems
    assert problem.action == "failed" and "no room" in problem.reason and "4096 are free" in problem.reason
    Full.f_bavail, Full.f_favail = 1_000_000, 3
    (problem,) = run(root, engine=engine, scratch=scratch, number=1).problems
    assert "inodes" in problem.reason


@pytest.mark.mounts
def test_a_full_scratch(engine: Engine, tmp_path: Path, scratch: Path) -> None:
    """Without a seal nothing says how much it takes: it shows when it is full."""
    base = tmp_path / "project"
    base.mkdir()
    archive_one(engine, make(base / name(1), {"f": bytes(8 << 20)}), format="tar.xz")
    with privileges.mounted(scratch, "size=1m"):
        (problem,) = run(base, engine=engine, scratch=scratch).problems
    assert problem.action == "failed" and "No space left" in problem.reason


def test_where_scratch_may_be(engine: Engine, root: Path, tmp_path: Path) -> None:
    for place, error in (
        (root, UnsafePath),
        (root / "FINISHED_SUCCESS", UnsafePath),
        (tmp_path / "missing", SourceMissing),
        (archives(root)[0], NotADirectory),
        ("", SourceMissing),
    ):
        with pytest.raises(error, match=r"^scratch: "):
            drill(root, number=1, scratch=place, engine=engine.name)
    (root / "s").mkdir()
    (tmp_path / "around").symlink_to(root / "s")
    with pytest.raises(UnsafePath):
        drill(root, number=1, scratch=tmp_path / "around", engine=engine.name)
    with pytest.raises(UnsafePath):
        drill(archives(root)[0], number=1, scratch=archives(root)[0].parent, engine=engine.name)
    with pytest.raises(InvalidArgument):
        drill(root, number=0, engine=engine.name)


def test_stopped(engine: Engine, root: Path, scratch: Path) -> None:
    control = Control(on_outcomes=lambda _: control.stop())
    result = run(root, engine=engine, scratch=scratch, number=5, control=control)
    assert result.stopped == "interrupted" and result.counts == {"sound": 1} and result.left == 4


def test_stopped_while_it_copies(engine: Engine, root: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = Control()
    copy = module.Scratch.copy

    def interrupted(self: Any, archive: bytes, given: Control) -> bytes:
        control.stop("budget")
        return copy(self, archive, given)

    monkeypatch.setattr(module.Scratch, "copy", interrupted)
    result = run(root, engine=engine, scratch=scratch, number=5, control=control)
    assert result.counts == {"cancelled": 1} and result.left == 5 and result.stopped == "budget"


def test_the_members_are_looked_at_one_by_one() -> None:
    def members(**changed: Any) -> dict[bytes, Member]:
        file = Member(b"f", "file", 0o644, 0, 0, b"", b"", 5, 1, b"")
        link = Member(b"l", "symlink", 0o777, 0, 0, b"", b"", 0, 1, b"f")
        hard = Member(b"h", "hardlink", 0o644, 0, 0, b"", b"", 0, 1, b"f")
        return {one.path: one for one in (file._replace(**changed), link, hard)}

    assert module._difference(members(), members(uid=5, gid=5, uname=b"x", gname=b"y")) == ""
    for changed in ({"mode": 0o600}, {"size": 6}, {"mtime_ns": 2}, {"kind": "fifo"}, {"path": b"g"}):
        assert module._difference(members(), members(**changed)), changed
    other = members()
    other[b"l"] = other[b"l"]._replace(link=b"g")
    assert module._difference(members(), other)
    more = {**members(), b"new": members()[b"f"]._replace(path=b"new")}
    assert module._difference(members(), more)
    assert not module._difference(members(), {**members(), b"d": Member(b"d", "dir", 0, 0, 0, b"", b"", 0, 0, b"")})


def test_limits(engine: Engine, root: Path, scratch: Path) -> None:
    result = run(root, engine=engine, scratch=scratch, number=1, limits=Limits(max_entries=2))
    assert result.counts == {"damaged": 1}


def test_command(engine: Engine, root: Path, scratch: Path, tmp_path: Path) -> None:
    words = ["--engine", engine.name, "verify", root, "--drill", 2, "--scratch", scratch, "--seed", 5]
    done = runark(*words).ok()
    assert done.out.startswith(b"drill: 2 sound\n") and done.err == b""
    events = tmp_path / "events"
    done = runark(*words, "--json", "--events", events).ok()
    assert done.json()["what"] == "drill" and done.json()["counts"] == {"sound": 2}
    assert len(events.read_bytes().splitlines()) == 2
    assert runark(*words, "-q").ok() == (0, b"", b"")
    shutil.copy(archives(root)[0], tmp_path / "spoilt.tar.gz")
    with open(tmp_path / "spoilt.tar.gz", "r+b") as stream:
        stream.seek(300)
        stream.write(b"xx")
    done = runark("verify", tmp_path / "spoilt.tar.gz", "--drill", 1, "--scratch", scratch, "-q").expect(3)
    assert b"damaged" in done.err and b"spoilt.tar.gz" in done.err and b"runark-drill" not in done.err
    (tmp_path / "t").mkdir()
    runark("verify", root, "--drill", 1, TMPDIR=str(tmp_path / "t")).ok()
    assert os.listdir(tmp_path / "t") == [] == os.listdir(scratch)
    runark(*words, "--subset", "1/2").expect(2)
    runark("verify", root, "--seed", 1).expect(2)
    runark("verify", root, "--drill", 1, "--scratch", root).expect(2)
    runark("verify", root, "--drill", 0).expect(2)


def test_hostile_archives_leave_nothing_behind(engine: Engine, tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "evil.tar"
    path.write_bytes(tarbytes.joined([tarbytes.member(b"../evil", b"x")]))
    (outcome,) = run(path, engine=engine, scratch=scratch).outcomes
    assert outcome.action == "damaged" and not list(tmp_path.glob("**/evil"))
    assert outcome.path == bytes(path)
