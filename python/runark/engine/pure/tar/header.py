"""One ustar header block: building it and reading it strictly.

Building is the hot path of packing: what is the same for most members of a session (mode, owner, everything behind the
checksum) is formatted once, as a `Form`, with the sum of its bytes where it stands behind the checksum.

Reading accepts what `docs/archive-format.md`, section 7, says (ustar, GNU and v7 headers, octal and base-256 numbers)
and nothing else.
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

from runark.engine.pure.ends import Damaged

__all__ = [
    "BLOCK",
    "MAX_ID",
    "MAX_READ_ID",
    "MAX_SIZE",
    "MAX_TIME",
    "ZERO",
    "Form",
    "Header",
    "build",
    "extension",
    "looks_like",
    "make_form",
    "pad",
    "parse",
    "split",
]

BLOCK = 512
ZERO = bytes(BLOCK)

MAX_ID = 0o7777777  # largest uid and gid the ustar field holds
MAX_SIZE = 0o77777777777  # largest size
MAX_TIME = 0o77777777777  # largest second
MAX_READ_ID = (1 << 32) - 1  # largest uid and gid there can be
MAX_READ = 1 << 63  # no number of a header may reach this

_NAME_FIELD, _PREFIX_FIELD, _OWNER_FIELD = 100, 155, 32


class Header(NamedTuple):
    """The fields of a header block, as they stand in it. `path` is prefix and name joined."""

    path: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    flag: bytes
    link: bytes
    uname: bytes
    gname: bytes
    magic: str  # "ustar", "gnu" or "v7"


def pad(length: int) -> bytes:
    """The zeros that fill `length` bytes up to whole blocks."""
    return ZERO[: -length % BLOCK]


# ------------------------------------------------------------------------------------------------- building

_extensions: dict[tuple[bytes, int], bytes] = {}
_MOST_KNOWN = 4096
_CHECKSUM = 8 * 32  # it counts its own eight bytes as spaces


class Form(NamedTuple):
    """What many members have in common, formatted: kind, mode and owner."""

    owner: bytes  # the fields of mode, uid and gid
    tail: bytes  # everything behind the checksum, without link and prefix
    tail_sum: int  # of its bytes and the checksum's own
    records: dict[bytes, bytes]  # pax records for what does not fit its field
    flag: bytes
    uname: bytes
    gname: bytes


def _tail(flag: bytes, link: bytes, uname: bytes, gname: bytes, prefix: bytes) -> tuple[bytes, int]:
    """Everything behind the checksum, and the sum of its bytes."""
    tail = b"%b%bustar\x0000%b%b0000000\x000000000\x00%b" % (
        flag,
        link.ljust(_NAME_FIELD, b"\0"),
        uname.ljust(_OWNER_FIELD, b"\0"),
        gname.ljust(_OWNER_FIELD, b"\0"),
        prefix.ljust(_PREFIX_FIELD + 12, b"\0"),
    )
    return tail, sum(tail) + _CHECKSUM


def make_form(
    flag: bytes, mode: int, uid: int, gid: int, uname: bytes, gname: bytes, records: dict[bytes, bytes] | None = None
) -> Form:
    """All values must fit their fields; the writer sees to that."""
    owner = b"%07o\0%07o\0%07o\0" % (mode, uid, gid)
    return Form(owner, *_tail(flag, b"", uname, gname, b""), records or {}, flag, uname, gname)


def build(form: Form, name: bytes, size: int, mtime: int, link: bytes = b"", prefix: bytes = b"") -> bytes:
    """A header block. All values must fit their fields; the writer sees to that."""
    tail, tail_sum = form.tail, form.tail_sum
    if link or prefix:
        tail, tail_sum = _tail(form.flag, link, form.uname, form.gname, prefix)
    head = b"%b%b%011o\0%011o\0" % (name.ljust(_NAME_FIELD, b"\0"), form.owner, size, mtime)
    # the low half of an Adler-32 that begins with 0 is the sum of the bytes, if these are at most 256
    return b"%b%06o\0 %b" % (head, (zlib.adler32(head, 0) & 0xFFFF) + tail_sum, tail)


def extension(flag: bytes, size: int) -> bytes:
    """The header block in front of a long name (`L`), a long link (`K`) or pax records (`x`) of `size` bytes."""
    known = _extensions.get((flag, size))
    if known is None:
        name = b"././@PaxHeader" if flag == b"x" else b"././@LongLink"
        known = build(make_form(flag, 0o644, 0, 0, b"", b""), name, size, 0)
        if len(_extensions) < _MOST_KNOWN:
            _extensions[(flag, size)] = known
    return known


def split(path: bytes) -> tuple[bytes, bytes] | None:
    """`path` as (prefix, name) for the ustar fields, or None if it fits neither way."""
    if len(path) <= _NAME_FIELD:
        return b"", path
    cut = path.rfind(b"/", 1, min(_PREFIX_FIELD + 1, len(path) - 1))
    if cut < 0 or len(path) - cut - 1 > _NAME_FIELD:
        return None
    return path[:cut], path[cut + 1 :]


# -------------------------------------------------------------------------------------------------- reading

_octal = re.compile(rb" *([0-7]*)[ \0]*").fullmatch


def _number(field: bytes, what: str, path: bytes, *, signed: bool = False) -> int:
    """The number in an octal or base-256 field.

    Raises `Damaged` for junk, overflow and (unless `signed`) negative numbers.
    """
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        if value >> (bits - 1):
            value -= 1 << bits
    else:
        match = _octal(field)
        if match is None:
            raise Damaged(f"its {what} is not a number", path)
        if not match[1] and what == "size":  # what follows cannot be guessed
            raise Damaged("its size is blank", path)
        value = int(match[1] or b"0", 8)
    if (value < 0 and not signed) or not -MAX_READ < value < MAX_READ:
        raise Damaged(f"its {what} {value} is out of range", path)
    return value


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _checksum(block: bytes) -> int:
    """The sum of the block's bytes with the checksum field as spaces."""
    return sum(block) - sum(block[148:156]) + 256


