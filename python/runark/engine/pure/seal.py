"""The seal: 163 bytes of ASCII that state what an archive holds, readable without decoding (`docs/archive-format.md`,
section 6).

In `tar.gz` it is the gzip header's comment, in `tar.zst` a skippable frame at the end; `tar.xz` and `tar` have none.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

__all__ = [
    "GZIP_HEAD",
    "LENGTH",
    "MARK",
    "SKIPPABLE",
    "ZSTD_TAIL",
    "Claim",
    "gzip_head",
    "parse",
    "read",
    "text",
    "zstd_tail",
]

MARK = b"runark.seal."
LENGTH = 163
GZIP_HEAD = 10 + LENGTH + 1  # bytes of a sealed gzip header: fixed part, seal, NUL
SKIPPABLE = b"\x5e\x2a\x4d\x18" + LENGTH.to_bytes(4, "little")
ZSTD_TAIL = len(SKIPPABLE) + LENGTH
_GZIP = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff"  # deflate, with a comment, no time, no extra flags, system unknown

_seal = re.compile(
    rb"runark\.seal\.1 sha256=([0-9a-f]{64}) stream=([0-9]{20}) entries=([0-9]{12}) content=([0-9]{20})"
).fullmatch


_WORDS = (b"runark.seal.1 sha256=", b" stream=", b" entries=", b" content=")


class Claim(NamedTuple):
    """What a seal says: SHA-256 (hex) and length of the tar stream, number of members, bytes of content."""

    sha256: str
    stream: int
    entries: int
    content: int


def text(claim: Claim) -> bytes:
    """The 163 bytes of the seal."""
    return b"runark.seal.1 sha256=%b stream=%020d entries=%012d content=%020d" % (
        claim.sha256.encode("ascii"),
        claim.stream,
        claim.entries,
        claim.content,
    )


def parse(data: bytes) -> Claim | None:
    """The claim in exactly these bytes, None if they are not a seal of this version."""
    match = _seal(data)
    if match is None:
        return None
    return Claim(match[1].decode("ascii"), int(match[2]), int(match[3]), int(match[4]))


def gzip_head(claim: Claim) -> bytes:
    """The whole gzip header of a sealed archive (174 bytes)."""
    return _GZIP + text(claim) + b"\0"


def zstd_tail(claim: Claim) -> bytes:
    """The skippable frame at the end of a sealed zstd archive (171 bytes)."""
    return SKIPPABLE + text(claim)


def is_broken(fd: int, size: int, fmt: str) -> bool:
    """Whether there was a seal in its place that cannot be read any more (or one of a later version).

    Two of its four words are enough to tell: such an archive is not taken for somebody else's, which has none. Raises
    `OSError`.
    """
    if fmt not in ("tar.gz", "tar.zst"):
        return False
    place = os.pread(fd, GZIP_HEAD, 0 if fmt == "tar.gz" else max(0, size - ZSTD_TAIL))
    if fmt == "tar.gz" and not place.startswith(_GZIP[:2]):
        return False  # not even gzip
    return sum(word in place for word in _WORDS) >= 2 and read(fd, size, fmt) is None


def read(fd: int, size: int, fmt: str) -> Claim | None:
    """The seal of the open archive of `size` bytes and this format, None if it has none. Raises `OSError`."""
    if fmt == "tar.gz":
        head = os.pread(fd, GZIP_HEAD, 0)
        if len(head) == GZIP_HEAD and head.startswith(_GZIP) and head[-1] == 0:
            return parse(head[10:-1])
    elif fmt == "tar.zst" and size >= ZSTD_TAIL:
        tail = os.pread(fd, ZSTD_TAIL, size - ZSTD_TAIL)
        if tail.startswith(SKIPPABLE):
            return parse(tail[len(SKIPPABLE) :])
    return None
