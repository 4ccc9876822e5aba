"""Archiving one session: every format, the frame, the seal, stock readers, the same stream from every engine."""

from __future__ import annotations

import hashlib
import os
import random
import re
import stat
import subprocess
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from runark.engine.protocol import FORMATS, Engine
from runark.errors import InvalidArgument
from support import reference, tools
from support.drive import archive_all, archive_one, verify_one
from support.sessions import NAME, everything, many, plain
from support.trees import Dir, File, Tree, assert_same, make, snapshot

SEAL = re.compile(rb"runark\.seal\.1 sha256=([0-9a-f]{64}) stream=(\d{20}) entries=(\d{12}) content=(\d{20})")


@pytest.fixture(params=FORMATS)
def fmt(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def seal_of(archive: Path) -> tuple[str, int, int, int] | None:
    """The seal where the page of the format says it stands."""
    data = archive.read_bytes()
    if archive.name.endswith(".tar.gz"):
        assert data[:10] == b"\x1f\x8b\x08\x10\0\0\0\0\0\xff"
        assert data[173] == 0
        text = data[10:173]
    elif archive.name.endswith(".tar.zst"):
        assert data[-171:-163] == b"\x5e\x2a\x4d\x18\xa3\0\0\0"
        text = data[-163:]
    else:
        return None
    match = SEAL.fullmatch(text)
    assert match is not None, text
    return match[1].decode(), int(match[2]), int(match[3]), int(match[4])


def test_archive_replaces_the_session(engine: Engine, tmp_path: Path, fmt: str) -> None:
    session = Path(os.fsdecode(make(tmp_path / NAME, plain(7))))
    stream, entries, content = reference.tar_stream(session)
    before = snapshot(session)
    outcome = archive_one(engine, session, format=fmt)
    target = tmp_path / f"{NAME}.{fmt}"
    assert outcome.action == "archived", outcome
    assert outcome.target == os.fsencode(target)
    assert os.listdir(tmp_path) == [target.name]
    assert outcome.entries == entries == len(before)
    assert outcome.bytes_in == content == sum(entry.size for entry in before.values())
    assert outcome.bytes_out == target.stat().st_size
    assert outcome.sha256 == hashlib.sha256(stream).hexdigest()
    assert outcome.inodes_freed in (len(before), len(before) - 1)  # the archive itself takes one
    assert outcome.fault is None and outcome.notes == ()
    assert tools.decoded(target) == stream


def test_seal_states_the_stream(engine: Engine, tmp_path: Path, fmt: str) -> None:
    session = make(tmp_path / NAME, everything(tmp_path))
    stream, entries, content = reference.tar_stream(session)
    assert archive_one(engine, session, format=fmt).action == "archived"
    told = seal_of(tmp_path / f"{NAME}.{fmt}")
    if fmt in ("tar.gz", "tar.zst"):
        assert told == (hashlib.sha256(stream).hexdigest(), len(stream), entries, content)
    else:
        assert told is None
    claimed = engine.seals([os.fsencode(tmp_path / f"{NAME}.{fmt}")], 1)[0]
    size = (tmp_path / f"{NAME}.{fmt}").stat().st_size
    assert claimed == (None if told is None else (*told, size))


def test_stream_is_the_one_of_the_format_page(engine: Engine, tmp_path: Path) -> None:
    """Every kind of entry; the bytes are compared with the reference writer's, so with those of the other engine."""
    session = make(tmp_path / NAME, everything(tmp_path))
    stream, _, _ = reference.tar_stream(session)
    assert archive_one(engine, session, format="tar").action == "archived"
    found = (tmp_path / f"{NAME}.tar").read_bytes()
    if found != stream:
        at = next(
            (i for i, (a, b) in enumerate(zip(found, stream, strict=False)) if a != b), min(map(len, (found, stream)))
        )
        block = at - at % 512
        pytest.fail(
            f"lengths {len(found)} and {len(stream)}; first difference at {at}:\n"
            f"engine:    {found[block : block + 512]!r}\nreference: {stream[block : block + 512]!r}"
        )


def test_same_source_same_bytes(engine: Engine, tmp_path: Path, fmt: str) -> None:
    session = make(tmp_path / NAME, plain(3))
    target = tmp_path / f"{NAME}.{fmt}"
    assert archive_one(engine, session, format=fmt, keep_source=True).action == "kept"
    first = target.read_bytes()
    target.unlink()
    assert archive_one(engine, session, format=fmt, keep_source=True).action == "kept"
    assert target.read_bytes() == first


def for_stock_tools(directory: Path) -> Tree:
    """Everything but a file of a TiB, which `tar --compare` would read."""
    tree: dict[Any, Any] = dict(everything(directory))
    tree["sparse"] = {name: node for name, node in tree["sparse"].items() if name != "huge"}
    return tree


@pytest.mark.parametrize("kind", ["plain", "everything", "empty"])
def test_stock_tools_read_it_without_a_word(engine: Engine, tmp_path: Path, fmt: str, kind: str) -> None:
    trees: dict[str, Tree] = {"plain": plain(1), "everything": for_stock_tools(tmp_path), "empty": {}}
    tree = trees[kind]
    session = make(tmp_path / NAME, tree)
    stored = sorted(os.fsencode(NAME) + (b"/" + path if path else b"") for path in snapshot(session))
    assert archive_one(engine, session, format=fmt, keep_source=True).action == "kept"
    target = tmp_path / f"{NAME}.{fmt}"
    for program in ("tar", "bsdtar"):
        assert sorted(tools.stock_list(program, target)) == stored, program
        tools.quiet(program, "-tvf", str(target))
    if fmt == "tar.gz":
        tools.quiet("gzip", "-t", str(target))
        size = len(tools.decoded(target))
        assert int(tools.quiet("gzip", "-l", str(target)).split()[5]) == size, "gzip -l does not tell the size"
    elif fmt == "tar.zst":
        tools.quiet("zstd", "-tq", str(target))
    elif fmt == "tar.xz":
        tools.quiet("xz", "-t", str(target))
    if fmt != "tar.zst":  # tarfile reads zstd from Python 3.14 on
        with tarfile.open(target, errors="surrogateescape") as opened:
            names_read = sorted(os.fsencode(item.name) for item in opened)
        assert names_read == stored
    # Everything tar can compare is the same as on disk.
    tools.quiet("tar", "--xattrs", "--acls", "-df", str(target), cwd=tmp_path)


def test_one_member_without_trailing_bytes(engine: Engine, tmp_path: Path) -> None:
    """One gzip member: what follows a deflate stream is its trailer and nothing else."""
    session = make(tmp_path / NAME, plain(5))
    stream, _, _ = reference.tar_stream(session)
    assert archive_one(engine, session).action == "archived"
    data = (tmp_path / f"{NAME}.tar.gz").read_bytes()
    decoder = zlib.decompressobj(-15)
    assert decoder.decompress(data[174:]) == stream
    assert decoder.eof and len(decoder.unused_data) == 8


def test_levels(engine: Engine, tmp_path: Path) -> None:
    """Each level works, and the strongest is not larger than the weakest."""
    chance = random.Random(7)
    log = b"".join(b"step %d: loss %.4f\n" % (i, chance.random()) for i in range(20_000))
    for fmt, levels in (("tar.gz", (1, 9)), ("tar.zst", (1, 19)), ("tar.xz", (0, 9))):
        sizes = []
        for level in levels:
            session = make(tmp_path / NAME, {"log": log})
            outcome = archive_one(engine, session, format=fmt, level=level)
            assert outcome.action == "archived", outcome
            sizes.append(outcome.bytes_out)
            Path(os.fsdecode(outcome.target)).unlink()
        assert sizes[1] <= sizes[0], (fmt, sizes)


@pytest.mark.parametrize(
    "options",
    [
        {"format": "zip"},
        {"format": ""},
        {"level": 0},
        {"level": 10},
        {"format": "tar.zst", "level": 20},
        {"format": "tar.xz", "level": 10},
        {"format": "tar", "level": 1},
        {"verify": "never"},
        {"sync": "perhaps"},
    ],
)
def test_bad_options_touch_nothing(engine: Engine, tmp_path: Path, options: dict[str, Any]) -> None:
    session = make(tmp_path / NAME, plain())
    before = snapshot(tmp_path)
    with pytest.raises(InvalidArgument):
        archive_one(engine, session, **options)
    assert_same(before, snapshot(tmp_path))


def test_archive_is_never_more_readable_than_the_session(engine: Engine, tmp_path: Path) -> None:
    cases = {
        "open": (Dir({"a": File(b"x", mode=0o644), "d": Dir({}, mode=0o755)}, mode=0o755), 0o644),
        "closed top": (Dir({"a": File(b"x", mode=0o644)}, mode=0o700), 0o600),
        "group": (Dir({"a": File(b"x", mode=0o640)}, mode=0o750), 0o640),
        "one secret": (Dir({"a": File(b"x", mode=0o644), "key": File(b"s", mode=0o600)}, mode=0o755), 0o600),
        "closed dir": (Dir({"d": Dir({"a": "x"}, mode=0o700)}, mode=0o755), 0o600),
        "dir without search": (Dir({"d": Dir({}, mode=0o744)}, mode=0o755), 0o600),
        "others only": (Dir({"a": File(b"x", mode=0o604)}, mode=0o705), 0o604),
    }
    old = os.umask(0)
    try:
        for name, (tree, expected) in cases.items():
            parent = tmp_path / name
            parent.mkdir()
            outcome = archive_one(engine, make(parent / NAME, tree))
            assert outcome.action == "archived", outcome
            found = stat.S_IMODE(os.stat(outcome.target).st_mode)
            assert found == expected, f"{name}: {found:o}, expected {expected:o}"
    finally:
        os.umask(old)


@pytest.mark.root
def test_archive_belongs_to_the_owner_of_the_session(engine: Engine, tmp_path: Path) -> None:
    session = make(tmp_path / NAME, Dir({"a": File(b"x", owner=(1234, 2345))}, owner=(1234, 2345)))
    outcome = archive_one(engine, session)
    info = os.stat(outcome.target)
    assert (info.st_uid, info.st_gid) == (1234, 2345)


@pytest.mark.root
def test_ids_beyond_the_field(engine: Engine, tmp_path: Path) -> None:
    """Ids of more than seven octal digits stand in records."""
    session = make(
        tmp_path / NAME, {"a": File(b"x", owner=(3_000_000_000, 2_097_152)), "b": File(b"", owner=(2_097_151, 0))}
    )
    stream, _, _ = reference.tar_stream(session)
    assert archive_one(engine, session, format="tar").action == "archived"
    assert (tmp_path / f"{NAME}.tar").read_bytes() == stream


def test_many_sessions_in_one_task(engine: Engine, tmp_path: Path) -> None:
    """More than one batch, more than one worker; every session has its own archive."""
    sessions = many(tmp_path / "root", 300)
    streams = {path: hashlib.sha256(reference.tar_stream(path)[0]).hexdigest() for path in sessions}
    outcomes = archive_all(engine, sessions, jobs=2)
    assert {outcome.action for outcome in outcomes} == {"archived"}
    assert {outcome.path: outcome.sha256 for outcome in outcomes} == streams
    assert sorted(os.listdir(tmp_path / "root")) == sorted(
        os.path.basename(os.fsdecode(p)) + ".tar.gz" for p in sessions
    )


def test_no_jobs(engine: Engine) -> None:
    assert archive_all(engine, []) == []


def test_large_file(engine: Engine, tmp_path: Path) -> None:
    """Larger than any buffer: incompressible, then compressible."""
    session = make(tmp_path / NAME, {"random": os.urandom(9 << 20), "text": b"0123456789abcdef\n" * 600_000})
    stream, _, content = reference.tar_stream(session)
    outcome = archive_one(engine, session)
    assert (outcome.action, outcome.bytes_in) == ("archived", content)
    assert outcome.sha256 == hashlib.sha256(stream).hexdigest()
    assert tools.decoded(outcome.target) == stream


@pytest.mark.parametrize("level", [1, 6])
def test_large_gzip(engines: list[Engine], tmp_path: Path, level: int) -> None:
    """Text, noise and zeros: one member for every reader, the same bytes with any number of workers."""
    chance = random.Random(8)
    log = b"".join(b"step %d: loss %.4f\n" % (i, chance.random()) for i in range(100_000))
    content = {"noise": chance.randbytes(3 << 20), "text": log * 3, "zeros": bytes(3 << 20)}
    for engine in engines:
        made = set()
        for jobs in (1, 2, 5):
            session = make(tmp_path / NAME, content)
            stream, _, _ = reference.tar_stream(session)
            outcome = archive_one(engine, session, level=level, jobs=jobs)
            assert outcome.sha256 == hashlib.sha256(stream).hexdigest(), outcome
            target = Path(os.fsdecode(outcome.target))
            data = target.read_bytes()
            made.add(data)
            if len(made) == 1:
                decoder = zlib.decompressobj(-15)
                assert decoder.decompress(data[174:]) == stream
                assert decoder.eof and len(decoder.unused_data) == 8
                tools.quiet("gzip", "-t", str(target))
                assert int(tools.quiet("gzip", "-l", str(target)).split()[5]) == len(stream)
                assert len(tools.stock_list("bsdtar", target)) == len(content) + 1
                for reader in engines:
                    found = verify_one(reader, outcome.target)
                    assert (found.action, found.sha256) == ("sound", outcome.sha256), found
            target.unlink()
        assert len(made) == 1, engine.name


def test_settled_says_how(engine: Engine, tmp_path: Path) -> None:
    """On volatile storage there is nothing to settle; on a disk one of the ways is named, and can be asked for."""
    root = make(tmp_path / "root", {})
    for sync in ("auto", "fsync", "syncfs"):
        outcomes = archive_all(engine, many(root, 10), sync=sync)
        assert {outcome.action for outcome in outcomes} == {"archived"}
        told = {outcome.settled for outcome in outcomes}
        assert told <= {"fsync", "syncfs", "volatile"}, told
        for outcome in outcomes:
            os.unlink(outcome.target)


@pytest.mark.mounts
def test_volatile_storage_is_told(engine: Engine, tmp_path: Path) -> None:
    from support.privileges import mounted

    with mounted(make(tmp_path / "m", {})) as directory:
        outcome = archive_one(engine, make(directory / NAME, plain()))
        assert (outcome.action, outcome.settled) == ("archived", "volatile")


def test_same_name_in_different_directories(engine: Engine, tmp_path: Path) -> None:
    one = make(tmp_path / "one", {NAME: plain(1)})
    two = make(tmp_path / "two", {NAME: plain(2)})
    name = NAME.encode()
    outcomes = archive_all(engine, [one + b"/" + name, two + b"/" + name])
    assert [outcome.action for outcome in outcomes] == ["archived", "archived"]
    assert os.listdir(one) == os.listdir(two) == [name + b".tar.gz"]


@pytest.mark.parametrize("mark", [".noarchive", ".keep"])
@pytest.mark.parametrize("archived", ["not", "without the mark", "with the mark"])
def test_marked_is_left_alone(engine: Engine, tmp_path: Path, archived: str, mark: str) -> None:
    session = Path(os.fsdecode(make(tmp_path / NAME, plain(7))))
    if archived == "without the mark":
        assert archive_one(engine, session, keep_source=True).action == "kept"
    (session / mark).touch()
    if archived == "with the mark":
        command = ("tar", "--format=posix", "-czf", f"{session}.tar.gz", "-C", str(tmp_path), NAME)
        subprocess.run(command, check=True)
    before = snapshot(tmp_path)
    outcome = archive_one(engine, session)
    assert (outcome.action, outcome.reason) == ("skipped", f"marked with {mark}"), outcome
    assert_same(before, snapshot(tmp_path))
