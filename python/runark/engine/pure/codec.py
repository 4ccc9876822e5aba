"""Compression: encoders that make one frame, decoders that read any number of them, and the decoded stream with its
digest.

Encoders come in two forms with one meaning: `encode` for a session that is in memory, `encoder` for one that is
streamed. Neither writes the seal's place; `head_room` and `seal.py` say where that is.

`Stream` decodes an archive from an open file: strictly (checksums, lengths, nothing behind the end), in chunks of
bounded size, with SHA-256 and length taken on the way. It never trusts the seal; who reads it compares at the end.

zstd needs `compression.zstd` (Python 3.14) or the package `backports.zstd`; without it the format is unavailable.
"""

from __future__ import annotations

import hashlib
import importlib
import lzma
import os
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

from runark.engine.protocol import FORMATS, Limits
from runark.engine.pure import seal
from runark.engine.pure.ends import Control, Damaged, Foreign
from runark.errors import FormatUnavailable, InvalidArgument

__all__ = ["CHUNK", "Encoder", "Stream", "check_format", "encode", "encoder", "format_of", "head_room"]

CHUNK = 1 << 20
"""Bytes decoded (or packed) at a time."""

_LEVELS = {"tar.gz": (1, 9, 1), "tar.zst": (1, 19, 3), "tar.xz": (0, 9, 6)}
_XZ_MEMORY = 256 << 20  # level 9 needs 65 MiB
_ZSTD_WINDOW = 27  # log2; what `zstd -d` accepts without being told
_GIB = 1 << 30

_RAW, _GZIP, _ZSTD, _XZ = "tar", "tar.gz", "tar.zst", "tar.xz"
_MAGIC = {_GZIP: b"\x1f\x8b", _ZSTD: b"\x28\xb5\x2f\xfd", _XZ: b"\xfd7zXZ\0"}


def _zstd() -> Any:
    """The zstd module. Raises `FormatUnavailable`."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise FormatUnavailable("tar.zst needs a zstd module for Python: pip install runark[zstd]")


def check_format(name: str, level: int | None) -> int:
    """The compression level to use for a format. Raises `InvalidArgument` or `FormatUnavailable`."""
    if name not in FORMATS:
        raise InvalidArgument(f"unknown archive format '{name}'; known are {', '.join(FORMATS)}")
    if name == _RAW:
        if level is not None:
            raise InvalidArgument("format 'tar' is not compressed: it has no level")
        return 0
    lowest, highest, usual = _LEVELS[name]
    if level is not None and not lowest <= level <= highest:
        raise InvalidArgument(f"level {level} is not one of format '{name}': {lowest} to {highest}")
    if name == _ZSTD:
        _zstd()
    return usual if level is None else level


def format_of(name: bytes) -> tuple[str, bytes] | None:
    """The format an archive's name says, and the name without that suffix; None for a name of another kind."""
    for fmt in FORMATS:
        suffix = b"." + fmt.encode("ascii")
        if name.endswith(suffix) and len(name) > len(suffix):
            return fmt, name[: -len(suffix)]
    return None


# ------------------------------------------------------------------------------------------------- encoding


