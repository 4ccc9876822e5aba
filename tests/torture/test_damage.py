"""Archives that are not what was written, beside their sources, and seals that lie.

Each byte flipped and each length cut off: tests/conformance/test_verify.py.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from runark.engine.protocol import Engine
from support.drive import archive_one, verify
from support.promise import kept
from support.sessions import NAME
from support.torture import filesystem_of, record, some
from support.trees import make, snapshot

TREE = {"a": "1,2\n" * 30, "d": {"b": ""}}


def _archive(engine: Engine, root: Path, fmt: str) -> Path:
    root.mkdir()
    outcome = archive_one(engine, make(root / NAME, TREE), format=fmt, keep_source=True)
    assert outcome.action == "kept", outcome
    return root / f"{NAME}.{fmt}"


@pytest.mark.parametrize("fmt", ["tar.gz", "tar.zst"])
def test_a_damaged_archive_beside_its_source_is_made_anew(engine: Engine, tmp_path: Path, fmt: str) -> None:
    archive = _archive(engine, tmp_path / "r", fmt)
    session = tmp_path / "r" / NAME
    whole, before = archive.read_bytes(), snapshot(session)
    points = some(range(len(whole)), 25)
    remade = 0
    for at in points:
        shutil.rmtree(tmp_path / "r")
        archive = _archive(engine, tmp_path / "r", fmt)
        broken = bytearray(archive.read_bytes())
        broken[at] ^= 0x01
        archive.write_bytes(broken)
        outcome = archive_one(engine, session, format=fmt)
        assert outcome.action == "archived", (at, outcome)
        assert kept(session, before) == ["archive"], (at, outcome)
        aside = [entry for entry in os.listdir(tmp_path / "r") if ".damaged-" in entry or ".superseded-" in entry]
        assert len(aside) <= 1, (at, outcome)
        remade += len(aside)
    assert remade >= len(points) * 9 // 10
    record(
        f"damaged archive beside its source, {fmt}",
        len(points),
        engine.name,
        filesystem_of(tmp_path),
        "set aside, made anew",
    )


def test_the_seal_is_never_trusted_over_the_content(engine: Engine, tmp_path: Path) -> None:
    """The right seal in front of another content: sound as gzip, sound as tar, and refused."""
    archive = _archive(engine, tmp_path / "r", "tar.gz")
    session = tmp_path / "r" / NAME
    before = snapshot(session)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo(f"{NAME}/a")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
    data = stream.getvalue()
    head = archive.read_bytes()[:174]
    forged = head + gzip.compress(data, mtime=0)[10:]
    archive.write_bytes(forged)
    assert subprocess.run(("gzip", "-t", archive), check=False).returncode == 0
    assert verify(engine, [archive])[0].action == "damaged"
    outcome = archive_one(engine, session)
    assert (outcome.action, kept(session, before)) == ("archived", ["archive"]), outcome
    assert any(".damaged-" in entry for entry in os.listdir(tmp_path / "r"))
