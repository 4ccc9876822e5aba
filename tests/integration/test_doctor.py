"""`runark doctor`: explains every kind of leftover, and does with it what the next run would do."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runark import examine, treat
from runark.engine.protocol import Engine
from support.drive import archive_one
from support.promise import kept
from support.sessions import many, name, plain
from support.trees import make, snapshot

X = "0123456789abcdef"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "r"
    many(root, 8)
    return root


def _kept(engine: Engine, session: Path) -> None:
    assert archive_one(engine, session, keep_source=True).action == "kept"


def _told(engine: Engine, root: Path) -> dict[str, tuple[str, str, str]]:
    found = examine(root, engine=engine.name)
    return {os.fsdecode(one.path)[len(str(root)) + 1 :]: (one.state, one.what, one.then) for one in found.findings}


def test_nothing_to_tell(engine: Engine, root: Path) -> None:
    assert _told(engine, root) == {}
    assert len(examine(root, engine=engine.name).treatable.jobs) == 0


def test_every_kind(engine: Engine, root: Path) -> None:
    sessions = [root / name(i) for i in range(8)]
    before = {session: snapshot(session) for session in sessions}
    (root / f".{name(0)}.tar.gz.{X}.part").write_bytes(b"half")
    _kept(engine, sessions[1])
    _kept(engine, sessions[2])
    with open(f"{sessions[2]}.tar.gz", "r+b") as file:
        file.seek(300)
        file.write(b"spoilt")
    _kept(engine, sessions[3])
    os.rename(sessions[3], root / f".{name(3)}.removing-{X}")
    (root / f".{name(3)}.removing-{X}" / "results.csv").unlink()
    os.rename(sessions[4], root / f".{name(4)}.removing-{X}")
    make(root / f".{name(5)}.restoring-{X}", {"a": "b"})
    (root / f".{name(5)}.tar.gz.damaged-{X}").write_bytes(b"old")
    (root / f".{name(9)}.tar.gz.{X}.part").write_bytes(b"orphan")
    (root / "RUNNING").mkdir()
    make(root / "RUNNING" / name(20), {"CONFIGS": {"CONFIG.yaml": f"PID: 4194304999\nHOST: {os.uname().nodename}\n"}})
    make(root / "RUNNING" / name(21), plain())
    alive = f"PID: {os.getpid()}\nHOST: {os.uname().nodename}\n"
    make(root / "RUNNING" / name(22), {"CONFIGS": {"CONFIG.yaml": alive}})
    (root / ".runark").mkdir()
    (root / ".runark" / "lock").touch()
    (root / ".runark" / "holder.json").write_text("{}")
    told = _told(engine, root)
    assert {path: state for path, (state, _, _) in told.items()} == {
        f".{name(0)}.tar.gz.{X}.part": "part",
        f"{name(1)}.tar.gz": "both",
        f"{name(2)}.tar.gz": "both",
        f".{name(3)}.removing-{X}": "tombstone",
        f".{name(4)}.removing-{X}": "tombstone",
        f".{name(5)}.restoring-{X}": "staging",
        f".{name(5)}.tar.gz.damaged-{X}": "aside",
        f".{name(9)}.tar.gz.{X}.part": "part",
        f"RUNNING/{name(20)}": "ghost",
        f"RUNNING/{name(21)}": "ghost",
        ".runark/holder.json": "lock",
    }
    assert "damaged" in told[f"{name(2)}.tar.gz"][1]
    assert "with a sound archive" in told[f".{name(3)}.removing-{X}"][1]
    assert "without a sound archive" in told[f".{name(4)}.removing-{X}"][1]
    assert "its process has ended" in told[f"RUNNING/{name(20)}"][1]
    treated = treat(examine(root, engine=engine.name))
    assert treated.counts == {"archived": 4, "failed": 1}, treated.outcomes  # the renaming back is told as a failure
    for i in (0, 1, 2, 3):
        assert kept(sessions[i], before[sessions[i]]) == ["archive"], i
    for i in (4, 5, 6, 7):
        assert kept(sessions[i], before[sessions[i]]) == ["source"], i
    assert sorted(_told(engine, root)) == sorted((
        f".{name(2)}.tar.gz.damaged-{_aside(root, name(2))}", f".{name(5)}.restoring-{X}",
        f".{name(5)}.tar.gz.damaged-{X}", f".{name(9)}.tar.gz.{X}.part", f"RUNNING/{name(20)}", f"RUNNING/{name(21)}",
    ))  # fmt: skip


def _aside(root: Path, session: str) -> str:
    (found,) = (entry for entry in os.listdir(root) if entry.startswith(f".{session}.tar.gz.damaged-"))
    return found.rpartition("-")[2]


def test_what_another_run_holds_is_left_to_it(engine: Engine, root: Path) -> None:
    part = root / f".{name(0)}.tar.gz.{X}.part"
    part.write_bytes(b"half")
    with open(part) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (finding,) = examine(root, engine=engine.name).findings
        assert finding.what == "a part file that another run is writing"
        assert treat(examine(root, engine=engine.name)).counts == {"skipped": 1}
    assert part.exists()


def test_command(engine: Engine, root: Path) -> None:
    _kept(engine, root / name(1))
    command = (sys.executable, "-m", "runark", "--engine", engine.name, "doctor", str(root))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"both: {root}/{name(1)}.tar.gz"
    assert done.stdout.splitlines()[-1] == "1 finding"
    assert "add --execute" in done.stderr
    document = json.loads(subprocess.run((*command, "--json"), capture_output=True, check=True).stdout)
    assert (document["what"], [one["state"] for one in document["findings"]]) == ("doctor", ["both"])
    done = subprocess.run((*command, "--execute", "--keep-source"), capture_output=True, text=True, check=True)
    assert (root / name(1)).exists()
    subprocess.run((*command, "--execute", "--quiet"), check=True)
    assert not (root / name(1)).exists()
    assert (root / name(0)).exists()  # nothing is wrong with this one