class Encoder(Protocol):
    """Makes one frame, piece by piece."""

    def write(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class _Plain:
    def write(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Gzip:
    """A gzip member without its first ten bytes: the sealed header stands there."""

    def __init__(self, level: int) -> None:
        self._encoder = zlib.compressobj(level, zlib.DEFLATED, 31)
        self._drop = 10

    def write(self, data: bytes) -> bytes:
        out = self._encoder.compress(data)
        if self._drop:
            dropped, self._drop = self._drop, max(0, self._drop - len(out))
            return out[dropped:]
        return out

    def finish(self) -> bytes:
        return self._encoder.flush()[self._drop :]


class _Compressor:
    """An lzma or zstd compressor object under our names."""

    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor

    def write(self, data: bytes) -> bytes:
        out: bytes = self._compressor.compress(data)
        return out

    def finish(self) -> bytes:
        out: bytes = self._compressor.flush()
        return out


def encoder(name: str, level: int) -> Encoder:
    """An encoder for a stream of unknown length."""
    if name == _GZIP:
        return _Gzip(level)
    if name == _XZ:
        return _Compressor(lzma.LZMACompressor(format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=level))
    if name == _ZSTD:
        zstd = _zstd()
        return _Compressor(zstd.ZstdCompressor(options=_zstd_options(zstd, level)))
    return _Plain()


def _zstd_options(zstd: Any, level: int) -> dict[Any, int]:
    return {zstd.CompressionParameter.compression_level: level, zstd.CompressionParameter.checksum_flag: 1}


def encode(name: str, level: int, data: bytes) -> bytes:
    """The frame of a whole stream, without the seal's place: what `encoder` gives, in one call."""
    if name == _GZIP:
        whole = zlib.compressobj(level, zlib.DEFLATED, 31)
        return (whole.compress(data) + whole.flush())[10:]
    if name == _RAW:
        return data
    if name == _ZSTD:
        zstd = _zstd()
        # in one call the frame says its content's size
        frame: bytes = zstd.compress(data, options=_zstd_options(zstd, level))
        return frame
    one = encoder(name, level)
    return one.write(data) + one.finish()


def head_room(name: str) -> int:
    """Bytes in front of the frame that are filled in when the seal is known."""
    return seal.GZIP_HEAD if name == _GZIP else 0


# ------------------------------------------------------------------------------------------------- decoding


class _Input:
    """The bytes of an archive file, in pieces."""

    def __init__(self, fd: int, control: Control) -> None:
        self._fd = fd
        self._control = control
        self.ahead = b""

    def read(self) -> bytes:
        """The next piece, empty at the end of the file. Raises `OSError`, `Cancelled`."""
        if self.ahead:
            data, self.ahead = self.ahead, b""
            return data
        self._control.check()
        return os.read(self._fd, CHUNK)

    def peek(self, count: int) -> bytes:
        """The next `count` bytes without taking them; fewer only at the end of the file."""
        while len(self.ahead) < count:
            data = os.read(self._fd, CHUNK)
            if not data:
                break
            self.ahead += data
        return self.ahead[:count]


def _raw(source: _Input) -> Iterator[bytes]:
    while data := source.read():
        yield data


def _gunzip(source: _Input, frames: list[int]) -> Iterator[bytes]:
    while source.peek(2) == _MAGIC[_GZIP]:
        frames[0] += 1
        decoder = zlib.decompressobj(31)
        pending = b""
        while not decoder.eof:
            pending = pending or source.read()
            if not pending:
                raise Damaged("the gzip data is cut off")
            try:
                out = decoder.decompress(pending, CHUNK)
            except zlib.error as cause:
                raise Damaged(f"the gzip data is broken: {cause}") from None
            pending = decoder.unconsumed_tail
            if out:
                yield out
        source.ahead = decoder.unused_data + source.ahead
    if source.peek(1):
        raise Damaged("there is something behind the end of the gzip data")


def _unxz(source: _Input, frames: list[int]) -> Iterator[bytes]:
    while source.peek(6) == _MAGIC[_XZ]:
        frames[0] += 1
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        yield from _pull(decoder, source, lzma.LZMAError, "xz")
        # stream padding: whole groups of four zeros
        while source.peek(4) == b"\0\0\0\0":
            source.ahead = source.ahead[4:]
    if source.peek(1):
        raise Damaged("there is something behind the end of the xz data")


def _unzstd(source: _Input, frames: list[int]) -> Iterator[bytes]:
    zstd = _zstd()
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
    while head := source.peek(4):
        if len(head) == 4 and head[0] & 0xF0 == 0x50 and head[1:] == b"\x2a\x4d\x18":
            _skip_frame(source)
            continue
        if head != _MAGIC[_ZSTD]:
            raise Damaged("there is something behind the end of the zstd data")
        frames[0] += 1
        yield from _pull(zstd.ZstdDecompressor(options=options), source, zstd.ZstdError, "zstd")


def _skip_frame(source: _Input) -> None:
    head = source.peek(8)
    left = 8 + int.from_bytes(head[4:], "little")
    while left:
        data = source.read()
        if not data:
            raise Damaged("a skippable zstd frame is cut off")
        source.ahead = data[left:]
        left -= min(left, len(data))


def _pull(decoder: Any, source: _Input, error: type[Exception], word: str) -> Iterator[bytes]:
    """One frame through a decompressor of the lzma kind."""
    while not decoder.eof:
        data = b""
        if decoder.needs_input:
            data = source.read()
            if not data:
                raise Damaged(f"the {word} data is cut off")
        try:
            out = decoder.decompress(data, CHUNK)
        except error as cause:
            raise Damaged(f"the {word} data is broken or asks for too much memory: {cause}") from None
        if out:
            yield out
    source.ahead = decoder.unused_data + source.ahead


class Stream:
    """The tar stream of an archive, decoded as it is taken.

    `fd` must stand at the file's beginning; `size` is the file's size. Everything raises `Damaged` for what cannot be
    decoded or goes over the limits, `OSError` for what cannot be read, `FormatUnavailable` without the codec,
    `Cancelled`.
    """

    def __init__(
        self, fd: int, size: int, fmt: str, claim: seal.Claim | None, limits: Limits, control: Control
    ) -> None:
        source = _Input(fd, control)
        head = source.peek(6)
        magic = _MAGIC.get(fmt, b"")
        if not head.startswith(magic) and not (fmt == _ZSTD and head[1:4] == b"\x2a\x4d\x18"):
            raise Foreign(f"it is not a {fmt} file")
        self.frames = [0]
        if fmt == _GZIP:
            self._chunks = _gunzip(source, self.frames)
        elif fmt == _XZ:
            self._chunks = _unxz(source, self.frames)
        elif fmt == _ZSTD:
            self._chunks = _unzstd(source, self.frames)
        else:
            self._chunks = _raw(source)
        self._sealed = claim is not None
        self._most = claim.stream if claim is not None else _GIB + limits.max_ratio * size
        self._hash = hashlib.sha256()
        self._buffer = b""
        self._position = 0
        self._control = control
        self.length = 0

    def _fill(self) -> bool:
        """Replace the used-up buffer by the next chunk; False at the end."""
        chunk = next(self._chunks, b"")
        self._buffer = chunk
        self._position = 0
        if not chunk:
            return False
        self._hash.update(chunk)
        self.length += len(chunk)
        if self.length > self._most:
            if self._sealed:
                raise Damaged("it holds more than its seal says")
            raise Damaged("it grows beyond the limit for its size when decoded (max_ratio)")
        self._control.moved(len(chunk))
        return True

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes; fewer only at the end of the stream. For headers, not for content."""
        start = self._position
        stop = start + count
        if stop <= len(self._buffer):
            self._position = stop
            return self._buffer[start:stop]
        parts = [self._buffer[start:]]
        missing = count - len(parts[0])
        while missing:
            if not self._fill():
                break
            parts.append(self._buffer[:missing])
            self._position = len(parts[-1])
            missing -= self._position
        return b"".join(parts)

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes in pieces of bounded size; fewer in sum only at the end of the stream."""
        while count:
            if self._position >= len(self._buffer) and not self._fill():
                return
            piece = self._buffer[self._position : self._position + count]
            self._position += len(piece)
            count -= len(piece)
            yield piece

    def digest(self) -> str:
        """SHA-256 of what was decoded so far, hex. The whole stream's once `take` gave nothing."""
        return self._hash.hexdigest()
