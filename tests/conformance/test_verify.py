"""Verifying: no archive that lost a byte is called sound, by either engine, and both say the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runark.engine.protocol import FORMATS, Engine, Limits, Outcome
from runark.errors import ArchiveDamaged, SourceMissing
from support import reference, tarbytes, tools
from support.drive import archive_one, restore_one, verify, verify_one
from support.sessions import NAME, everything, plain
from support.torture import record
from support.trees import HardLink, Symlink, Tree, assert_same, make, snapshot

SMALL: Tree = {"a": "hello\n", "d": {"b": "x" * 600}}


def _corpus(directory: Path, archive: bytes, spoilt: list[bytes], suffix: str) -> list[Path]:
    directory.mkdir()
    paths = []
    for number, data in enumerate(spoilt):
        paths.append(directory / f"{number:05d}.{suffix}")
        paths[-1].write_bytes(data)
    return paths


def _everywhere(engines: list[Engine], paths: list[Path]) -> list[Outcome]:
    """Verdicts of the first engine; all others agree."""
    answers = [verify(engine, paths) for engine in engines]
    for engine, other in zip(engines[1:], answers[1:], strict=True):
        for one, two in zip(answers[0], other, strict=True):
            assert one.action == two.action, f"{engines[0].name}: {one}\n{engine.name}: {two}"
    return answers[0]


@pytest.mark.parametrize("fmt", FORMATS)
def test_truncated_at_every_byte(engines: list[Engine], tmp_path: Path, fmt: str) -> None:
    outcome = archive_one(engines[0], make(tmp_path / NAME, SMALL), format=fmt)
    data = Path(os.fsdecode(outcome.target)).read_bytes()
    step = 1 if len(data) < 2000 else 37
    cuts = sorted({*range(0, len(data), step), *range(max(0, len(data) - 1100), len(data), 7), len(data) - 1})
    paths = _corpus(tmp_path / "cut", data, [data[:cut] for cut in cuts], fmt)
    for cut, verdict in zip(cuts, _everywhere(engines, paths), strict=True):
        if fmt == "tar.zst" and cut == len(data) - 171:
            assert verdict.action == "unsealed"  # exactly the skippable frame is gone: a whole archive, but no seal
        else:
            assert verdict.action in ("damaged", "foreign"), f"cut at {cut} of {len(data)}: {verdict}"
    record(f"cut off, {fmt}", len(cuts), _names(engines), "-", "told")


@pytest.mark.parametrize("fmt", ["tar.gz", "tar.zst", "tar.xz"])
def test_each_byte_flipped(engines: list[Engine], tmp_path: Path, fmt: str) -> None:
    """What is still called sound decodes to the very same bytes and restores to the same tree."""
    session = make(tmp_path / NAME, SMALL)
    before = snapshot(session)
    outcome = archive_one(engines[0], session, format=fmt)
    data = Path(os.fsdecode(outcome.target)).read_bytes()
    places = list(range(len(data)))
    spoilt = [data[:i] + bytes([data[i] ^ (1 << (i % 8))]) + data[i + 1 :] for i in places]
    paths = _corpus(tmp_path / "flipped", data, spoilt, fmt)
    stream = tools.decoded(outcome.target)
    for place, path, verdict in zip(places, paths, _everywhere(engines, paths), strict=True):
        assert verdict.action != "unreadable", verdict
        if verdict.action in ("sound", "unsealed"):
            assert tools.decoded(path) == stream, f"a flipped bit was not seen at {place}"
            for engine in engines:
                dest = tmp_path / "dest"
                assert restore_one(engine, path, dest).action == "restored"
                found = dest / NAME if verdict.action == "unsealed" else dest
                assert_same(before, snapshot(found), ignore=("uid", "gid"))
                tools.quiet("rm", "-rf", str(dest))
    record(f"byte flipped, {fmt}", len(places), _names(engines), "-", "told, or the same content")


def _names(engines: list[Engine]) -> str:
    return ", ".join(engine.name for engine in engines)


def test_verdicts(engine: Engine, tmp_path: Path) -> None:
    """One of each verdict, in one task."""
    sound = archive_one(engine, make(tmp_path / NAME, plain())).target
    stream = tarbytes.joined([tarbytes.member(b"S/a", b"data")])
    files = {
        "plain.tar": (stream, "unsealed"),
        "other.tar.gz": (tarbytes.gz(stream), "unsealed"),
        "other.tar.xz": (tarbytes.xz(stream), "unsealed"),
        "cut.tar.gz": (Path(os.fsdecode(sound)).read_bytes()[:-9], "damaged"),
        "text.tar.gz": (tarbytes.gz(b"no tar in here, only words. " * 100), "foreign"),
        "text.tar": (b"no tar in here, only words. " * 100, "foreign"),
    }
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    found = verify(engine, [sound, *(tmp_path / name for name in files), tmp_path / "missing.tar.gz"])
    assert [outcome.action for outcome in found] == ["sound", *(verdict for _, verdict in files.values()), "unreadable"]
    assert found[0].entries > 0 and found[0].sha256
    assert found[-1].fault is not None and found[-1].fault.errno == 2


def test_verify_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    outcome = archive_one(engine, make(tmp_path / NAME, plain()))
    os.chmod(outcome.target, 0o400)
    before = snapshot(tmp_path)
    assert verify_one(engine, outcome.target).action == "sound"
    assert_same(before, snapshot(tmp_path))


def test_seals(engine: Engine, tmp_path: Path) -> None:
    """Seals come in the order asked; other archives have none; a missing one is a fault."""
    paths = []
    for fmt in FORMATS:
        (tmp_path / fmt).mkdir()
        paths.append(archive_one(engine, make(tmp_path / fmt / NAME, SMALL), format=fmt).target)
    (tmp_path / "foreign.tar.gz").write_bytes(tarbytes.gz(tarbytes.END))
    (tmp_path / "empty.tar.zst").write_bytes(b"")
    extra = [os.fsencode(tmp_path / name) for name in ("foreign.tar.gz", "empty.tar.zst", "missing.tar.gz")]
    gz, zst, xz, tar, foreign, empty, missing = engine.seals([*paths, *extra], 2)
    assert gz is not None and zst is not None
    assert gz[:4] == zst[:4]  # type: ignore[index]
    assert (xz, tar, foreign, empty) == (None, None, None, None)
    assert getattr(missing, "errno", 0) == 2 and getattr(missing, "path", b"") == extra[2]


def test_members(engines: list[Engine], tmp_path: Path) -> None:
    """Members as stored, in order, the same from every engine."""
    session = make(tmp_path / NAME, everything(tmp_path))
    before = snapshot(session)
    for fmt in FORMATS:
        target = archive_one(engines[0], session, format=fmt, keep_source=True).target
        lists = [engine.members(target, Limits()) for engine in engines]
        assert all(found == lists[0] for found in lists)
        members = lists[0]
        top = NAME.encode()
        ordered = sorted(before, key=reference.order)
        assert [m.path for m in members] == [top + (b"/" + p if p else b"") for p in ordered]
        for member in members:
            path = member.path[len(top) + 1 :]
            entry = before[path]
            if entry.group and entry.group != path:
                assert (member.kind, member.link) == ("hardlink", top + b"/" + entry.group)
                assert member.size == 0
            else:
                assert (member.kind, member.link) == (entry.kind, entry.link), member
                assert member.size == entry.size
            assert (member.uid, member.gid) == (entry.uid, entry.gid)
            assert member.mtime_ns == entry.mtime_ns
            if entry.kind != "symlink":
                assert member.mode == entry.mode
        os.unlink(target)


def test_members_of_what_cannot_be_read(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        engine.members(os.fsencode(tmp_path / "none.tar.gz"), Limits())
    outcome = archive_one(engine, make(tmp_path / NAME, {"a": HardLink(b"b"), "b": "1", "c": Symlink(b"a")}))
    data = Path(os.fsdecode(outcome.target)).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(data[:-20])
    with pytest.raises(ArchiveDamaged, match=r"cut\.tar\.gz"):
        engine.members(os.fsencode(tmp_path / "cut.tar.gz"), Limits())
