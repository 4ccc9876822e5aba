"""Hostile and broken archives, each made here byte by byte, each wrong in one way.

A case gives the tar stream (or a whole file), the member that must be named when it is refused, and what is
expected: `refused`, `restored`, or `either` where the format leaves it open and the engines only have to agree.
Every stream begins with harmless members, so that a refusal has something to take away again.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from support.tarbytes import BLOCK, END, gz, header, long, member, octal, padded, pax, pax_body, record

__all__ = ["CASES", "Case"]

Expectation = Literal["refused", "restored", "either"]


@dataclass(frozen=True)
class Case:
    """One archive. `named`: bytes that must stand in the fault; empty if no member can be named."""

    name: str
    build: Callable[[], bytes]
    named: bytes = b""
    expect: Expectation = "refused"
    suffix: str = "tar"


TOP = member(b"S/", typeflag=b"5", mode=0o755)
GOOD = member(b"S/good", b"harmless\n")


def _stream(*parts: bytes, end: bytes = END) -> bytes:
    return b"".join((TOP, GOOD, *parts)) + end


CASES: list[Case] = []


def case(name: str, *parts: bytes, named: bytes = b"S/bad", expect: Expectation = "refused", end: bytes = END) -> None:
    """A plain tar of the harmless members, these parts, and an end."""
    data = _stream(*parts, end=end)
    CASES.append(Case(name, lambda: data, named, expect))


def whole(
    name: str, build: Callable[[], bytes], named: bytes = b"", expect: Expectation = "refused", suffix: str = "tar"
) -> None:
    """A file that is made as a whole, when it is asked for."""
    CASES.append(Case(name, build, named, expect, suffix))


# ------------------------------------------------------------------------------------------------ paths

for _label, _path in {
    "absolute": b"/runark-hostile",
    "two slashes": b"//runark-hostile",
    "dotdot first": b"../runark-hostile",
    "dotdot middle": b"S/../../runark-hostile",
    "dotdot inner": b"S/d/../x",
    "dotdot last": b"S/..",
    "dot dotdot": b"./../runark-hostile",
    "dotdot alone": b"..",
    "dotdot with slash": b"S/../",
    "slash dotdot": b"/..",
    "only slashes": b"///",
}.items():
    case(f"path: {_label}", member(_path, b"x"), named=_path.rstrip(b"/") or b"/")
    case(f"path in pax: {_label}", pax((b"path", _path)), member(b"S/ok", b"x"), named=_path.rstrip(b"/") or b"/")
    case(f"path in L: {_label}", long(_path), member(b"S/ok", b"x"), named=_path.rstrip(b"/") or b"/")

case("path: empty", member(b"", b"x"), named=b"")
case("path: dot as a file", member(b".", b"x"), named=b".")
case("path: empty in pax", pax((b"path", b"")), member(b"S/bad", b"x"), named=b"")
case("path: NUL in pax", pax((b"path", b"S/bad\0tail")), member(b"S/ok", b"x"))
case("path: NUL in linkpath", pax((b"linkpath", b"a\0b")), member(b"S/bad", typeflag=b"2", link=b"a"))
case("path: all digits in pax", pax((b"path", b"S/12345")), member(b"S/ok", b"x"), expect="restored")
case("path: leading dot slash", member(b"./S/fine", b"x"), expect="either")
case("path: backslashes are letters", member(b"S/..\\..\\x", b"x"), expect="restored")
case("path: newline, escape, bidi, no utf-8", member(b"S/\n\x1b[2J\xe2\x80\xae\xff", b"x"), expect="restored")
case("path: 40,000 bytes", long(b"S/" + b"/".join([b"n" * 200] * 200)), member(b"S/ok", b"x"), named=b"n" * 100)
case("path: 2,000 levels", pax((b"path", b"S" + b"/d" * 2000)), member(b"S/ok", b"x"), named=b"S/d/d/d")
case("path: component of 256 bytes", pax((b"path", b"S/" + b"n" * 256)), member(b"S/ok", b"x"), named=b"n" * 100)
whole(
    "path: 100,000 levels one after the other",
    lambda: (
        b"".join(
            (pax((b"path", b"d/" * n)) if n > 45 else b"") + member((b"d/" * n)[:100], typeflag=b"5")
            for n in range(1, 2000)
        )
        + END
    ),
    named=b"d/d/d",
)

# ------------------------------------------------------------------------------------------------ links

_OUT = member(b"S/l", typeflag=b"2", link=b"/tmp")
_DIR = member(b"S/d/", typeflag=b"5", mode=0o755)
case("link: written through a symlink", _OUT, member(b"S/l/bad", b"x"), named=b"S/l/bad")
case(
    "link: through a relative symlink",
    member(b"S/l", typeflag=b"2", link=b".."),
    member(b"S/l/bad", b"x"),
    named=b"S/l/bad",
)
case(
    "link: through a symlink inside",
    _DIR,
    member(b"S/l", typeflag=b"2", link=b"d"),
    member(b"S/l/bad", b"x"),
    named=b"S/l/bad",
)
case(
    "link: two hops",
    member(b"S/a", typeflag=b"2", link=b"."),
    member(b"S/a/b", typeflag=b"2", link=b".."),
    member(b"S/a/b/bad", b"x"),
    named=b"S/a/b",
)
case("link: symlink, then a directory of its name", _OUT, member(b"S/l/", typeflag=b"5", mode=0o777), named=b"S/l")
case("link: symlink, then a file of its name", _OUT, member(b"S/l", b"x"), named=b"S/l")
case("link: directory, then a symlink of its name", _DIR, member(b"S/d", typeflag=b"2", link=b"/tmp"), named=b"S/d")
case(
    "link: file in a directory that becomes a link",
    _DIR,
    member(b"S/d/f", b"x"),
    member(b"S/d", typeflag=b"2", link=b"/"),
    named=b"S/d",
)
case("link: parent is a file", member(b"S/good/bad", b"x"), named=b"S/good/bad")
for _label, _to in {
    "absolute": b"/etc/hostname",
    "dotdot": b"../../etc/hostname",
    "dotdot inside": b"S/../S/good",
    "missing": b"S/none",
    "itself": b"S/bad",
    "empty": b"",
    "a directory": b"S",
    "later": b"S/later",
    "relative to itself": b"good",
}.items():
    case(f"hard link: {_label}", member(b"S/bad", typeflag=b"1", link=_to), member(b"S/later", b"x"))
case("hard link: through a symlink", _OUT, member(b"S/bad", typeflag=b"1", link=b"S/l/hostname"))
case("hard link: to a symlink", _OUT, member(b"S/bad", typeflag=b"1", link=b"S/l"))
case("hard link: to a fifo", member(b"S/p", typeflag=b"6"), member(b"S/bad", typeflag=b"1", link=b"S/p"))
case("hard link: with data", member(b"S/bad", b"data", typeflag=b"1", link=b"S/good"))
case(
    "hard link: then a file of its name",
    member(b"S/h", typeflag=b"1", link=b"S/good"),
    member(b"S/h", b"x"),
    named=b"S/h",
)
case("hard link: loop", member(b"S/bad", typeflag=b"1", link=b"S/b2"), member(b"S/b2", typeflag=b"1", link=b"S/bad"))
case("hard link: good", member(b"S/h", typeflag=b"1", link=b"S/good"), expect="restored")
case("symlink: empty target", member(b"S/bad", typeflag=b"2", link=b""))
case("symlink: with data", member(b"S/bad", b"data", typeflag=b"2", link=b"x"))
case("symlink: target of 5,000 bytes", long(b"t" * 5000, b"K"), member(b"S/bad", typeflag=b"2", link=b"t" * 100))
for _label, _to in {"absolute": b"/etc/passwd", "outward": b"../../..", "dangling": b"none", "itself": b"self"}.items():
    case(f"symlink: {_label}", member(b"S/self", typeflag=b"2", link=_to), expect="restored")

# ------------------------------------------------------------------------------------------------ kinds and metadata

for _label, _flag in {
    "character device": b"3",
    "block device": b"4",
    "contiguous": b"7",
    "dumpdir": b"D",
    "multi-volume": b"M",
    "volume label": b"V",
    "old long name": b"N",
    "old sparse": b"S",
    "solaris acl": b"A",
    "solaris extended": b"X",
    "unknown letter": b"Q",
    "unknown byte": b"\xff",
}.items():
    case(f"kind: {_label}", member(b"S/bad", typeflag=_flag))
case("kind: directory with data", member(b"S/bad/", b"data", typeflag=b"5"))
case("kind: fifo with data", member(b"S/bad", b"data", typeflag=b"6"))
case("kind: old file with trailing slash and data", member(b"S/bad/", b"data", typeflag=b"\0"))
case("kind: file with trailing slash", member(b"S/bad/", b"data"))
case("mode: setuid, setgid, sticky", member(b"S/fine", b"x", mode=0o7777), expect="restored")
case("mode: directory without any", member(b"S/d/", typeflag=b"5", mode=0), member(b"S/d/f", b"x"), expect="restored")
case("xattr: security", pax((b"SCHILY.xattr.security.capability", b"\1\0\0\2")), member(b"S/bad", b"x"))
case("xattr: trusted", pax((b"SCHILY.xattr.trusted.overlay.opaque", b"y")), member(b"S/bad", b"x"))
case("xattr: system", pax((b"SCHILY.xattr.system.posix_acl_access", b"\2\0\0\0")), member(b"S/bad", b"x"))
case("xattr: empty name", pax((b"SCHILY.xattr.", b"y")), member(b"S/bad", b"x"))
case(
    "xattr: name of 300 bytes", pax((b"SCHILY.xattr.user." + b"n" * 300, b"y")), member(b"S/bad", b"x"), expect="either"
)
case("acl: words", pax((b"SCHILY.acl.access", b"everyone may")), member(b"S/bad", b"x"))
case(
    "acl: no mask",
    pax((b"SCHILY.acl.access", b"user::rwx,user:7:rwx,group::r--,other::---")),
    member(b"S/bad", b"x"),
    expect="either",
)
case("sparse: version 0.0", pax((b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.size", b"9")), member(b"S/bad", b"x"))
case("sparse: version 0.1", pax((b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.size", b"9")), member(b"S/bad", b"x"))

_NS = b"1700000000"
for _label, _time in {
    "not a number": b"nan",
    "infinite": b"inf",
    "huge exponent": b"1e400",
    "exponent": b"1e3",
    "hexadecimal": b"0x10",
    "empty": b"",
    "sign only": b"-",
    "plus": b"+1",
    "two points": b"1.2.3",
    "blank": b" 1",
    "beyond 64 bit": b"99999999999999999999999999",
    "words": b"yesterday",
    "underscore": b"1_000",
}.items():
    case(f"mtime: {_label}", pax((b"mtime", _time)), member(b"S/bad", b"x"))
case("mtime: before 1901", pax((b"mtime", b"-3000000000.25")), member(b"S/fine", b"x"), expect="either")
case("mtime: ten digits of fraction", pax((b"mtime", _NS + b".1234567899")), member(b"S/fine", b"x"), expect="restored")
case("mtime: negative", pax((b"mtime", b"-1.5")), member(b"S/fine", b"x"), expect="restored")

# ------------------------------------------------------------------------------------------------ parsers that disagree

_HIDDEN = member(b"S/hidden", b"smuggled")
case("pax: size against ustar size", pax((b"size", b"0")), member(b"S/bad", _HIDDEN))
case("pax: larger size against ustar size", pax((b"size", b"1536")), member(b"S/bad", b"x"), _HIDDEN)
case(
    "pax: size for the header between",
    pax((b"size", b"8")) + pax((b"mtime", b"5")) + member(b"S/bad", b"x"),
    named=b"",
)
case("pax: size on a directory", pax((b"size", b"512")), member(b"S/bad/", typeflag=b"5"), padded(b"x"))
case("pax: size on a hard link", pax((b"size", b"512")), member(b"S/bad", typeflag=b"1", link=b"S/good"), padded(b"x"))
for _label, _size in {
    "negative": b"-1",
    "plus": b"+5",
    "words": b"five",
    "huge": b"9" * 40,
    "fraction": b"1.5",
    "empty": b"",
}.items():
    case(f"pax: size {_label}", pax((b"size", _size)), member(b"S/bad", b"x", size=0))
case("pax: path and L together", pax((b"path", b"S/bad")), long(b"S/other"), member(b"S/ok", b"x"), named=b"")
case("pax: L and path together", long(b"S/other"), pax((b"path", b"S/bad")), member(b"S/ok", b"x"), named=b"")
case(
    "pax: linkpath and K together",
    pax((b"linkpath", b"a")),
    long(b"b", b"K"),
    member(b"S/bad", typeflag=b"2", link=b"c"),
    named=b"",
)
case("pax: two headers", pax((b"mtime", b"1")), pax((b"mtime", b"2")), member(b"S/bad", b"x"), named=b"")
case("pax: two L", long(b"S/one"), long(b"S/two"), member(b"S/bad", b"x"), named=b"")
case("pax: the same key twice", pax((b"mtime", b"1"), (b"mtime", b"2")), member(b"S/bad", b"x"), expect="either")
case("pax: dangling at the end", pax((b"path", b"S/bad")), named=b"")
case("pax: L dangling at the end", long(b"S/bad"), named=b"")
for _label, _body in {
    "length too small": b"5 mtime=1\n",
    "length too large": b"99 mtime=1\n",
    "no newline": b"11 mtime=1x",
    "no equals sign": b"9 mtime1\n",
    "no key": b"5 =1\n\n"[:5],
    "empty length": b" mtime=1\n",
    "signed length": b"+11 mtime=1\n",
    "negative length": b"-11 mtime=1\n",
    "zero length": b"0 mtime=1\n",
    "zeros before the length": b"0010 mtime=1\n"[:13],
    "huge length": b"9" * 30 + b" mtime=1\n",
    "hexadecimal length": b"0xb mtime=1\n",
    "a tail": record(b"mtime", b"1") + b"tail",
    "only zeros": bytes(16),
    "zeros at the end": record(b"mtime", b"1") + bytes(3),
    "length without a space": b"10mtime=1\n",
}.items():
    case(f"pax record: {_label}", pax_body(_body), member(b"S/bad", b"x"), named=b"")
case("pax: empty body", pax_body(b""), member(b"S/bad", b"x"), named=b"", expect="either")
case("pax: global path", pax((b"path", b"S/bad"), typeflag=b"g"), member(b"S/ok", b"x"), named=b"")
case("pax: global size", pax((b"size", b"0"), typeflag=b"g"), member(b"S/bad", b"x"), named=b"")
case("pax: global mtime", pax((b"mtime", b"1"), typeflag=b"g"), member(b"S/bad", b"x"), named=b"")
case("pax: global comment", pax((b"comment", b"5f1c8e"), typeflag=b"g"), member(b"S/fine", b"x"), expect="restored")
case("pax: unknown key", pax((b"LIBARCHIVE.creationtime", b"1")), member(b"S/fine", b"x"), expect="restored")
case("pax: charset of bytes", pax((b"hdrcharset", b"BINARY")), member(b"S/fine", b"x"), expect="either")

case("header: bad checksum", header(b"S/bad", raw_checksum=b"000001\0 "), named=b"")
case("header: checksum of blanks", header(b"S/bad", raw_checksum=b"        "), named=b"")
case("header: garbage", b"\x5a" * BLOCK, named=b"")
case("header: magic of neither", member(b"S/bad", b"x", magic=b"ustar  x"), named=b"")
case("header: magic half", member(b"S/bad", b"x", magic=b"ustar\0\0\0"), named=b"", expect="either")
case("header: magic with letters", member(b"S/bad", b"x", magic=b"rusta\x0000"), named=b"")
case("header: v7", member(b"S/fine", b"x", magic=bytes(8), typeflag=b"\0"), expect="restored")
case("header: GNU", member(b"S/fine", b"x", magic=b"ustar  \0"), expect="restored")

case("twice: file, equal", member(b"S/bad", b"x"), member(b"S/bad", b"x"))
case("twice: file, different", member(b"S/bad", b"x"), member(b"S/bad", b"y"))
case("twice: directory", _DIR, _DIR, named=b"S/d")
case("twice: the top", TOP, named=b"S")
case("twice: file turned directory", member(b"S/bad", b"x"), member(b"S/bad/", typeflag=b"5"))
case("twice: directory turned file", member(b"S/bad/", typeflag=b"5"), member(b"S/bad", b"x"))
case("twice: implied directory turned file", member(b"S/bad/f", b"x"), member(b"S/bad", b"x"))
case("twice: through a double slash", member(b"S/bad", b"x"), member(b"S//bad", b"y"), named=b"bad")
case("twice: through a dot", member(b"S/bad", b"x"), member(b"S/./bad", b"y"), named=b"bad")
case("twice: through a leading dot", member(b"S/bad", b"x"), member(b"./S/bad", b"y"), named=b"S/bad")

# ------------------------------------------------------------------------------------------------ numbers and appetite


def _base256(value: int) -> bytes:
    return bytes([0x80]) + value.to_bytes(11, "big")


for _label, _field in {
    "2^63": _base256(1 << 63),
    "2^64": _base256(1 << 64),
    "2^87": _base256(1 << 87),
    "negative": b"\xff" * 12,
    "minus 512": b"\xff" * 10 + b"\xfe\x00",
    "octal junk": b"0000000009\0\0",
    "letters": b"abcdefghijk\0",
    "signed": b"-0000000001\0",
    "blank": b" " * 12,
    "digits after a blank": b"1 2\0",
    "beyond the end": octal(1 << 30, 12),
    "one block beyond the end": octal(4096, 12),
}.items():
    case(f"size: {_label}", header(b"S/bad", size=_field))
case("size: base-256, good", header(b"S/fine", size=_base256(1)) + padded(b"x"), expect="restored")
case("uid: octal junk", member(b"S/bad", b"x", uid=b"99x99\0\0\0"))
case("gid: octal junk", member(b"S/bad", b"x", gid=b"99x99\0\0\0"))
case("mode: octal junk", member(b"S/bad", b"x", mode=b"99x99\0\0\0"))
case("mtime field: octal junk", member(b"S/bad", b"x", mtime=b"8888\0"))
case("mtime field: base-256 negative", member(b"S/fine", b"x", mtime=b"\xff" * 12), expect="restored")
case("long name: 1 MiB", long(b"n" * (1 << 20)), member(b"S/ok", b"x"), named=b"")
case(
    "long name: no NUL",
    header(b"././@LongLink", typeflag=b"L", size=5) + padded(b"S/bad"),
    member(b"S/ok", b"x"),
    named=b"",
    expect="either",
)
case("long name: empty", header(b"././@LongLink", typeflag=b"L", size=0), member(b"S/ok", b"x"), named=b"")
case("long name: size beyond the end", header(b"././@LongLink", typeflag=b"L", size=1 << 30), named=b"")
case("pax body: 2 MiB", pax((b"comment", b"c" * (2 << 20))), member(b"S/bad", b"x"), named=b"")
case("pax body: size beyond the end", header(b"././@PaxHeader", typeflag=b"x", size=1 << 33), named=b"")


def _sparse(table: bytes, realsize: bytes, data: bytes = b"", size: int | None = None) -> bytes:
    body = padded(table) + data
    keys = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", realsize))
    return pax(*keys) + header(b"S/bad", size=len(body) if size is None else size) + padded(body)


case("sparse: good", _sparse(b"2\n0\n4\n100\n0\n", b"100", b"data").replace(b"S/bad", b"S/okk"), expect="either")
case("sparse: regions that overlap", _sparse(b"2\n0\n4\n2\n4\n", b"100", b"datadata"))
case("sparse: regions out of order", _sparse(b"2\n50\n4\n0\n4\n", b"100", b"datadata"))
case("sparse: region beyond the size", _sparse(b"1\n98\n4\n", b"100", b"data"))
case("sparse: less data than regions", _sparse(b"1\n0\n4000\n", b"8000", b"data"))
case("sparse: more data than regions", _sparse(b"1\n0\n4\n", b"100", b"data" * 1000))
case("sparse: a million regions told, none there", _sparse(b"1000000\n", b"100"))
case("sparse: hole of 8 EiB", _sparse(b"1\n9223372036854775807\n0\n", b"9223372036854775807"))
case("sparse: size 2^64", _sparse(b"1\n0\n0\n", b"18446744073709551616"))
case("sparse: negative offset", _sparse(b"1\n-4\n4\n", b"100", b"data"))
case("sparse: offset and length overflow", _sparse(b"1\n9223372036854775807\n9223372036854775807\n", b"100", b"data"))
case("sparse: words in the map", _sparse(b"one\n0\n4\n", b"100", b"data"))
case("sparse: map without end", _sparse(b"1" * 512, b"100"))
case("sparse: no real size", pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")), member(b"S/bad", b"x"))
case(
    "sparse: version 2.0",
    pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1")),
    member(b"S/bad", b"x"),
)
case("sparse: orphan minor", pax((b"GNU.sparse.minor", b"0")), member(b"S/bad", b"x"))
case(
    "sparse: on a directory",
    pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1")),
    member(b"S/bad/", typeflag=b"5"),
)
whole(
    "appetite: a sparse map of three million regions",
    lambda: _stream(
        _sparse(b"3000000\n" + b"".join(b"%d\n1\n" % (n * 2) for n in range(3_000_000)), b"6000000", b"x" * 3_000_000)
    ),
    b"S/bad",
    "either",
)
whole("appetite: 30 GiB of zeros in little", lambda: _bomb(30), b"S/bad", suffix="tar.zst")


def _bomb(gib: int) -> bytes:
    """A zstd frame of less than a MiB that decodes to many GiB: a block as it is, then blocks of one byte."""
    begin = TOP + GOOD + header(b"S/bad", size=gib << 30)
    window = b"\x58"  # 2 MiB: blocks may then decode to 128 KiB each

    def block(kind: int, size: int, data: bytes, last: bool = False) -> bytes:
        return (size << 3 | kind << 1 | last).to_bytes(3, "little") + data

    zeros = block(1, 128 << 10, b"\0")
    frame = b"\x28\xb5\x2f\xfd\x00" + window + block(0, len(begin), begin)
    return frame + zeros * (gib << 13) + block(0, len(END), END, last=True)


# ------------------------------------------------------------------------------------------------ frames

_PLAIN = _stream(member(b"S/last", b"x" * 700))
case("end: no end blocks", member(b"S/last", b"x"), named=b"", end=b"")
case("end: one zero block", member(b"S/last", b"x"), named=b"", end=bytes(BLOCK))
case("end: data after the end", member(b"S/last", b"x"), named=b"", end=END + member(b"S/bad", b"x"))
case("end: garbage after the end", member(b"S/last", b"x"), named=b"", end=END + b"garbage")
case("end: one zero block, then a member", member(b"S/last", b"x"), named=b"", end=bytes(BLOCK) + GOOD + END)
case("end: zeros after the end", member(b"S/last", b"x"), end=END + bytes(8 * BLOCK), expect="restored")
case("end: not a whole block", member(b"S/last", b"x"), named=b"", end=END + bytes(100), expect="either")
whole("frame: nothing", lambda: b"")
whole("frame: only the end", lambda: END, expect="either")
for _cut in (1, 511, 513, 1024 + 100, 1536 + 300, len(_PLAIN) - 1600):
    whole(f"frame: cut at {_cut}", lambda cut=_cut: _PLAIN[:cut])  # type: ignore[misc]
whole(
    "frame: gzip, two members, good", lambda: gz(_PLAIN[:1024]) + gz(_PLAIN[1024:]), expect="restored", suffix="tar.gz"
)
whole(
    "frame: gzip, an empty member between",
    lambda: gz(_PLAIN[:1024]) + gz(b"") + gz(_PLAIN[1024:]),
    expect="restored",
    suffix="tar.gz",
)
whole("frame: gzip, second member broken", lambda: gz(_PLAIN[:1024]) + gz(_PLAIN[1024:])[:-12], suffix="tar.gz")
whole(
    "frame: gzip, wrong CRC in the second", lambda: _spoil(gz(_PLAIN[:1024]) + gz(_PLAIN[1024:]), -8), suffix="tar.gz"
)
whole(
    "frame: gzip, wrong length in the first", lambda: _spoil(gz(_PLAIN[:1024]), -1) + gz(_PLAIN[1024:]), suffix="tar.gz"
)
whole("frame: gzip, garbage after it", lambda: gz(_PLAIN) + b"garbage", suffix="tar.gz")
whole("frame: gzip, zeros after it", lambda: gz(_PLAIN) + bytes(512), expect="either", suffix="tar.gz")
whole("frame: gzip, a whole archive after it", lambda: gz(_PLAIN) + gz(_PLAIN), suffix="tar.gz")
whole("frame: gzip, method 9", lambda: b"\x1f\x8b\x09" + gz(_PLAIN)[3:], suffix="tar.gz")
whole("frame: gzip, reserved flag", lambda: gz(_PLAIN)[:3] + b"\x80" + gz(_PLAIN)[4:], expect="either", suffix="tar.gz")
whole("frame: gzip inside gzip", lambda: gz(gzip.compress(_PLAIN)), suffix="tar.gz")
whole(
    "frame: xz, two streams",
    lambda: lzma.compress(_PLAIN[:1024]) + lzma.compress(_PLAIN[1024:]),
    expect="restored",
    suffix="tar.xz",
)
whole(
    "frame: xz, second stream broken",
    lambda: lzma.compress(_PLAIN[:1024]) + lzma.compress(_PLAIN[1024:])[:-4],
    suffix="tar.xz",
)
whole("frame: xz, garbage after it", lambda: lzma.compress(_PLAIN) + b"garbage!", suffix="tar.xz")
whole("frame: xz that wants gigabytes", lambda: _greedy_xz(), suffix="tar.xz")
whole("frame: zstd, window of 2^31", lambda: b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00", suffix="tar.zst")
whole("frame: zstd, reserved bit", lambda: b"\x28\xb5\x2f\xfd\x08\x58" + b"\x01\x00\x00", suffix="tar.zst")
whole("frame: zstd, magic only", lambda: b"\x28\xb5\x2f\xfd", suffix="tar.zst")
whole("frame: zstd, only a skippable frame", lambda: b"\x5e\x2a\x4d\x18\x04\x00\x00\x00abcd", suffix="tar.zst")
whole("frame: zip under our name", lambda: b"PK\x03\x04" + bytes(200), suffix="tar.gz")
whole("frame: plain tar under the name of a gzip", lambda: _PLAIN, expect="either", suffix="tar.gz")


def _spoil(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def _greedy_xz() -> bytes:
    """An xz stream whose header asks for a dictionary of 4 GiB. Its content is small."""
    data = bytearray(lzma.compress(_PLAIN))
    begin, end = 12, 12 + (data[12] + 1) * 4
    place = data.index(b"\x21\x01", begin, end) + 2  # LZMA2, one byte of properties: the size of the dictionary
    data[place] = 40
    data[end - 4 : end] = struct.pack("<I", zlib.crc32(bytes(data[begin : end - 4])))
    return bytes(data)
