"""Random trees: whatever a directory may hold comes back as it was, and stock tools agree about what was written."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from runark.engine.protocol import FORMATS, Engine
from support import reference, tools
from support.drive import archive_one, restore_one, verify_one
from support.privileges import is_root
from support.sessions import NAME, supports
from support.trees import Dir, Fifo, File, HardLink, Node, Snapshot, Sparse, Symlink, Tree, assert_same, make, snapshot

FAITHFUL: dict[str, Any] = {"same_owner": True, "special_modes": True}

# ext4 keeps times from 1901 to 2446; what is outside is cut when it is set, and so never part of the source.
TIMES = st.one_of(
    st.integers(-(2**31) * 10**9, 2**33 * 10**9 + 10**9),
    st.integers(-(2**31), 2**33).map(lambda s: s * 10**9),
    st.integers(-5, 5),
    st.sampled_from([0, -1, 999_999_999, -999_999_999, 8_589_934_591 * 10**9, 8_589_934_592 * 10**9]),
)
_LETTER = st.integers(1, 255).filter(lambda code: code != 0x2F).map(lambda code: bytes([code]))
_RAW = st.lists(_LETTER, min_size=1, max_size=40).map(b"".join)
_LONG = st.tuples(_LETTER, st.integers(90, 255)).map(lambda pair: pair[0] * pair[1])
_WORDS = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60).map(
    lambda text: text.encode()
)
NAMES = st.one_of(_RAW, _LONG, _WORDS, st.sampled_from([b"a", b"a.b", b"a-b", b"a0", b"A", b"..a", b"-"])).filter(
    lambda name: name not in (b".", b"..") and len(name) <= 255
)
# What its owner cannot read, or remove from, only root can archive.
READ, ALL = (0, 0) if is_root() else (0o400, 0o700)
MODES = st.one_of(st.sampled_from([0o644, 0o755, 0, 0o7777, 0o600]), st.integers(0, 0o7777)).map(
    lambda mode: mode | READ
)
DIR_MODES = st.one_of(st.sampled_from([0o755, 0o700, 0o2775, 0o1777]), st.integers(0, 0o7777)).map(
    lambda mode: mode | ALL
)
CONTENT = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([0, 1, 511, 512, 513, 1024, 10_239, 10_240, 65_536, 131_073]).map(lambda size: b"c" * size),
)
XATTRS = st.dictionaries(
    st.one_of(_WORDS, st.sampled_from([b"a=b", b"100%", b"%3D"]))
    .filter(lambda k: len(k) < 100)
    .map(lambda k: b"user." + k),
    st.binary(max_size=60),
    max_size=2,
)
TARGETS = st.one_of(_RAW, _LONG, st.sampled_from([b"/etc/passwd", b"../../..", b".", b"x/" * 120]))


@st.composite
def sparse_files(draw: st.DrawFn) -> Sparse:
    """Up to four regions of whole and of broken blocks in a file of up to some MiB."""
    regions = []
    at = 0
    for _ in range(draw(st.integers(0, 4))):
        at += draw(st.sampled_from([0, 4096, 65_536, 1 << 20]))
        data = b"r" * draw(st.sampled_from([1, 100, 4096, 5000]))
        regions.append((at, data))
        at += len(data)
    return Sparse(at + draw(st.sampled_from([1, 4096, 1 << 20])), tuple(regions), mtime_ns=draw(TIMES))


def leaves(xattrs: bool) -> st.SearchStrategy[Node]:
    attributes = XATTRS if xattrs else st.just({})
    return st.one_of(
        st.builds(File, CONTENT, mode=MODES, mtime_ns=TIMES, xattrs=attributes),
        sparse_files(),
        st.builds(Symlink, TARGETS, mtime_ns=TIMES),
        st.builds(Fifo, mode=MODES, mtime_ns=TIMES),
    )


def trees(xattrs: bool) -> st.SearchStrategy[Dir]:
    """A directory, up to some levels deep, with hard links between its files."""
    attributes = XATTRS if xattrs else st.just({})

    def directories(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.builds(
            Dir, st.dictionaries(NAMES, children, max_size=5), mode=DIR_MODES, mtime_ns=TIMES, xattrs=attributes
        )

    nodes = st.recursive(leaves(xattrs), directories, max_leaves=14)
    top = st.builds(Dir, st.dictionaries(NAMES, nodes, max_size=6), mode=DIR_MODES, mtime_ns=TIMES, xattrs=attributes)
    return st.tuples(top, st.lists(st.tuples(NAMES, st.integers(0, 50)), max_size=4)).map(lambda pair: _linked(*pair))


def _files(tree: Tree, below: bytes = b"") -> list[bytes]:
    found = []
    for key, node in tree.items():
        path = below + os.fsencode(key)
        if isinstance(node, Dir):
            found += _files(node.children, path + b"/")
        elif isinstance(node, File | Sparse):
            found.append(path)
    return found


def _linked(top: Dir, wanted: list[tuple[bytes, int]]) -> Dir:
    """The same directory with hard links at its top to files anywhere in it, where names are free."""
    files = _files(top.children)
    children = dict(top.children)
    for name, which in wanted:
        if files and name not in children:
            children[name] = HardLink(files[which % len(files)])
    return Dir(children, top.mode, top.mtime_ns, top.xattrs)


@pytest.fixture(scope="session")
def ground() -> Any:
    """One directory for all examples; each example uses and empties its own below it."""
    directory = Path(tempfile.mkdtemp(prefix="runark-properties-"))
    yield directory
    shutil.rmtree(directory)


def _fresh(ground: Path) -> Path:
    place = Path(tempfile.mkdtemp(dir=ground))
    return place


def _clear(place: Path) -> None:
    # rm works by handles and so on modes and path lengths that a walk by path would stumble over
    tools.quiet("rm", "-rf", "--one-file-system", str(place))


_HERE = supports(tempfile.gettempdir(), "xattrs")


@given(tree=trees(_HERE), fmt=st.sampled_from(FORMATS))
def test_identity_and_stream(engine: Engine, ground: Path, tree: Dir, fmt: str) -> None:
    """Archived and restored nothing differs, and the stream is the one that the page of the format asks for."""
    place = _fresh(ground)
    try:
        session = make(place / NAME, tree)
        before = snapshot(session)
        stream, entries, content = reference.tar_stream(session)
        outcome = archive_one(engine, session, format=fmt)
        assert outcome.action == "archived", outcome
        assert (outcome.entries, outcome.bytes_in) == (entries, content)
        assert tools.decoded(outcome.target) == stream
        assert verify_one(engine, outcome.target).action in ("sound", "unsealed")
        back = restore_one(engine, outcome.target, session, remove_archive=True, **FAITHFUL)
        assert back.action == "restored", back
        assert_same(before, snapshot(session))
        assert os.listdir(place) == [NAME]
    finally:
        _clear(place)


@given(tree=trees(_HERE))
def test_engines_write_the_same_and_read_each_other(engines: list[Engine], ground: Path, tree: Dir) -> None:
    place = _fresh(ground)
    try:
        session = make(place / NAME, tree)
        before = snapshot(session)
        digests = set()
        for engine in engines:
            outcome = archive_one(engine, session, keep_source=True)
            digests.add(outcome.sha256)
            # Each finds its own and the other's archive equal to the source.
            for other in engines:
                again = archive_one(other, session, keep_source=True, verify="compare")
                assert again.action == "kept", again
                assert sorted(os.listdir(place)) == [NAME, f"{NAME}.tar.gz"], "an equal archive was moved aside"
                dest = place / f"by {other.name}"
                assert restore_one(other, outcome.target, dest, **FAITHFUL).action == "restored"
                assert_same(before, snapshot(dest))
                _clear(dest)
            os.unlink(outcome.target)
        assert len(digests) == 1
    finally:
        _clear(place)


@given(tree=trees(_HERE))
def test_stock_tools_extract_the_same(engine: Engine, ground: Path, tree: Dir) -> None:
    """GNU tar and bsdtar list every member and bring back all they can keep, without a warning."""
    place = _fresh(ground)
    try:
        session = make(place / NAME, tree)
        before = snapshot(session)
        archive = archive_one(engine, session).target
        for program, options in (
            (
                "tar",
                (
                    "--warning=no-timestamp",
                    "--xattrs",
                    "--xattrs-include=user.*",
                    "--acls",
                    "-p",
                    "--numeric-owner",
                    "--same-owner",
                ),
            ),
            ("bsdtar", ("--xattrs", "--acls", "-p", "--numeric-owner", "--same-owner")),
        ):
            stored = [NAME.encode() + (b"/" + path if path else b"") for path in before]
            assert sorted(tools.stock_list(program, archive)) == sorted(stored), program
            there = place / program
            there.mkdir()
            tools.quiet(program, *options, "-xf", archive, "-C", str(there))
            note(program)
            assert_same(_kept_by(program, before, before), _kept_by(program, before, snapshot(there / NAME)))
            _clear(there)
    finally:
        _clear(place)


def _kept_by(program: str, before: Snapshot, tree: Snapshot) -> Snapshot:
    """`tree` without what this program is known not to keep of `before`."""
    kept = {}
    for path, entry in tree.items():
        if program == "bsdtar":
            # libarchive takes the fraction of a negative time for a positive one, and leaves %25 and %3D in names.
            entry = replace(entry, xattrs=tuple(x for x in entry.xattrs if not set("%=") & set(x[0])))
            if path in before and before[path].mtime_ns < 0:
                entry = replace(entry, mtime_ns=0)
        # Which parts of a sparse file are allocated is the program's choice.
        kept[path] = replace(entry, regions=())
    return kept
