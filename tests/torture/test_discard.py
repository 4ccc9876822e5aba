"""Removing without an archive, killed, refused and raced at one system call after the other.

A session under its name is whole, what is left of one has a hidden name and can be finished, and nothing outside is
ever touched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runark.engine.protocol import DiscardJob, Engine, Outcome
from support.drive import discard_all, drain
from support.sessions import NAME
from support.torture import filesystem_of, record, some
from support.traced import CHANGES, LOOKS, Call, Traced
from support.traced import record as recorded
from support.trees import Snapshot, Symlink, Tree, assert_same, make, snapshot

ERRORS = ("EIO", "EACCES", "ENOENT", "EBUSY", "EINTR")
LEFT = f".{NAME}.discarding-"


def _session(outside: Path) -> Tree:
    link = Symlink(os.fsencode(outside))
    return {"a": "1", "logs": {"a.log": "x" * 99, "link": link}, "deep": {"er": {"file": "y"}}, "z": {}}


def _fresh(root: Path) -> Snapshot:
    """A session, and beside it what must stay."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    make(root / "outside", {"a": "precious", "logs": {"a.log": "precious"}, "deep": {"er": {"file": "precious"}}})
    return snapshot(make(root / NAME, _session(root / "outside")))


def _discarding(engine: Engine, path: Path) -> Callable[[], Outcome]:
    status = path.stat()
    return lambda: drain(engine.discard([DiscardJob(os.fsencode(path), status.st_dev, status.st_ino)], 1))[0]


def _points(engine: Engine, root: Path, names: tuple[str, ...]) -> list[Call]:
    _fresh(root)
    _discarding(engine, root / NAME)()  # imports are not what is tested
    _fresh(root)
    outcome, calls = recorded(_discarding(engine, root / NAME))
    assert outcome.action == "discarded"
    return [call for call in calls if call.name in names]


def _sound(engine: Engine, root: Path, before: Snapshot, outside: Snapshot, told: object) -> None:
    """Whole, or out of sight; and another discard finishes it."""
    if (root / NAME).exists():
        assert_same(before, snapshot(root / NAME))
    left = [path for path in os.listdir(root) if path.startswith(LEFT)]
    assert len(left) + (root / NAME).exists() <= 1, told
    outcomes = discard_all(engine, [root / name for name in [*left, NAME] if (root / name).exists()])
    assert all(outcome.action == "discarded" for outcome in outcomes), (told, outcomes)
    assert os.listdir(root) == ["outside"], told
    assert_same(outside, snapshot(root / "outside"))


@pytest.mark.parametrize("fault", ["signal=KILL", *(f"error={error}" for error in ERRORS)])
def test_stopped_while_discarding(engine: Engine, tmp_path: Path, fault: str) -> None:
    root = tmp_path / "r"
    points = some(_points(engine, root, CHANGES if "KILL" in fault else (*CHANGES, *LOOKS)), 12)
    assert len(points) >= 8
    for call in points:
        before = _fresh(root)
        outside = snapshot(root / "outside")
        with Traced(_discarding(engine, root / NAME), f"{call.name}:{fault}:when={call.nth}", (call.name,)) as traced:
            outcome = traced.answer()
        if "KILL" in fault:
            assert outcome is None, f"not killed at {call}"
        else:
            assert outcome.action in ("discarded", "failed", "changed", "skipped"), (call, outcome)
            left = [name for name in os.listdir(root) if name.startswith(LEFT)]
            assert [os.path.basename(os.fsdecode(outcome.target))] == (left or [""]), (call, outcome)
        _sound(engine, root, before, outside, (call, outcome))
    what = "kill -9" if "KILL" in fault else "error"
    record(
        f"{what} at a system call, discarding", len(points), engine.name, filesystem_of(tmp_path), "whole, or finished"
    )


@pytest.mark.parametrize(("at", "by"), [("", "link"), ("logs", "link"), ("deep", "link"), ("", "directory")])
def test_swapped_while_discarding(engine: Engine, tmp_path: Path, at: str, by: str) -> None:
    """At each system call the session, or a directory in it, becomes a link to what must stay, or another directory."""
    root = tmp_path / "r"
    points = some(_points(engine, root, (*CHANGES, "openat", "newfstatat", "statx", "getdents64")), 12)
    for call in points:
        _fresh(root)
        outside = snapshot(root / "outside")
        inject = f"{call.name}:signal=STOP:when={call.nth}"
        with Traced(_discarding(engine, root / NAME), inject, (call.name,)) as traced:
            if traced.until_stopped():
                _swap(root, at, by)
                traced.go_on()
            outcome = traced.answer()
        assert outcome.action in ("discarded", "changed", "failed", "skipped"), (call, outcome)
        assert_same(outside, snapshot(root / "outside"))
        if by == "directory":
            new = [path for path in root.rglob("mine") if path.read_text() == "new"]
            assert len(new) == (root / "swapped").exists(), (call, outcome)
    where = filesystem_of(tmp_path)
    record("swapped at a system call, discarding", len(points), engine.name, where, "nothing else removed")


def _swap(root: Path, at: str, by: str) -> None:
    """Under whatever name the session has by now."""
    for name in os.listdir(root):
        place = root / name / at if at else root / name
        if not name.startswith((NAME, LEFT)) or not place.is_dir():
            continue
        place.rename(root / "swapped")
        if by == "link":
            place.symlink_to(root / "outside" / at)
        else:
            make(place, {"mine": "new"})
