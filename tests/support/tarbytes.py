"""Tar bytes made by hand: blocks that are right, and, on request, wrong in exactly one place.

Nothing here knows `tarfile` or an engine, so that a mistake cannot hide by being made twice.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import struct
from collections.abc import Iterable
from typing import Any

__all__ = [
    "BLOCK",
    "END",
    "checksum",
    "gz",
    "header",
    "long",
    "member",
    "octal",
    "padded",
    "pax",
    "pax_body",
    "record",
    "seal_text",
    "sealed_gz",
    "xz",
]

BLOCK = 512
END = bytes(2 * BLOCK)


def octal(value: int, width: int) -> bytes:
    """`value` as octal digits and a NUL, `width` bytes together."""
    return b"%0*o\0" % (width - 1, value)


def checksum(block: bytes) -> bytes:
    """The block with its checksum field right."""
    plain = block[:148] + b" " * 8 + block[156:]
    return plain[:148] + b"%06o\0 " % sum(plain) + plain[156:]


def header(
    name: bytes = b"",
    *,
    typeflag: bytes = b"0",
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    size: int | bytes = 0,
    mtime: int | bytes = 1_700_000_000,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    uname: bytes = b"",
    gname: bytes = b"",
    major: bytes = b"0000000\0",
    minor: bytes = b"0000000\0",
    prefix: bytes = b"",
    raw_checksum: bytes | None = None,
) -> bytes:
    """One header block. Numbers are written as octal, bytes are put into the field as they are."""

    def number(value: int | bytes, width: int) -> bytes:
        return value.ljust(width, b"\0") if isinstance(value, bytes) else octal(value, width)

    fields = (
        name[:100].ljust(100, b"\0"),
        number(mode, 8),
        number(uid, 8),
        number(gid, 8),
        number(size, 12),
        number(mtime, 12),
        b" " * 8,
        typeflag,
        link[:100].ljust(100, b"\0"),
        magic.ljust(8, b"\0"),
        uname.ljust(32, b"\0"),
        gname.ljust(32, b"\0"),
        major,
        minor,
        prefix.ljust(155, b"\0"),
    )
    block = b"".join(fields).ljust(BLOCK, b"\0")
    if len(block) != BLOCK:
        raise AssertionError(f"a header of {len(block)} bytes: a field is too long")
    block = checksum(block)
    return block if raw_checksum is None else block[:148] + raw_checksum.ljust(8, b"\0") + block[156:]


def padded(data: bytes) -> bytes:
    """`data` filled with zeros up to a multiple of 512."""
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes = b"", **fields: Any) -> bytes:
    """A header and its data. The size is that of the data unless it is given."""
    fields.setdefault("size", len(data))
    return header(name, **fields) + padded(data)


def record(key: bytes, value: bytes) -> bytes:
    """One pax record with the right length."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while length != len(str(length)) + len(body):
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def pax_body(body: bytes, typeflag: bytes = b"x", size: int | bytes | None = None) -> bytes:
    """An extended header with this body, right or not."""
    return header(
        b"././@PaxHeader", typeflag=typeflag, size=len(body) if size is None else size, mtime=0
    ) + padded(body)  # fmt: skip


def pax(*records: tuple[bytes, bytes], typeflag: bytes = b"x") -> bytes:
    """An extended header (`g`: a global one) of these records."""
    return pax_body(b"".join(record(key, value) for key, value in records), typeflag)


def long(value: bytes, typeflag: bytes = b"L", size: int | bytes | None = None) -> bytes:
    """A GNU long name (`L`) or long link (`K`)."""
    body = value + b"\0"
    return header(
        b"././@LongLink", typeflag=typeflag, size=len(body) if size is None else size, mtime=0
    ) + padded(body)  # fmt: skip


# ------------------------------------------------------------------------------------------------ frames


def gz(stream: bytes) -> bytes:
    """The stream in one gzip member without a seal."""
    return gzip.compress(stream, 1, mtime=0)


def xz(stream: bytes) -> bytes:
    """The stream in one xz stream."""
    return lzma.compress(stream)


def seal_text(
    stream: bytes, entries: int, content: int, *, sha256: str | None = None, length: int | None = None
) -> bytes:
    """The 163 bytes of a seal; a digest or a length given by hand makes it lie."""
    digest = hashlib.sha256(stream).hexdigest() if sha256 is None else sha256
    size = len(stream) if length is None else length
    return b"runark.seal.1 sha256=%s stream=%020d entries=%012d content=%020d" % (
        digest.encode(),
        size,
        entries,
        content,
    )


def sealed_gz(stream: bytes, seal: bytes) -> bytes:
    """The stream in one gzip member whose comment is `seal`, as the format asks."""
    plain = gzip.compress(stream, 1, mtime=0)
    return b"\x1f\x8b\x08\x10" + struct.pack("<I", 0) + b"\x00\xff" + seal + b"\0" + plain[10:]


def joined(parts: Iterable[bytes]) -> bytes:
    """Members one after the other, then the end of the archive."""
    return b"".join(parts) + END
