"""Archives that are not what was written: each byte flipped, cut off at each length, with a seal that lies."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from runark.engine.protocol import FORMATS, Engine, RestoreJob
from support.drive import archive_one, restore_all, verify
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


@pytest.mark.parametrize("fmt", FORMATS)
def test_each_byte_flipped(engine: Engine, tmp_path: Path, fmt: str) -> None:
    archive = _archive(engine, tmp_path / "r", fmt)
    before = snapshot(tmp_path / "r" / NAME)
    whole = archive.read_bytes()
    points = some(range(len(whole)), 600)
    made = []
    for at in points:
        broken = bytearray(whole)
        broken[at] ^= 0xFF if at % 2 else 0x01
        path = tmp_path / f"{at:06d}.{fmt}"
        path.write_bytes(broken)
        made.append(path)
    outcomes = verify(engine, made)
    silent = [path for path, outcome in zip(made, outcomes, strict=True) if outcome.action in ("sound", "unsealed")]
    restored = restore_all(engine, [_job(path) for path in silent], same_owner=True, special_modes=True)
    for path, outcome in zip(silent, restored, strict=True):
        # What goes through must be the same content; a plain tar has no checksum for that of its files.
        assert outcome.action == "restored", outcome
        if fmt != "tar":
            assert snapshot(_top(path)) == before, path
    # A compressor's tables have bits that say nothing; hardly more than that goes through where there is a seal.
    assert fmt not in ("tar.gz", "tar.zst") or len(silent) <= len(points) // 20, silent
    refused = [path for path, outcome in zip(made, outcomes, strict=True) if path not in silent]
    for outcome in restore_all(engine, [_job(path) for path in refused], same_owner=True, special_modes=True):
        assert outcome.action == "damaged", outcome
        assert outcome.reason or outcome.fault, outcome
        assert not os.path.exists(outcome.path[: -len(fmt) - 1]), outcome
    record(f"byte flipped, {fmt}", len(points), engine.name, filesystem_of(tmp_path), "told, or content the same")


def _job(path: Path) -> RestoreJob:
    return RestoreJob(os.fsencode(path), os.fsencode(path.parent / path.name.partition(".")[0]))


def _top(path: Path) -> Path:
    out = path.parent / path.name.partition(".")[0]
    inner = out / NAME
    return inner if inner.exists() else out


@pytest.mark.parametrize("fmt", FORMATS)
def test_cut_off_at_each_length(engine: Engine, tmp_path: Path, fmt: str) -> None:
    archive = _archive(engine, tmp_path / "r", fmt)
    whole = archive.read_bytes()
    # A plain tar may lose its padding behind the end mark and is still whole. A zstd archive that ends where its
    # seal begins is whole too: it could be anybody's, and `verify` calls it unsealed.
    end = len(whole) if fmt != "tar" else len(whole.rstrip(b"\0")) // 512 * 512
    bare = len(whole) - 171 if fmt == "tar.zst" else -1
    points = [length for length in some(range(end), 400) if not bare <= length < bare + 40]
    made = []
    for length in points:
        path = tmp_path / f"{length:06d}.{fmt}"
        path.write_bytes(whole[:length])
        made.append(path)
    for outcome in verify(engine, made):
        assert outcome.action in ("damaged", "foreign"), outcome
    for outcome in restore_all(engine, [_job(path) for path in made]):
        assert outcome.action == "damaged", outcome
    assert sorted(os.listdir(tmp_path)) == sorted(["r", *(path.name for path in made)])  # nothing half done
    record(f"cut off, {fmt}", len(points), engine.name, filesystem_of(tmp_path), "told")


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
