"""The tar stream of the pure engine: header bytes, pax records, sparse maps, ACL texts, and what the reader refuses."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from runark.engine.protocol import Limits
from runark.engine.pure import codec
from runark.engine.pure.ends import Control, Damaged, Foreign, escape
from runark.engine.pure.tar import acl, header, pax, sparse, writer
from runark.engine.pure.tar.reader import Reader, clean
from support import tarbytes

LIMITS = Limits()

# --------------------------------------------------------------------------------------------- writing


def test_header_is_the_one_of_the_page() -> None:
    block = header.build(header.make_form(b"0", 0o640, 1000, 100, b"ann", b"users"), b"S/a", 5, 1_700_000_000)
    assert len(block) == 512
    assert block[:100] == b"S/a".ljust(100, b"\0")
    assert block[100:148] == b"0000640\x000001750\x000000144\x0000000000005\x0014524770400\x00"
    assert block[148:156] == b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
    assert block[156:265] == b"0" + bytes(100) + b"ustar\x0000"
    assert block[265:329] == b"ann".ljust(32, b"\0") + b"users".ljust(32, b"\0")
    assert block[329:345] == b"0000000\x000000000\x00"
    assert block[345:] == bytes(167)


def test_header_with_link_and_prefix() -> None:
    block = header.build(header.make_form(b"2", 0o777, 0, 0, b"", b""), b"name", 0, 0, b"target", b"in/here")
    parsed = header.parse(block)
    assert (parsed.path, parsed.link, parsed.flag, parsed.magic) == (b"in/here/name", b"target", b"2", "ustar")


def test_largest_checksum() -> None:
    """Adler-32 stands for a sum only below its modulus."""
    name, owner = b"\xff" * 100, b"\xff" * 31
    form = header.make_form(b"0", 0o7777, header.MAX_ID, header.MAX_ID, owner, owner)
    block = header.build(form, name, header.MAX_SIZE, header.MAX_TIME)
    assert header.parse(block).path == name


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (b"a" * 100, (b"", b"a" * 100)),
        (b"a" * 101, None),
        (b"d/" + b"a" * 100, (b"d", b"a" * 100)),
        (b"d/" + b"a" * 101, None),
        (b"/" + b"a" * 100, None),  # an empty prefix would lose the slash
        (b"p" * 155 + b"/" + b"a" * 100, (b"p" * 155, b"a" * 100)),
        (b"p" * 156 + b"/" + b"a" * 100, None),
        (b"a" * 100 + b"/", None),  # the slash at the end is the directory's own
        (b"d/e/" + b"a" * 97 + b"/", (b"d/e", b"a" * 97 + b"/")),
        (b"x" * 90 + b"/" + b"y" * 60 + b"/" + b"z" * 30, (b"x" * 90 + b"/" + b"y" * 60, b"z" * 30)),
    ],
)
def test_split(path: bytes, fields: tuple[bytes, bytes] | None) -> None:
    assert header.split(path) == fields


def test_pax_length_counts_itself() -> None:
    for size in range(1100):
        record = pax.record(b"k", b"v" * size)
        assert int(record.split(b" ")[0]) == len(record)
        assert pax.parse(record, b"m") == {b"k": b"v" * size}


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, b"0"),
        (1_500_000_000, b"1.5"),
        (-1_500_000_000, b"-1.5"),
        (1, b"0.000000001"),
        (-1, b"-0.000000001"),
        (100 * 10**9, b"100"),
        (1_700_000_000_120_000_000, b"1700000000.12"),
    ],
)
def test_decimal_time(time_ns: int, text: bytes) -> None:
    assert pax.decimal_time(time_ns) == text
    assert pax.parse_time(text, b"m") == time_ns


@pytest.mark.parametrize("seconds", [0, 9, 10, 1_700_000_000, header.MAX_TIME])
@pytest.mark.parametrize("nanos", [1, 120_000_000, 500_000_000, 999_999_999])
def test_mtime_record(seconds: int, nanos: int) -> None:
    text = pax.decimal_time(seconds * 10**9 + nanos)
    assert pax.mtime_record(seconds, nanos) == pax.record(b"mtime", text)


def test_time_is_cut_towards_the_past() -> None:
    assert pax.parse_time(b"1.0000000019", b"m") == 1_000_000_001
    assert pax.parse_time(b"-1.0000000001", b"m") == -1_000_000_001
    for text in (b"nan", b"1e400", b"", b"+1", b"1.2.3", b".5", b"- 1", b"9" * 20, b"0x1"):
        with pytest.raises(Damaged):
            pax.parse_time(text, b"m")


@pytest.mark.parametrize("name", [b"user.a", b"user.%", b"user.=", b"user.%3D", b"user.%25=%", b"user.\xff"])
def test_attribute_names_survive_keys(name: bytes) -> None:
    quoted = pax.quote_key(name)
    assert b"=" not in quoted
    assert pax.unquote_key(quoted) == name


def test_members_read_back_by_tarfile() -> None:
    """Everything the writer can do in one stream, read by the standard library."""
    long_path, long_link = b"S/" + b"\xc3\xa4" * 150, b"t" * 300
    odd_path = b"S/" + b"\xff" * 150
    odd_owner = writer.form(writer.DIRECTORY, 0o755, 3_000_000, 4_000_000, b"u" * 40, b"g")
    symlink = writer.form(writer.SYMLINK, 0o777, 0, 0, b"", b"")
    stream = b"".join(
        [
            writer.member(b"S/", odd_owner, 0, -1_500_000_000),
            writer.member(
                long_path,
                writer.form(writer.FILE, 0o4644, 1, 2, b"", b""),
                3,
                10**18,
                extra={b"SCHILY.xattr.user.k": b"v"},
            ),
            b"abc" + bytes(509),
            writer.member(odd_path, writer.form(writer.FILE, 0o600, 0, 0, b"", b""), 0, 0),
            writer.member(b"S/l", symlink, 0, 0, long_link),
            writer.member(b"S/m", symlink, 0, 0, b"\xff" * 101),
            writer.END,
        ]
    )
    with tarfile.open(fileobj=io.BytesIO(stream), errors="surrogateescape") as archive:
        top, file, odd, link, odd_link = archive.getmembers()
    assert (top.uid, top.gid, top.uname, top.mtime) == (3_000_000, 4_000_000, "u" * 40, -1.5)
    assert (os.fsencode(file.name), file.mode, file.size) == (long_path, 0o4644, 3)
    assert file.pax_headers["SCHILY.xattr.user.k"] == "v"
    assert os.fsencode(odd.name) == odd_path
    assert os.fsencode(link.linkname) == long_link
    assert os.fsencode(odd_link.linkname) == b"\xff" * 101


def test_too_many_attributes() -> None:
    form = writer.form(writer.FILE, 0o644, 0, 0, b"", b"")
    with pytest.raises(writer.TooLarge):
        writer.member(b"S/a", form, 0, 0, extra={b"SCHILY.xattr.user.k": bytes(1 << 20)})


# ------------------------------------------------------------------------------------------ sparse, ACLs


def test_sparse_map_and_back() -> None:
    for regions in ([(10, 0)], [(0, 5), (10, 0)], [(n * 10, 5) for n in range(200)]):
        real = sum(regions[-1])
        table = sparse.build_map(regions)
        assert len(table) % 512 == 0
        source = io.BytesIO(table)
        stored = len(table) + sum(length for _, length in regions)
        found, left = sparse.parse_map(source.read, stored, real, b"m")
        assert (found, left) == (regions, stored - len(table))


@pytest.mark.parametrize(
    "text",
    [b"1\n5\n6\n", b"2\n5\n2\n0\n1\n", b"1\n-1\n2\n", b"1\n0\n", b"x\n", b"99999999\n", b"01\n0\n1\n", b"1\n0\n1\nx"],
)
def test_sparse_maps_refused(text: bytes) -> None:
    table = text + bytes(-len(text) % 512)
    with pytest.raises(Damaged, match="member 'm'"):
        sparse.parse_map(io.BytesIO(table).read, len(table) + 1, 10, b"m")


def test_data_regions(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with path.open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"x")
    fd = os.open(path, os.O_RDONLY)
    try:
        regions = sparse.data_regions(fd, 1 << 20)
        assert regions is not None
        assert regions[-1] == (1 << 20, 0)
        assert any(start <= 1 << 19 < start + length for start, length in regions)
        path.write_bytes(b"x" * 10_000)
        assert sparse.data_regions(fd, 10_000) is None
    finally:
        os.close(fd)


def test_acl_text() -> None:
    text = b"user::rwx,user:1001:r-x,group::r-x,group:7:---,mask::r-x,other::---"
    value = acl.from_text(text, b"m")
    assert acl.to_text(value) == text
    assert acl.group_bits(value) == 5
    assert acl.from_text(b"u::rwx,g::r-x,o::---", b"m") == acl.from_text(b"user::rwx\ngroup::r-x\nother::---\n", b"m")
    assert acl.to_text(acl.from_text(b"user::rw-,group::r--,other::r--,user:bob:r--:12,mask::r--", b"m")).startswith(
        b"user::rw-,user:12:r--"
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"user::rwx",
        b"user::rwx,group::r-x,other::rwz",
        b"user:bob:rwx",
        b"user::rwx,group::r-x,other::---,user:1:rwx",
    ],
)
def test_acl_texts_refused(text: bytes) -> None:
    with pytest.raises(Damaged):
        acl.from_text(text, b"m")


def test_acl_of_a_newer_kernel() -> None:
    with pytest.raises(ValueError, match="ACL"):
        acl.to_text(b"\3\0\0\0")


# --------------------------------------------------------------------------------------------- reading


def _reader(stream: bytes, tmp_path: Path, limits: Limits = LIMITS) -> Reader:
    path = tmp_path / "stream.tar"
    path.write_bytes(stream)
    fd = os.open(path, os.O_RDONLY)
    try:
        data = os.dup(fd)
    finally:
        os.close(fd)
    return Reader(codec.Stream(data, len(stream), "tar", None, limits, Control()), limits)


def _all(stream: bytes, tmp_path: Path, limits: Limits = LIMITS) -> list[bytes]:
    reader = _reader(stream, tmp_path, limits)
    found = []
    while (item := reader.next()) is not None:
        found.append(item.path)
    return found


GOOD = tarbytes.member(b"S/", typeflag=b"5", mode=0o755)


@pytest.mark.parametrize("flag", [b"3", b"4", b"7", b"D", b"M", b"V", b"N", b"S", b"A", b"X"])
def test_types_refused(flag: bytes, tmp_path: Path) -> None:
    stream = tarbytes.joined([GOOD, tarbytes.member(b"S/bad", typeflag=flag)])
    with pytest.raises(Damaged, match="'S/bad'"):
        _all(stream, tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        b"/a",
        b"//a",
        b"..",
        b"../a",
        b"a/..",
        b"a/../b",
        b"./../a",
        b"",
        b"/",
        b".",
        b"a//b",
        b"a/./b",
        b"a\0b",
        b"x" * 256,
    ],
)
def test_paths_refused(path: bytes) -> None:
    with pytest.raises(Damaged):
        clean(path, LIMITS)


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [(b"./", b""), (b"./a", b"a"), (b"././a/", b"a"), (b"a/", b"a"), (b"a\\b", b"a\\b"), (b"12", b"12")],
)
def test_paths_cleaned(path: bytes, cleaned: bytes) -> None:
    assert clean(path, LIMITS) == cleaned


def test_limits(tmp_path: Path) -> None:
    members = [GOOD, *(tarbytes.member(b"S/%d" % n, b"data") for n in range(5))]
    stream = tarbytes.joined(members)
    assert len(_all(stream, tmp_path)) == 6
    for limits in (
        Limits(max_entries=5),
        Limits(max_bytes=19),
        Limits(max_path=2),
        Limits(max_depth=1),
    ):
        with pytest.raises(Damaged):
            _all(stream, tmp_path, limits)


def test_ends(tmp_path: Path) -> None:
    member = tarbytes.member(b"S/a", b"data")
    for stream in (GOOD + member, GOOD + member + bytes(512), GOOD + member[:600], GOOD + member + bytes(1024) + b"x"):
        with pytest.raises(Damaged):
            _all(stream, tmp_path)
    assert _all(GOOD + member + bytes(10240), tmp_path) == [b"S", b"S/a"]
    with pytest.raises(Foreign):
        _all(b"no tar at all, only words. " * 100, tmp_path)


def test_names_are_escaped() -> None:
    assert escape(b"plain \xc3\xa4") == "plain \u00e4"
    assert escape(b"a\nb\x1b[0m") == "a\\nb\\x1b[0m"
    assert escape(b"\xff\\") == "\\xff\\\\"
    assert escape("\u202egnp.exe".encode()) == "\\u202egnp.exe"
