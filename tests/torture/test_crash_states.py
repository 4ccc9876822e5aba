"""Every state that a crash can leave of a batch of two sessions: the promise holds in it, and the next run
converges."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from runark.engine.protocol import Engine
from support import crash
from support.crash import Change, Sync, Write
from support.drive import archive, archive_all, jobs_of
from support.promise import archives_of, kept
from support.sessions import name
from support.torture import filesystem_of, record
from support.traced import CHANGES, Traced
from support.trees import Snapshot, Tree, make, snapshot

Effects = list[Change | Write | Sync]
HOW = {"fsync": False, "syncfs": True}
"""`ArchiveOptions.sync`, and whether names are taken to become durable in order."""


def _session(number: int) -> Tree:
    return {"d": {"b": f"{number}," * 200}, "a": f"{number}\n" * 300}


def _sessions(root: Path) -> list[Path]:
    return [root / name(i) for i in range(2)]


def _fill(root: Path) -> dict[Path, Snapshot]:
    return {session: snapshot(make(session, _session(i))) for i, session in enumerate(_sessions(root))}


@pytest.fixture
def memory() -> Iterator[Path]:
    """Thousands of states are made and recovered from: in memory."""
    where = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    yield Path(where)
    shutil.rmtree(where)


def _recorded(engine: Engine, disk: Path, how: str) -> tuple[Effects, dict[str, bytes]]:
    """The effects of archiving two sessions at once on a disk, and what was in each file that was written."""
    root = disk / "warm"
    root.mkdir()
    archive_all(engine, _fill(root), sync=how)
    root = disk / "r"
    root.mkdir()
    sessions = _fill(root)
    with Traced(
        lambda: archive_all(engine, sessions, sync=how, jobs=1), calls=("openat", "mkdirat", *CHANGES)
    ) as traced:
        assert {outcome.action for outcome in traced.answer()} == {"archived"}
        # The pure engine syncs with several threads; the order among them means nothing.
        calls = [call for call in traced.calls() if call.thread != traced.pid]
    effects = crash.effects_of(calls, root)
    content = {}
    for effect in effects:
        if isinstance(effect, Change) and effect.new.endswith(".tar.gz"):
            content[effect.old] = (root / effect.new).read_bytes()
    assert len(content) == 2, effects
    return effects, content


def _lost(
    engine: Engine, memory: Path, effects: Sequence[Change | Write | Sync], content: dict[str, bytes], ordered: bool
) -> tuple[int, list[str]]:
    """How many states there are, and what is wrong in which of them: before the next run and after it."""
    wrong: list[str] = []
    number = 0
    found = list(crash.states(effects, ordered=ordered))
    for begin in range(0, len(found), 500):
        roots: dict[Path, crash.State] = {}
        manifests: dict[Path, dict[Path, Snapshot]] = {}
        for state in found[begin : begin + 500]:
            number += 1
            root = memory / f"{number:06d}"
            root.mkdir()
            roots[root], manifests[root] = state, _fill(root)
            crash.build(state, root, content)
            for session, before in manifests[root].items():
                if not kept(session, before):
                    wrong.append(f"lost at once: {session.name} {sorted(os.listdir(root))} {state}")
        time.sleep(0.03)  # so that nothing looks as if it were still being written
        for _ in range(2):
            outcomes = archive(engine, jobs_of(engine, memory))
        for root, state in roots.items():
            for session, before in manifests[root].items():
                where = kept(session, before)
                if where not in (["archive"], ["source"]):
                    wrong.append(f"after the next run in {where}: {session.name} {sorted(os.listdir(root))} {state}")
            names = {path.name for session in manifests[root] for path in (session, *archives_of(session))}
            odd = {entry for entry in set(os.listdir(root)) - names if ".damaged-" not in entry}
            if odd:
                wrong.append(f"left over: {odd} {outcomes}")
            shutil.rmtree(root)
    return number, wrong


@pytest.mark.parametrize("how", HOW)
def test_every_state_a_crash_can_leave(engine: Engine, tmp_path: Path, memory: Path, how: str) -> None:
    effects, content = _recorded(engine, tmp_path, how)
    number, wrong = _lost(engine, memory, effects, content, HOW[how])
    assert not wrong, "\n".join(wrong[:10])
    assert number > (30 if HOW[how] else 100), number
    order = "names in order" if HOW[how] else "names in any order"
    record(f"every state after a crash, two sessions, {order}", number, engine.name, filesystem_of(tmp_path))


@pytest.mark.parametrize("how", HOW)
def test_no_sync_can_be_left_out(engine: Engine, tmp_path: Path, memory: Path, how: str) -> None:
    """The test of the test: without any one of the syncs, the model finds a state in which something is lost.

    With a journal that keeps the order of names, syncing the directory is not what the sessions rest on: it is there
    so that what is told to be archived stays so.
    """
    effects, content = _recorded(engine, tmp_path, how)
    syncs = [at for at, effect in enumerate(effects) if isinstance(effect, Sync)]
    assert len(syncs) == (2 if HOW[how] else 4), effects
    for at in syncs:
        _, wrong = _lost(engine, memory, [*effects[:at], *effects[at + 1 :]], content, HOW[how])
        needless = HOW[how] and effects[at] == Sync(".")
        assert bool(wrong) != needless, f"{effects[at]} of {effects}: {wrong[:3]}"
    record(
        "one sync left out: the model finds a loss", len(syncs), engine.name, filesystem_of(tmp_path), "found each time"
    )
