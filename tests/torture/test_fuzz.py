"""Tar streams mutated at random: the engines agree, what they restore GNU tar restores alike, and nothing lands
outside.

Deterministic: a case is its number. A case that once went wrong stays in `REGRESSIONS`.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runark.engine.protocol import Engine, RestoreJob
from support.drive import archive_one, restore_all
from support.sessions import NAME
from support.torture import FULL, record
from support.trees import HardLink, Snapshot, Sparse, Symlink, differences, make, snapshot

CASES = 8000 if FULL else 300
REGRESSIONS: tuple[int, ...] = ()
BLOCK = 512
STARTED = time.time_ns()
_TIMES = re.compile(r"mtime_ns: (\d+) became (\d+)")
WORDS = (
    b"../x", b"/x", b"..", b"a/../../x", b"path=", b"linkpath=/etc/passwd\n", b"size=", b"GNU.sparse.major=1\n",
    b"SCHILY.xattr.user.a=b\n",
    b"mtime=-1\n", b"uid=", b"\0", b"\xff\xfe", b"9" * 12, b"7777777", b"\x80\0\0\0", b"ustar\x0000", b"ustar  \0",
    b"x", b"L", b"K", b"g", b"S", b"1", b"2", b"5",
)  # fmt: skip


@pytest.fixture
def memory() -> Iterator[Path]:
    where = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    yield Path(where)
    subprocess.run(("chmod", "-R", "u+rwx", where), check=False)
    shutil.rmtree(where)


def _seed_stream(engine: Engine, memory: Path) -> bytes:
    tree = {
        "a": "1\n" * 400, "d": {"b": "", "long" * 30: "x"}, "s": Symlink(b"a"), "h": HardLink(b"a"),
        "z": Sparse(1 << 16), "n" * 150: "n",
    }  # fmt: skip
    outcome = archive_one(engine, make(memory / NAME, tree), format="tar")
    assert outcome.action == "archived", outcome
    data = Path(os.fsdecode(outcome.target)).read_bytes()
    os.unlink(outcome.target)
    return data


def _mutated(stream: bytes, case: int) -> bytes:
    rng = random.Random(case)
    data = bytearray(stream)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        how = rng.randrange(7)
        block = rng.randrange(len(data) // BLOCK) * BLOCK
        at = block + rng.choice(
            (rng.randrange(BLOCK), rng.choice((0, 100, 108, 116, 124, 136, 148, 156, 157, 257, 265, 345)))
        )
        if how == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif how in (1, 2):
            word = rng.choice(WORDS)
            data[at : at + len(word)] = word
        elif how == 3:
            del data[block : block + BLOCK]
        elif how == 4:
            data[block:block] = data[(other := rng.randrange(len(data) // BLOCK) * BLOCK) : other + BLOCK]
        elif how == 5:
            del data[rng.randrange(len(data)) :]
        else:
            data[block : block + BLOCK] = bytes(BLOCK)
        if len(data) < 2 * BLOCK:
            return bytes(data)
    if rng.random() < 0.8:
        _mend_checksums(data)
    return bytes(data)


def _mend_checksums(data: bytearray) -> None:
    """Where a block looks like a header, give it the checksum it should have: else most cases end there."""
    for at in range(0, len(data) - BLOCK + 1, BLOCK):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + BLOCK])


def test_mutated_streams(engines: list[Engine], memory: Path) -> None:
    stream = _seed_stream(engines[0], memory)
    make(memory / "outside", {"precious": "p"})
    outside = snapshot(memory / "outside")
    work = memory / "w"
    restored = refused = compared = 0
    for begin in range(0, CASES, 100):
        cases = [*(REGRESSIONS if begin == 0 else ()), *range(begin, min(begin + 100, CASES))]
        work.mkdir()
        for case in cases:
            (work / f"{case}.tar").write_bytes(_mutated(stream, case))
        actions = []
        for engine in engines:
            jobs = [
                RestoreJob(os.fsencode(work / f"{case}.tar"), os.fsencode(work / f"{engine.name}{case}"))
                for case in cases
            ]
            outcomes = restore_all(engine, jobs)
            actions.append([outcome.action for outcome in outcomes])
            assert set(actions[-1]) <= {"restored", "damaged"}, outcomes
        for number, case in enumerate(cases):
            told = {engine.name: actions[i][number] for i, engine in enumerate(engines)}
            assert len(set(told.values())) == 1, (case, told)
            if actions[0][number] == "damaged":
                refused += 1
                continue
            restored += 1
            trees = [snapshot(work / f"{engine.name}{case}") for engine in engines]
            for tree in trees[1:]:
                found = _unlike(trees[0], tree)
                assert not found, (case, found[:5])
            compared += _like_tar(work, case, engines[0].name)
        assert snapshot(memory / "outside") == outside
        names = {entry for entry in os.listdir(work) if entry.startswith(".")}
        assert not names, names
        subprocess.run(("chmod", "-R", "u+rwx", work), check=True)
        shutil.rmtree(work)
    assert min(restored, refused, compared) >= CASES // 20, (restored, refused, compared)
    record(
        "mutated tar streams, both engines and GNU tar",
        CASES,
        ", ".join(engine.name for engine in engines),
        "tmpfs",
        "they agree",
    )


def _like_tar(work: Path, case: int, engine: str) -> int:
    """Whether GNU tar took the archive without a complaint; fails if it made something else of it."""
    out = work / f"tar{case}"
    out.mkdir()
    command = ("tar", "-xpf", work / f"{case}.tar", "-C", out, "--no-same-owner")
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or done.stderr:
        return 0
    tops = os.listdir(out)
    ours = work / f"{engine}{case}"
    theirs = out / NAME if tops == [NAME] and NAME not in os.listdir(ours) else out
    # Owners and special bits only when asked.
    found = _unlike(snapshot(theirs), snapshot(ours), ("uid", "gid", "mode", "xattrs"))
    assert not found, (case, found[:5])
    return 1


def _unlike(one: Snapshot, other: Snapshot, ignore: tuple[str, ...] = ()) -> list[str]:
    """The differences, but for times of directories that no member has set: those are from now."""
    found = differences(one, other, ignore)
    return [line for line in found if not any(int(ns) > STARTED for pair in _TIMES.findall(line) for ns in pair)]
