"""One member of the stream: extensions, pax records and the ustar header (`docs/archive-format.md`, sections 2 and 3).

The end-of-archive blocks and the compressor belong to the caller.
"""

from __future__ import annotations

from runark.engine.pure.tar import pax
from runark.engine.pure.tar.header import (
    BLOCK,
    MAX_ID,
    MAX_SIZE,
    MAX_TIME,
    Form,
    build,
    extension,
    make_form,
    pad,
    split,
)

__all__ = ["DIRECTORY", "END", "FIFO", "FILE", "HARDLINK", "SYMLINK", "Form", "TooLarge", "form", "member"]

FILE, HARDLINK, SYMLINK, DIRECTORY, FIFO = b"0", b"1", b"2", b"5", b"6"
END = bytes(1024)

MAX_METADATA = 1 << 20  # bytes of one member's pax records
_SECOND = 10**9
_MTIME = [extension(b"x", size) for size in range(64)]  # headers in front of a record of so many bytes


class TooLarge(Exception):
    """A member's pax records are larger than the format allows."""


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _long(flag: bytes, text: bytes) -> bytes:
    size = len(text) + 1
    return extension(flag, size) + text + b"\0" + pad(size)


def form(flag: bytes, mode: int, uid: int, gid: int, uname: bytes, gname: bytes) -> Form:
    """What members of this kind, mode and owner have in common."""
    records = {}
    if uid > MAX_ID:
        records[b"uid"] = b"%d" % uid
        uid = 0
    if gid > MAX_ID:
        records[b"gid"] = b"%d" % gid
        gid = 0
    if len(uname) > 31:
        if _is_utf8(uname):
            records[b"uname"] = uname
        uname = b""
    if len(gname) > 31:
        if _is_utf8(gname):
            records[b"gname"] = gname
        gname = b""
    return make_form(flag, mode & 0o7777, uid, gid, uname, gname, records)


def member(
    path: bytes,
    form: Form,
    size: int,
    mtime_ns: int,
    link: bytes = b"",
    extra: dict[bytes, bytes] | None = None,
) -> bytes:
    """All header blocks of one member.

    `path`: as stored, with the trailing slash of a directory. `size`: bytes of data that follow. `extra`: pax records
    about the content (attributes, ACLs, sparse). Raises `TooLarge`.
    """
    mtime, nanos = divmod(mtime_ns, _SECOND)
    if link or extra or form.records or len(path) > 100 or not 0 <= mtime <= MAX_TIME or size > MAX_SIZE:
        return _unusual(path, form, size, mtime_ns, link, {**form.records, **(extra or {})})
    block = build(form, path, size, mtime)
    if not nanos:
        return block
    body = pax.mtime_record(mtime, nanos)
    return _MTIME[len(body)] + body.ljust(BLOCK, b"\0") + block


def _unusual(path: bytes, form: Form, size: int, mtime_ns: int, link: bytes, records: dict[bytes, bytes]) -> bytes:
    """The same for a member of which something does not fit its field."""
    front = prefix = b""
    name = path
    if len(path) > 100:
        fields = split(path)
        if fields is not None:
            prefix, name = fields
        else:
            name = path[:100]
            if _is_utf8(path):
                records[b"path"] = path
            else:
                front = _long(b"L", path)
    if len(link) > 100:
        if _is_utf8(link):
            records[b"linkpath"] = link
        else:
            front += _long(b"K", link)
        link = link[:100]
    mtime, nanos = divmod(mtime_ns, _SECOND)
    if not 0 <= mtime <= MAX_TIME:
        records[b"mtime"] = pax.decimal_time(mtime_ns)
        mtime = 0
    if size > MAX_SIZE:
        records[b"size"] = b"%d" % size
        size = 0
    block = build(form, name, size, mtime, link, prefix)
    if records:
        if nanos:
            records[b"mtime"] = pax.decimal_time(mtime_ns)
        body = pax.body(records)
    elif nanos:
        body = pax.mtime_record(mtime, nanos)
    else:
        return front + block
    length = len(body)
    if length <= BLOCK:
        return b"%b%b%b%b" % (front, extension(b"x", length), body.ljust(BLOCK, b"\0"), block)
    if length > MAX_METADATA:
        raise TooLarge
    return b"%b%b%b%b%b" % (front, extension(b"x", length), body, pad(length), block)
