"""Rolling verification: parts, a time limit, and going on where the last run stopped."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from runark.archive.control import Control
from runark.archive.verify import verify
from runark.engine.protocol import Engine, Outcome
from runark.errors import InvalidArgument
from support.cli import runark
from support.drive import archive_one
from support.sessions import NAME, many
from support.trees import make, snapshot


@pytest.fixture
def root(tmp_path: Path, engine: Engine) -> Path:
    base = tmp_path / "project"
    for session in many(base / "FINISHED_SUCCESS", 12) + many(base / "FINISHED_ERROR", 3, start=12):
        archive_one(engine, session)
    return base


class Brief(Control):
    """Its time is over as soon as something is done."""

    def outcomes(self, found: Sequence[Outcome]) -> None:
        self.stop("budget")


def state(root: Path) -> Path:
    return root / ".runark" / "verify.json"


def test_each_archive_in_one_part(engine: Engine, root: Path) -> None:
    before = snapshot(root)
    seen: list[bytes] = []
    for part in range(1, 5):
        result = verify(root, subset=f"{part}/4", keep_outcomes=True, engine=engine.name)
        assert set(result.counts) <= {"sound"} and result.ok
        seen += [outcome.path for outcome in result.outcomes]
    assert sorted(seen) == sorted(bytes(path) for path in root.rglob("*.tar.gz"))
    today = verify(root, subset="today/4", engine=engine.name)
    assert today.counts.get("sound", 0) < 15
    assert snapshot(root) == before, "without a time limit nothing is written"


def test_runs_go_on_until_all_are_seen(engine: Engine, tmp_path: Path, root: Path) -> None:
    """Each run is stopped at its first outcomes; the large session keeps an engine from being done by then."""
    archive_one(engine, make(root / "FINISHED_ERROR" / (NAME + "-large"), {"zeros": bytes(96 << 20)}))
    seen: Counter[bytes] = Counter()
    runs = 0
    while True:
        control = Brief()
        result = verify(root, max_duration="1h", keep_outcomes=True, jobs=1, engine=engine.name, control=control)
        seen.update(outcome.path for outcome in result.outcomes if outcome.action == "sound")
        runs += 1
        assert runs < 20
        assert state(root).exists() == (result.stopped == "budget") == bool(result.left)
        if not result.stopped:
            break
    assert runs > 1
    assert set(seen) == {bytes(path) for path in root.rglob("*.tar.gz")} and set(seen.values()) == {1}
    assert result.counts["skipped"] == 16 - result.counts["sound"]
    assert result.reasons["skipped"] == {"verified by an earlier run": result.counts["skipped"]}


class Slow(Control):
    """Begins nothing before its time is over."""

    def begin(self, verb: str, jobs: int) -> None:
        while not self.stopped:
            time.sleep(0.001)


def test_the_time_is_over_while_it_searches(engine: Engine, root: Path) -> None:
    result = verify(root, max_duration=timedelta(milliseconds=1), engine=engine.name, control=Slow())
    assert result.stopped == "budget" and result.counts == {} and not state(root).exists()
    assert "before all archives were found" in result.notes[0]


def test_time_enough(engine: Engine, root: Path) -> None:
    for _ in range(2):
        result = verify(root, max_duration="1h", engine=engine.name)
        assert result.counts == {"sound": 15} and result.ok and not state(root).exists()


@pytest.mark.parametrize(
    "options",
    [
        {"subset": "3"},
        {"max_duration": "3"},
        {"max_duration": "2026-01-31"},
        {"max_duration": timedelta(0)},
        {"restart": True},
    ],
)
def test_bad_options(engine: Engine, root: Path, options: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        verify(root, engine=engine.name, **options)  # type: ignore[arg-type]


def test_command(engine: Engine, root: Path) -> None:
    words = ["--engine", engine.name, "verify", root]
    state(root).parent.mkdir()
    after = sorted(path.relative_to(root) for path in root.rglob("*.tar.gz"))[9]
    text = f'{{"schema":1,"subset":"1/1","after":"{after}","complete":false}}'
    state(root).write_text(text)
    assert runark(*words).ok().out.startswith(b"verify: 15 sound\n") and state(root).read_text() == text
    done = runark(*words, "--max-duration", "1h").ok()
    assert done.out.startswith(b"verify: 5 sound, 10 skipped\n  10 skipped: verified by an earlier run\n")
    assert not state(root).exists()
    state(root).write_text(text)
    assert runark(*words, "--max-duration", "1h", "--restart").ok().out.startswith(b"verify: 15 sound\n")
    state(root).write_text(text)
    assert runark(*words, "--max-duration", "1h", "--subset", "1/1000").ok().out.startswith(b"verify: ")
    archive_one(engine, make(root / (NAME + "-large"), {"zeros": bytes(96 << 20)}))
    assert b"stopped by a budget" in runark(*words, "--max-duration", "1us").expect(75).out
    for wrong in (["--max-duration", "2"], ["--subset", "5/3"], ["--restart"]):
        assert runark(*words, *wrong).expect(2).out == b""


def test_a_root_that_cannot_be_written(engine: Engine, root: Path) -> None:
    """It is verified all the same; the note comes only if there is something to keep."""
    (root / ".runark").write_text("in the way")
    assert verify(root, max_duration="1h", engine=engine.name).notes == ()
    control = Control(on_begin=lambda verb, _: control.stop("budget") if verb == "verify" else None)
    result = verify(root, max_duration="1h", engine=engine.name, control=control)
    assert result.left == 15 and "verify.json: not written" in result.notes[0]
    assert os.listdir(root).count(".runark") == 1