def looks_like(block: bytes) -> bool:
    """Whether the first block of a stream can be a tar header: right checksum, or a magic word in its place."""
    if len(block) < BLOCK:
        return False
    if block[257:262] == b"ustar" or block == ZERO:
        return True
    match = _octal(block[148:156])
    return match is not None and bool(match[1]) and int(match[1], 8) == _checksum(block)


def parse(block: bytes) -> Header:
    """The fields of a header block that is not all zeros. Raises `Damaged` naming the member."""
    name = _text(block[:100])
    match = _octal(block[148:156])
    if match is None or not match[1]:
        raise Damaged("its header has no checksum", name)
    if int(match[1], 8) != _checksum(block):
        raise Damaged("its header has a bad checksum", name)
    mark = block[257:265]
    path = name
    if mark == b"ustar\x0000":
        magic = "ustar"
        prefix = _text(block[345:500])
        if prefix:
            path = prefix + b"/" + name
    elif mark == b"ustar  \0":
        magic = "gnu"
    elif mark == b"\0\0\0\0\0\0\0\0":
        magic = "v7"
    else:
        raise Damaged("its header is of an unknown kind of tar", name)
    owners = magic != "v7"
    uid, gid = _number(block[108:116], "uid", path), _number(block[116:124], "gid", path)
    if uid > MAX_READ_ID or gid > MAX_READ_ID:
        raise Damaged("its header has an owner that cannot be", path)
    return Header(
        path,
        _number(block[100:108], "mode", path) & 0o7777,
        uid,
        gid,
        _number(block[124:136], "size", path),
        _number(block[136:148], "mtime", path, signed=True),
        block[156:157],
        _text(block[157:257]),
        _text(block[265:297]) if owners else b"",
        _text(block[297:329]) if owners else b"",
        magic,
    )
