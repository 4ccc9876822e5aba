"""The archive format a third time: the tar stream a session must become, written from the page of the format alone.

Slow and simple on purpose. Both engines must produce exactly these bytes; where they do not, the page decides who
is wrong.
"""

from __future__ import annotations

import functools
import grp
import os
import pwd
import stat
import struct

from support.tarbytes import END, header, long, padded, pax
from support.trees import PathLike

__all__ = ["order", "tar_stream"]


def order(path: bytes) -> bytes:
    """The key by which members are sorted: the bytes of the path below the session, `/` the smallest of them."""
    return path.replace(b"/", b"\0")


_SIZE_LIMIT = 0o77777777777
_ID_LIMIT = 0o7777777


def tar_stream(session: PathLike) -> tuple[bytes, int, int]:
    """The stream for the directory `session`, the number of members and the bytes of content."""
    top = os.path.abspath(os.fsencode(session))
    name = os.path.basename(top)
    paths = sorted(_walk(top, b""), key=order)
    first: dict[tuple[int, int], bytes] = {}
    out: list[bytes] = []
    content = 0
    for path in paths:
        real = top + b"/" + path if path else top
        stored = name + b"/" + path if path else name
        block, size = _member(real, stored, first)
        out.append(block)
        content += size
    return b"".join(out) + END, len(paths), content


def _walk(top: bytes, below: bytes) -> list[bytes]:
    found = [below]
    with os.scandir(top + b"/" + below if below else top) as listing:
        for item in listing:
            path = below + b"/" + item.name if below else item.name
            found.extend(_walk(top, path) if item.is_dir(follow_symlinks=False) else [path])
    return found


def _utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


@functools.cache
def _user(uid: int) -> bytes:
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return b""


@functools.cache
def _group(gid: int) -> bytes:
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except KeyError:
        return b""


def _split(path: bytes) -> tuple[bytes, bytes] | None:
    """Prefix and name; None if the path needs a record."""
    if len(path) <= 100:
        return b"", path
    for index in range(min(155, len(path) - 2), 0, -1):
        if path[index : index + 1] == b"/":
            return (path[:index], path[index + 1 :]) if len(path) - index - 1 <= 100 else None
    return None


def _time(ns: int) -> bytes:
    sign, whole = ("-", -ns) if ns < 0 else ("", ns)
    seconds, rest = divmod(whole, 10**9)
    fraction = f"{rest:09d}".rstrip("0")
    return f"{sign}{seconds}{'.' if fraction else ''}{fraction}".encode()


