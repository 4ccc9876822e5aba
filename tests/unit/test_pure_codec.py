"""Seals and compressed frames of the pure engine."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import lzma
import os
import zlib
from pathlib import Path

import pytest

from runark.engine.protocol import FORMATS, ArchiveOptions, Limits, VerifyOptions
from runark.engine.pure import PureEngine, codec, seal
from runark.engine.pure.ends import Control, Damaged, Foreign
from runark.engine.pure.part import Part
from runark.errors import FormatUnavailable, InvalidArgument

CLAIM = seal.Claim("a5" * 32, 10_240, 7, 123)
NO_LIMITS = Limits()


def _write(path: Path, fmt: str, pieces: list[bytes]) -> seal.Claim:
    """An archive whose tar stream is these pieces and the end blocks."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        part = Part(fd, fmt, codec.check_format(fmt, None))
        for piece in pieces:
            part.add(piece)
        return part.finish(3, 4)
    finally:
        os.close(fd)


def _decode(path: Path, fmt: str, claim: seal.Claim | None = None) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        stream = codec.Stream(fd, path.stat().st_size, fmt, claim, NO_LIMITS, Control())
        return b"".join(stream.pieces(1 << 40))
    finally:
        os.close(fd)


def _read_seal(path: Path, fmt: str) -> seal.Claim | None:
    fd = os.open(path, os.O_RDONLY)
    try:
        return seal.read(fd, path.stat().st_size, fmt)
    finally:
        os.close(fd)


def test_seal_text() -> None:
    text = seal.text(CLAIM)
    assert len(text) == seal.LENGTH == 163
    assert seal.parse(text) == CLAIM
    for at in range(len(text)):
        assert seal.parse(text[:at] + b"+" + text[at + 1 :]) is None
    assert seal.parse(text + b" ") is None
    assert seal.parse(text[1:]) is None


def test_seal_frames() -> None:
    head = seal.gzip_head(CLAIM)
    assert head[:10] == b"\x1f\x8b\x08\x10\0\0\0\0\0\xff"
    assert len(head) == 174
    assert head[-1] == 0
    tail = seal.zstd_tail(CLAIM)
    assert tail[:8] == b"\x5e\x2a\x4d\x18\xa3\0\0\0"
    assert len(tail) == 171


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("size", [0, 1000, 9 << 20], ids=["empty", "small", "streamed"])
def test_there_and_back(fmt: str, size: int, tmp_path: Path) -> None:
    """Whole or streamed, the decoded stream is what went in, and the seal says so."""
    path = tmp_path / "a"
    piece = hashlib.sha256(b"x").digest() * 31 + bytes(8)
    pieces = [piece] * (size // len(piece))
    claim = _write(path, fmt, pieces)
    decoded = _decode(path, fmt)
    assert decoded == b"".join(pieces) + bytes(1024)
    assert claim == (hashlib.sha256(decoded).hexdigest(), len(decoded), 3, 4)
    assert _read_seal(path, fmt) == (claim if fmt in ("tar.gz", "tar.zst") else None)
    if fmt == "tar.gz":
        assert gzip.decompress(path.read_bytes()) == decoded
    if fmt == "tar.xz":
        assert lzma.decompress(path.read_bytes(), lzma.FORMAT_XZ) == decoded


def test_levels() -> None:
    assert codec.check_format("tar.gz", None) == 1
    assert codec.check_format("tar.xz", 0) == 0
    for fmt, level in (("tar.gz", 0), ("tar.gz", 10), ("tar.xz", 10), ("tar", 1), ("zip", None), ("tar.zst", 20)):
        with pytest.raises(InvalidArgument):
            codec.check_format(fmt, level)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"S.tar.gz", ("tar.gz", b"S")),
        (b"a.tar.tar.xz", ("tar.xz", b"a.tar")),
        (b"S.tar", ("tar", b"S")),
        (b"S.tgz", None),
        (b".tar.gz", None),
    ],
)
def test_format_of(name: bytes, expected: tuple[str, bytes] | None) -> None:
    assert codec.format_of(name) == expected


def test_several_members(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two"))
    assert _decode(path, "tar.gz") == b"one two"
    path.write_bytes(lzma.compress(b"one ") + bytes(8) + lzma.compress(b"two"))
    assert _decode(path, "tar.xz") == b"one two"


def test_broken_frames(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = os.urandom(50_000)
    for fmt, good in (("tar.gz", gzip.compress(data)), ("tar.xz", lzma.compress(data))):
        middle = len(good) // 2
        flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
        for bad in (good[:-1], good[:middle], good + b"x", good + bytes(3), flipped):
            path.write_bytes(bad)
            with pytest.raises(Damaged):
                _decode(path, fmt)
        path.write_bytes(b"PK" + good)
        with pytest.raises(Foreign):
            _decode(path, fmt)


def test_a_sealed_archive_is_one_member(tmp_path: Path) -> None:
    path = tmp_path / "a"
    claim = _write(path, "tar.gz", [b"data"])
    assert _decode(path, "tar.gz", claim) == b"data" + bytes(1024)
    path.write_bytes(path.read_bytes() + bytes(10))
    with pytest.raises(Damaged, match="behind the end"):
        _decode(path, "tar.gz", claim)


def test_bombs(tmp_path: Path) -> None:
    """What grows beyond its seal is stopped at once; without a seal, beyond a gigabyte and the ratio."""
    path = tmp_path / "a"
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    path.write_bytes(b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(64)) + squeeze.flush())
    with pytest.raises(Damaged, match="more than its seal says"):
        _decode(path, "tar.gz", CLAIM)


def test_without_zstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is begun without the codec, and an archive that needs it is no damaged archive."""
    archive = tmp_path / "S.tar.zst"
    _write(archive, "tar.zst", [])

    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(FormatUnavailable, match=r"pip install runark\[zstd\]"):
        PureEngine().archive([], ArchiveOptions(format="tar.zst"))
    task = PureEngine().verify([os.fsencode(archive)], VerifyOptions())
    outcomes = []
    while (some := task.poll(1)) is not None:
        outcomes += some
    assert [outcome.action for outcome in outcomes] == ["unreadable"]
    assert "runark[zstd]" in outcomes[0].reason
