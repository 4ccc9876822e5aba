"""Archives written by others: stock tars, Python's tarfile, SciTeX's own archiver; and what of theirs is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from pathlib import Path

import pytest

from runark.engine.protocol import Engine, Limits
from support import tools
from support.drive import restore_one, verify_one
from support.sessions import NAME, plain
from support.trees import Dir, Fifo, File, HardLink, Snapshot, Symlink, Tree, assert_same, make, snapshot

DATA = Path(__file__).resolve().parents[1] / "data"

TREE: Tree = {
    **plain(4),
    "empty": Dir({}),
    "link": Symlink(b"results.csv"),
    "absolute": Symlink(b"/etc/hostname"),
    "one": "shared",
    "two": HardLink(b"one"),
    "pipe": Fifo(),
    "tool": File(b"#!/bin/sh\n", mode=0o755),
    "l" * 120: {"m" * 130: "a long path"},
    "ü": "not ascii",
}


def whole_seconds(tree: Snapshot) -> Snapshot:
    from dataclasses import replace

    return {path: replace(entry, mtime_ns=entry.mtime_ns // 10**9 * 10**9) for path, entry in tree.items()}


COMMANDS: dict[str, tuple[list[str], bool]] = {
    "tar czf": (["tar", "-czf", "{}.tar.gz", NAME], False),
    "tar cJf": (["tar", "-cJf", "{}.tar.xz", NAME], False),
    "tar cf": (["tar", "-cf", "{}.tar", NAME], False),
    "tar --zstd": (["tar", "--zstd", "-cf", "{}.tar.zst", NAME], False),
    "tar --format=gnu": (["tar", "--format=gnu", "-czf", "{}.tar.gz", NAME], False),
    "tar --format=posix": (["tar", "--format=posix", "-czf", "{}.tar.gz", NAME], True),
    "bsdtar --format=pax": (["bsdtar", "--format=pax", "-czf", "{}.tar.gz", NAME], True),
    "bsdtar": (["bsdtar", "-czf", "{}.tar.gz", NAME], False),
    "bsdtar --format=ustar": (["bsdtar", "--format=ustar", "-czf", "{}.tar.gz", NAME], False),
    "bsdtar --format=gnutar": (["bsdtar", "--format=gnutar", "-czf", "{}.tar.gz", NAME], False),
    "bsdtar zstd": (["bsdtar", "--format=pax", "--zstd", "-cf", "{}.tar.zst", NAME], True),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_stock_tools(engine: Engine, tmp_path: Path, command: str) -> None:
    words, nanoseconds = COMMANDS[command]
    tree = dict(TREE)
    if "ustar" in command:
        del tree["l" * 120], tree["ü"]
    session = make(tmp_path / NAME, tree)
    before = snapshot(session)
    tools.quiet(*(word.replace("{}", NAME) for word in words), cwd=tmp_path)
    shutil.rmtree(tmp_path / NAME)
    (archive,) = tmp_path.iterdir()
    assert verify_one(engine, archive).action == "unsealed"
    # The only top directory is called like the archive: it becomes the target.
    outcome = restore_one(engine, archive, tmp_path / NAME, same_owner=True)
    assert outcome.action == "restored", outcome
    after = snapshot(session)
    assert_same(before if nanoseconds else whole_seconds(before), after if nanoseconds else whole_seconds(after))


@pytest.mark.parametrize(
    "fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"]
)
@pytest.mark.parametrize("mode", ["gz", "xz", ""])
def test_tarfile(engine: Engine, tmp_path: Path, fmt: int, mode: str) -> None:
    tree = dict(TREE)
    if fmt == tarfile.USTAR_FORMAT:
        del tree["l" * 120], tree["ü"]
    session = make(tmp_path / NAME, tree)
    before = snapshot(session)
    archive = tmp_path / (f"{NAME}.tar" + (f".{mode}" if mode else ""))
    with tarfile.open(archive, f"w:{mode}", format=fmt) as opened:  # type: ignore[call-overload]
        opened.add(session.decode(), NAME)
    outcome = restore_one(engine, archive, tmp_path / "dest", same_owner=True)
    assert outcome.action == "restored", outcome
    # A name that differs from the archive's: nothing is lost, the top directory stands below the target or is it.
    dest = tmp_path / "dest"
    found = snapshot(dest / NAME if (dest / NAME).is_dir() else dest)
    # tarfile's pax times are floats
    assert_same(_microseconds(whole_seconds(before)), _microseconds(whole_seconds(found)))


def _microseconds(tree: Snapshot) -> Snapshot:
    return tree


def test_several_tops_stand_below_the_target(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "in", {"a": {"x": "1"}, "b": "2"})
    tools.quiet("tar", "-czf", str(tmp_path / "both.tar.gz"), "a", "b", cwd=tmp_path / "in")
    outcome = restore_one(engine, tmp_path / "both.tar.gz", tmp_path / "dest", same_owner=True)
    assert outcome.action == "restored", outcome
    below = {path: entry for path, entry in snapshot(tmp_path / "dest").items() if path}
    assert_same(whole_seconds({p: e for p, e in snapshot(tmp_path / "in").items() if p}), whole_seconds(below))


def test_made_of_a_dot(engine: Engine, tmp_path: Path) -> None:
    """`tar czf x.tar.gz -C dir .`: every member begins with `./`, the directory itself is `./`."""
    session = make(tmp_path / "in", dict(TREE))
    before = snapshot(session)
    tools.quiet("tar", "--format=posix", "-czf", str(tmp_path / "x.tar.gz"), "-C", session, ".")
    outcome = restore_one(engine, tmp_path / "x.tar.gz", tmp_path / "dest", same_owner=True)
    assert outcome.action == "restored", outcome
    assert_same({p: e for p, e in before.items() if p}, {p: e for p, e in snapshot(tmp_path / "dest").items() if p})


def test_only_top_with_another_name_stands_below(engine: Engine, tmp_path: Path) -> None:
    """Without a seal the name decides: a level of somebody's archive is not dropped silently."""
    make(tmp_path / "in", {"logs": {"x": "1"}})
    tools.quiet("tar", "-czf", str(tmp_path / "run.tar.gz"), "logs", cwd=tmp_path / "in")
    assert restore_one(engine, tmp_path / "run.tar.gz", tmp_path / "run").action == "restored"
    assert os.listdir(tmp_path / "run") == ["logs"]