def _member(real: bytes, stored: bytes, first: dict[tuple[int, int], bytes]) -> tuple[bytes, int]:
    info = os.lstat(real)
    mode = info.st_mode
    link, data, size = b"", b"", 0
    records: list[tuple[bytes, bytes]] = []
    if stat.S_ISDIR(mode):
        kind, path = b"5", stored + b"/"
        records += _extras(real, directory=True)
    elif stat.S_ISLNK(mode):
        kind, path, link = b"2", stored, os.readlink(real)
    elif stat.S_ISFIFO(mode):
        kind, path = b"6", stored
    elif stat.S_ISREG(mode):
        path = stored
        known = first.setdefault((info.st_dev, info.st_ino), stored)
        if known != stored:
            kind, link = b"1", known
        else:
            kind, size = b"0", info.st_size
            data, sparse = _data(real, info)
            records += sparse + _extras(real, directory=False)
    else:
        raise AssertionError(f"cannot be stored: {real!r}")

    split = _split(path)
    before: list[bytes] = []
    if split is None:
        if _utf8(path):
            records.append((b"path", path))
        else:
            before.append(long(path, b"L"))
        split = (b"", path[:100])
    if len(link) > 100:
        if _utf8(link):
            records.append((b"linkpath", link))
        else:
            before.append(long(link, b"K"))
    seconds, rest = divmod(info.st_mtime_ns, 10**9)
    if rest or not 0 <= seconds <= _SIZE_LIMIT:
        records.append((b"mtime", _time(info.st_mtime_ns)))
    if len(data) > _SIZE_LIMIT:
        records.append((b"size", b"%d" % len(data)))
    for key, value in ((b"uid", info.st_uid), (b"gid", info.st_gid)):
        if value > _ID_LIMIT:
            records.append((key, b"%d" % value))
    names = {b"uname": _user(info.st_uid), b"gname": _group(info.st_gid)}
    for key, text in names.items():
        if len(text) > 31:
            if _utf8(text):
                records.append((key, text))
            names[key] = b""
    if records:
        before.append(pax(*sorted(records)))
    block = header(
        split[1],
        prefix=split[0],
        typeflag=kind,
        mode=stat.S_IMODE(mode),
        uid=info.st_uid if info.st_uid <= _ID_LIMIT else 0,
        gid=info.st_gid if info.st_gid <= _ID_LIMIT else 0,
        size=len(data) if len(data) <= _SIZE_LIMIT else 0,
        # the field holds whole seconds; a time that does not fit stands in its record alone
        mtime=seconds if 0 <= seconds <= _SIZE_LIMIT else 0,
        link=link,
        uname=names[b"uname"],
        gname=names[b"gname"],
    )
    return b"".join(before) + block + padded(data), size


def _data(real: bytes, info: os.stat_result) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The data of a regular file as stored, and the records of a sparse one."""
    with open(real, "rb", buffering=0) as file:
        handle = file.fileno()
        size = info.st_size
        regions: list[tuple[int, int]] = []
        if info.st_blocks * 512 < size:
            offset = 0
            while offset < size:
                try:
                    begin = os.lseek(handle, offset, os.SEEK_DATA)
                except OSError:
                    break
                end = min(os.lseek(handle, begin, os.SEEK_HOLE), size)
                regions.append((begin, end - begin))
                offset = end
            if regions != [(0, size)]:
                if not regions or sum(regions[-1]) < size:
                    regions.append((size, 0))
                table = b"".join(b"%d\n%d\n" % region for region in regions)
                parts = [os.pread(handle, length, begin) for begin, length in regions]
                body = padded(b"%d\n" % len(regions) + table) + b"".join(parts)
                return body, [
                    (b"GNU.sparse.major", b"1"),
                    (b"GNU.sparse.minor", b"0"),
                    (b"GNU.sparse.realsize", b"%d" % size),
                ]
        return os.pread(handle, size, 0) if size else b"", []


_LETTERS = ((4, "r"), (2, "w"), (1, "x"))
_NAMES = {0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other"}


def _extras(real: bytes, directory: bool) -> list[tuple[bytes, bytes]]:
    """Records of user xattrs and ACLs of a file or directory."""
    out: list[tuple[bytes, bytes]] = []
    for name in os.listxattr(real, follow_symlinks=False):
        key = os.fsencode(name)
        if key.startswith(b"user."):
            quoted = key.replace(b"%", b"%25").replace(b"=", b"%3D")
            out.append((b"SCHILY.xattr." + quoted, os.getxattr(real, name, follow_symlinks=False)))
        elif key == b"system.posix_acl_access" or (key == b"system.posix_acl_default" and directory):
            out.append((b"SCHILY.acl." + key.rpartition(b"_")[2], _acl(os.getxattr(real, name, follow_symlinks=False))))
    return out


def _acl(value: bytes) -> bytes:
    items: list[str] = []
    for offset in range(4, len(value), 8):
        tag, bits, who = struct.unpack_from("<HHI", value, offset)
        owner = str(who) if tag in (0x02, 0x08) else ""
        items.append(f"{_NAMES[tag]}:{owner}:" + "".join(x if bits & bit else "-" for bit, x in _LETTERS))
    return ",".join(items).encode()