def test_several_gzip_members(engine: Engine, tmp_path: Path) -> None:
    """As pigz with independent blocks, or `cat` of pieces of one stream, make them."""
    from support import tarbytes

    stream = tarbytes.joined([tarbytes.member(b"S/%d" % n, b"x" * 700) for n in range(20)])
    pieces = [stream[at : at + 1000] for at in range(0, len(stream), 1000)]
    (tmp_path / "S.tar.gz").write_bytes(b"".join(tarbytes.gz(piece) for piece in pieces))
    outcome = restore_one(engine, tmp_path / "S.tar.gz", tmp_path / "S")
    assert (outcome.action, outcome.entries) == ("restored", 20), outcome


def test_git_archive_with_its_global_comment(engine: Engine, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "S.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "0f1e2d"}) as opened:
        opened.add(make(tmp_path / "S", plain()).decode(), "S")
    assert restore_one(engine, tmp_path / "S.tar", tmp_path / "dest").action == "restored"


def test_sparse_files_of_gnu_tar(engine: Engine, tmp_path: Path) -> None:
    """Old GNU sparse members are refused by name, not restored as rubbish; pax ones come back or are refused too."""
    from support.trees import Sparse

    make(tmp_path / NAME, {"holes": Sparse(1 << 20, ((65536, b"x" * 5000),))})
    before = snapshot(tmp_path / NAME)
    for fmt, version in (("gnu", ""), ("posix", "0.0"), ("posix", "0.1"), ("posix", "1.0")):
        archive = tmp_path / f"{fmt}{version}.tar"
        extra = [f"--sparse-version={version}"] if version else []
        tools.quiet("tar", "--sparse", f"--format={fmt}", *extra, "-cf", str(archive), NAME, cwd=tmp_path)
        dest = tmp_path / f"dest {fmt}{version}"
        outcome = restore_one(engine, archive, dest, same_owner=True)
        if outcome.action == "restored":
            assert_same(whole_seconds(before), whole_seconds(snapshot(dest / NAME)))
        else:
            assert outcome.action in ("damaged", "failed")
            assert not dest.exists()


@pytest.mark.parametrize("archive", sorted(DATA.glob("2026*.tar.*")), ids=lambda path: path.name)
def test_archives_of_scitex_session(engine: Engine, tmp_path: Path, archive: Path) -> None:
    """Two archives made by scitex-session 0.3.1's `archive_session_dir`, committed as they are."""
    name = archive.name.partition(".")[0]
    copy = tmp_path / archive.name
    shutil.copy(archive, copy)
    assert verify_one(engine, copy).action == "unsealed"
    assert engine.seals([os.fsencode(copy)], 1) == [None]
    assert len(engine.members(os.fsencode(copy), Limits())) == 10
    outcome = restore_one(engine, copy, tmp_path / name, remove_archive=True)
    assert outcome.action == "restored", outcome
    assert copy.exists() == bool(outcome.reason)  # owners were not asked for: then the archive stays, with the reason
    found = snapshot(tmp_path / name)
    assert sorted(found) == [
        b"", b"CONFIGS", b"CONFIGS/CONFIG.pkl", b"CONFIGS/CONFIG.yaml", b"empty", b"latest.csv", b"logs",
        b"logs/stderr.log", b"logs/stdout.log", b"results.csv",
    ]  # fmt: skip
    assert (tmp_path / name / "CONFIGS" / "CONFIG.pkl").read_bytes() == bytes(range(256))
    assert (tmp_path / name / "CONFIGS" / "CONFIG.yaml").read_text() == f"ID: {name}\nSEED: 42\n"
    digest = hashlib.sha256((tmp_path / name / "results.csv").read_bytes()).hexdigest()
    assert digest == hashlib.sha256("".join(f"{i},{i * i}\n" for i in range(200)).encode()).hexdigest()
    assert found[b"latest.csv"].link == b"results.csv"
    assert found[b"CONFIGS/CONFIG.pkl"].mode == 0o640
    assert stat.S_ISDIR(os.stat(tmp_path / name / "empty").st_mode)
