"""Scanning: which directories are sessions, which of them are selected, what they hold; the same from every engine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runark.engine.protocol import KINDS, Engine, Rule, ScanColumns, ScanSpec
from runark.errors import InvalidArgument
from support import apart
from support.drive import RULE, Row, columns, rows
from support.privileges import mounted, without_override
from support.sessions import NAME, everything, name, plain
from support.trees import DEFAULT_MTIME_NS, Dir, Fifo, File, HardLink, Sparse, Symlink, Tree, make

A, B, C, D, E, F = (name(number) for number in range(6))
T = DEFAULT_MTIME_NS
DAY = 86_400 * 10**9


def found(engine: Engine, root: Path | bytes, *, rules: tuple[Rule, ...] = (RULE,), **fields: Any) -> dict[str, Row]:
    """Rows by path below the root."""
    result = columns(engine, root, rules=rules, **fields)
    base = os.fsencode(root)
    return {os.fsdecode(os.path.relpath(row.path, base)): row for row in rows(result, rules)}


def verdicts(engine: Engine, root: Path, **fields: Any) -> dict[str, str]:
    """Verdict of every session row, skipped ones too."""
    return {path: row.verdict for path, row in found(engine, root, keep_skipped=True, **fields).items()}


# ------------------------------------------------------------------------------------------------ finding


def test_sessions_at_any_depth(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {A: {}, "x": {B: {}, "y": {"z": {C: {}}}}, "empty": {}, "not a session": {"file": "x"}})
    assert list(found(engine, tmp_path / "r")) == [A, f"x/{B}", f"x/y/z/{C}"]


def test_a_session_is_a_leaf(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {A: {B: {}, "sub": {C: {}}}})
    assert list(found(engine, tmp_path / "r")) == [A]


def test_what_only_looks_like_a_session(engine: Engine, tmp_path: Path) -> None:
    """A file, a pipe, a link to a session, a name with something before or after it."""
    tree: Tree = {
        A: "a file", B: Fifo(), C: Symlink(b"real/" + D.encode()), "real": {D: {}}, f"x{E}": {}, f"{E}x": {},
        "linked": Symlink(b"real"), "loop": Symlink(b"."), f"{F}\n": {},
    }  # fmt: skip
    make(tmp_path / "r", tree)
    assert list(found(engine, tmp_path / "r")) == [f"real/{D}"]


def test_names_of_the_rule(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {f"DEBUG_{A}": {}, f"{A}-note": {}, f"DEBUG_{A}-x y": {}, f"{A}-": {}, A.lower(): {}})
    assert list(found(engine, tmp_path / "r")) == sorted([f"DEBUG_{A}", f"{A}-note", f"DEBUG_{A}-x y"])


def test_rules_with_parent_and_marker(engine: Engine, tmp_path: Path) -> None:
    hydra = Rule("hydra", rb"\d{2}-\d{2}-\d{2}", rb"\d{4}-\d{2}-\d{2}", b".hydra")
    marked = Rule("marked", rb"run_.*", None, b"deep/marker")
    tree: Tree = {
        "2026-02-13": {"14-30-15": {".hydra": {}}, "14-30-16": {}, "14-30-17": {".hydra": "a file is enough"}},
        "elsewhere": {"14-30-15": {".hydra": {}}},
        "run_1": {"deep": {"marker": "x"}},
        "run_2": {"deep": {}},
        "run_3": {},
        A: {},
    }
    make(tmp_path / "r", tree)
    rows_ = found(engine, tmp_path / "r", rules=(hydra, marked, RULE))
    assert {path: row.layout for path, row in rows_.items()} == {
        "2026-02-13/14-30-15": "hydra", "2026-02-13/14-30-17": "hydra", "run_1": "marked", A: "scitex",
    }  # fmt: skip


def test_first_rule_that_holds(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {A: {}, B: {"m": ""}})
    rules = (Rule("marked", rb"2026Y.*", None, b"m"), RULE)
    assert {p: r.layout for p, r in found(engine, tmp_path / "r", rules=rules).items()} == {A: "scitex", B: "marked"}


def test_names_of_any_bytes(engine: Engine, tmp_path: Path) -> None:
    rule = Rule("any", rb"s(?:.|\n)*")
    names = [b"s\xff\xfe", b"s\n", b"s \x1b[0m", "sü".encode(), b"s" * 255]
    root = make(tmp_path / "r", {key: {} for key in names})
    got = rows(columns(engine, root, rules=(rule,)), (rule,))
    assert [os.path.basename(row.path) for row in got] == sorted(names)


def test_kinds_of_rows(engine: Engine, tmp_path: Path) -> None:
    hexa = "0123456789abcdef"
    tree: Tree = {
        A: {},
        f"{B}.tar.gz": "gz", f"{B}.tar.zst": "z", f"{B}.tar.xz": "x", f"{B}.tar": "t",
        f".{C}.tar.gz.{hexa}.part": "p", f".{C}.tar.{hexa}.part": "p",
        f".{D}.removing-{hexa}": {}, f".{D}.restoring-{hexa}": {}, f".{D}.discarding-{hexa}": {},
        f".{E}.tar.gz.damaged-{hexa}": "d", f".{E}.tar.xz.superseded-{hexa}": "s",
        # names of the right form on the wrong kind of thing, and wrong names
        f"{F}.tar.gz": {}, f".{F}.removing-{hexa}": "file", f".{F}.discarding-{hexa}": "file",
        f".{F}.tar.gz.{hexa}.part": {},
        f".{F}.tar.gz.{hexa[:-1]}.part": "short", f".{F}.tar.gz.{hexa.upper()}.part": "upper", f"{F}.tar.bz2": "x",
        f".{F}.removing-{hexa}x": {}, "other.tar.gz": "x", f"{F}.tar.gz.part": "x",
    }  # fmt: skip
    make(tmp_path / "r", tree)
    got = found(engine, tmp_path / "r", kinds=KINDS)
    assert {path: row.kind for path, row in got.items()} == {
        A: "session",
        f"{B}.tar.gz": "archive", f"{B}.tar.zst": "archive", f"{B}.tar.xz": "archive", f"{B}.tar": "archive",
        f".{C}.tar.gz.{hexa}.part": "part", f".{C}.tar.{hexa}.part": "part",
        f".{D}.removing-{hexa}": "tombstone", f".{D}.restoring-{hexa}": "staging",
        f".{D}.discarding-{hexa}": "discard",
        f".{E}.tar.gz.damaged-{hexa}": "aside", f".{E}.tar.xz.superseded-{hexa}": "aside",
    }  # fmt: skip
    for kind in KINDS:
        assert {row.kind for row in found(engine, tmp_path / "r", kinds=(kind,)).values()} == {kind}


def test_inside_leftovers_nothing_is_found(engine: Engine, tmp_path: Path) -> None:
    """A tombstone or a staging directory is one thing; sessions in it are its content."""
    hexa = "0123456789abcdef"
    make(
        tmp_path / "r",
        {
            f".{D}.removing-{hexa}": {A: {}},
            f".{D}.restoring-{hexa}": {B: {}},
            f".{D}.discarding-{hexa}": {B: {}},
            C: {},
        },
    )
    assert list(found(engine, tmp_path / "r")) == [C]


def test_5000_flat_sessions(engine: Engine, tmp_path: Path) -> None:
    names = sorted(name(number) for number in range(5_000))
    root = make(tmp_path / "r", dict.fromkeys(names, Dir({"x": ""})))
    result = columns(engine, root)
    assert [os.path.basename(row.path).decode() for row in rows(result)] == names
    assert (result.entries, result.directories, result.faults) == (5_000, 1, ())


# ------------------------------------------------------------------------------------------------ filters


def test_depth(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {A: {}, "x": {B: {}, "y": {C: {}}}})
    for low, high, expected in (
        (0, None, [A, f"x/{B}", f"x/y/{C}"]), (2, None, [f"x/{B}", f"x/y/{C}"]), (0, 1, [A]), (0, 2, [A, f"x/{B}"]),
        (2, 2, [f"x/{B}"]), (4, None, []), (0, 0, []),
    ):  # fmt: skip
        assert list(found(engine, tmp_path / "r", min_depth=low, max_depth=high)) == expected, (low, high)


def test_include_and_exclude(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {f"{A}-alpha": {}, f"{B}-beta": {}, "old": {f"{C}-alpha": {}}, "keep": {f"{D}-gamma": {}}})
    assert list(found(engine, tmp_path / "r", include=(b"alpha",))) == [f"{A}-alpha", f"old/{C}-alpha"]
    assert list(found(engine, tmp_path / "r", include=(b"beta$", b"gamma"))) == [f"{B}-beta", f"keep/{D}-gamma"]
    assert list(found(engine, tmp_path / "r", exclude=(b"^old$",))) == [f"{A}-alpha", f"{B}-beta", f"keep/{D}-gamma"]
    assert list(found(engine, tmp_path / "r", include=(b"alpha",), exclude=(b"_0000",))) == [f"old/{C}-alpha"]
    result = columns(engine, tmp_path / "r", include=(b"alpha",), keep_skipped=True)
    assert len(rows(result)) == 2  # not reported at all, whatever is kept


@pytest.mark.parametrize("field", ["include", "exclude"])
def test_pattern_that_does_not_compile(engine: Engine, tmp_path: Path, field: str) -> None:
    with pytest.raises(InvalidArgument):
        columns(engine, tmp_path, include=(b"(",)) if field == "include" else columns(engine, tmp_path, exclude=(b"(",))


def test_status(engine: Engine, tmp_path: Path) -> None:
    tree: Tree = {
        "RUNNING": {A: {}, "FINISHED_SUCCESS": {B: {}}},
        "FINISHED_SUCCESS": {C: {}, "deeper": {D: {}, "FINISHED_ERROR": {E: {}}, "RUNNING": {F: {}}}},
        "FINISHED_ERROR": {A: {}},
        "FINISHED": {A: {}},
        "RUNNING_OLD": {A: {}},
        B: {},
    }
    make(tmp_path / "r", tree)
    got = found(engine, tmp_path / "r", keep_skipped=True)
    assert {path: row.status for path, row in got.items()} == {
        f"RUNNING/{A}": "running", f"RUNNING/FINISHED_SUCCESS/{B}": "running", f"FINISHED_SUCCESS/{C}": "success",
        f"FINISHED_SUCCESS/deeper/{D}": "success", f"FINISHED_SUCCESS/deeper/FINISHED_ERROR/{E}": "error",
        f"FINISHED_SUCCESS/deeper/RUNNING/{F}": "running", f"FINISHED_ERROR/{A}": "error", f"FINISHED/{A}": "finished",
        f"RUNNING_OLD/{A}": "unknown", B: "unknown",
    }  # fmt: skip
    assert {row.verdict for row in got.values() if row.status == "running"} == {"running"}
    assert {row.verdict for row in got.values() if row.status != "running"} == {"selected"}
    assert not [row for row in found(engine, tmp_path / "r").values() if row.status == "running"]
    only = found(engine, tmp_path / "r", statuses=("error", "finished"))
    assert {row.status for row in only.values()} == {"error", "finished"}
    running = found(engine, tmp_path / "r", statuses=("running",))
    assert {row.status for row in running.values()} == {"running"} and len(running) == 3
    # The root's own name counts, what is above it does not.
    assert verdicts(engine, tmp_path / "r" / "RUNNING")[A] == "running"
    assert verdicts(engine, tmp_path / "r" / "RUNNING" / "FINISHED_SUCCESS")[B] == "selected"


def test_marked(engine: Engine, tmp_path: Path) -> None:
    make(
        tmp_path / "r",
        {
            A: {".noarchive": ""}, B: {"sub": {".noarchive": "", ".keep": ""}},
            "x": {".noarchive": "", C: {}, "y": {D: {}}},
            "z": {".keep": "", E: {}, F: {".keep": ""}},
        },
    )  # fmt: skip
    # `.keep` above a session is what people put into empty directories for git.
    expected = {
        A: "marked", B: "selected", f"x/{C}": "marked", f"x/y/{D}": "marked", f"z/{E}": "selected", f"z/{F}": "marked",
    }  # fmt: skip
    assert verdicts(engine, tmp_path / "r", measure=True) == expected
    # Without going through the session its own mark is not seen; packing sees it.
    assert verdicts(engine, tmp_path / "r") == {**expected, A: "selected", f"z/{F}": "selected"}


def test_times(engine: Engine, tmp_path: Path) -> None:
    """mtime of the directory is strict on both sides; age is that of the newest entry anywhere in it."""
    make(
        tmp_path / "r",
        {
            A: Dir({"old": File(b"", mtime_ns=T - DAY)}, mtime_ns=T),
            B: Dir({"sub": Dir({"growing": File(b"", mtime_ns=T + DAY)}, mtime_ns=T)}, mtime_ns=T),
            C: Dir({}, mtime_ns=T + DAY),
            D: Dir({"l": Symlink(b"x", mtime_ns=T + DAY)}, mtime_ns=T),
        },
    )
    root = tmp_path / "r"
    assert set(found(engine, root, changed_after_ns=T)) == {C}
    assert set(found(engine, root, changed_after_ns=T - 1)) == {A, B, C, D}
    assert set(found(engine, root, changed_before_ns=T)) == set()
    assert set(found(engine, root, changed_before_ns=T + 1)) == {A, B, D}
    assert verdicts(engine, root, changed_before_ns=T + 1)[C] == "mtime"
    assert set(found(engine, root, older_than_ns=T + 1)) == {A}
    assert set(found(engine, root, older_than_ns=T)) == set()
    assert set(found(engine, root, older_than_ns=T + DAY)) == {A}
    assert set(found(engine, root, older_than_ns=T + DAY + 1)) == {A, B, C, D}
    assert verdicts(engine, root, older_than_ns=T + 1) == {A: "selected", B: "young", C: "young", D: "young"}
    assert set(found(engine, root, newer_than_ns=T + DAY)) == {B, C, D}
    assert set(found(engine, root, newer_than_ns=T + DAY + 1)) == set()
    assert verdicts(engine, root, newer_than_ns=T + 1)[A] == "old"
    assert set(found(engine, root, newer_than_ns=T)) == {A, B, C, D}


def test_sizes(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {A: {"x": b"1" * 999}, B: {"x": b"1" * 600, "d": {"y": b"2" * 400}}, C: {"x": b"1" * 1001}})
    root = tmp_path / "r"
    assert set(found(engine, root, min_size=1000)) == {B, C}
    assert set(found(engine, root, max_size=1000)) == {A, B}
    assert set(found(engine, root, min_size=1000, max_size=1000)) == {B}
    assert verdicts(engine, root, min_size=1000)[A] == "size"


@pytest.mark.root
def test_owner(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {A: Dir({}, owner=(1234, 2345)), B: Dir({}, owner=(0, 2345)), C: {}})
    root = tmp_path / "r"
    assert set(found(engine, root, uid=1234)) == {A}
    assert set(found(engine, root, gid=2345)) == {A, B}
    assert set(found(engine, root, not_uid=1234)) == {B, C}
    assert set(found(engine, root, not_gid=2345)) == {C}
    assert set(found(engine, root, uid=0, gid=2345)) == {B}
    assert verdicts(engine, root, uid=1234) == {A: "selected", B: "owner", C: "owner"}
    assert {path: row.uid for path, row in found(engine, root).items()} == {A: 1234, B: 0, C: 0}


def test_order_of_verdicts(engine: Engine, tmp_path: Path) -> None:
    """The first reason that holds is told; one session has them all, filters are taken away one by one."""
    make(
        tmp_path / "r", {"RUNNING": {A: Dir({".noarchive": "", "new": File(b"1" * 10, mtime_ns=T + DAY)}, mtime_ns=T)}}
    )
    make(
        tmp_path / "s", {"FINISHED": {A: Dir({".noarchive": "", "new": File(b"1" * 10, mtime_ns=T + DAY)}, mtime_ns=T)}}
    )
    make(tmp_path / "t", {"FINISHED": {A: Dir({"new": File(b"1" * 10, mtime_ns=T + DAY)}, mtime_ns=T)}})
    fields: dict[str, Any] = {
        "statuses": ("error",), "not_uid": os.geteuid(), "changed_before_ns": T, "older_than_ns": T + 1,
        "newer_than_ns": T + 2 * DAY, "min_size": 11,
    }  # fmt: skip
    assert list(verdicts(engine, tmp_path / "r", **fields).values()) == ["running"]
    assert list(verdicts(engine, tmp_path / "s", **fields).values()) == ["status"]
    assert list(verdicts(engine, tmp_path / "s", older_than_ns=T + 1).values()) == ["marked"]
    for expected, gone in (
        ("status", "statuses"), ("owner", "not_uid"), ("mtime", "changed_before_ns"), ("young", "older_than_ns"),
        ("old", "newer_than_ns"), ("size", "min_size"), ("selected", ""),
    ):  # fmt: skip
        assert list(verdicts(engine, tmp_path / "t", **fields).values()) == [expected]
        fields.pop(gone, None)


def test_skipped_are_counted(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {"RUNNING": {A: {}, B: {}}, C: {".noarchive": ""}, D: {}, E: Dir({}, mtime_ns=T + 1)})
    for keep in (False, True):
        result = columns(engine, tmp_path / "r", keep_skipped=keep, older_than_ns=T + 1)
        counted = {key: count for key, count in result.skipped.items() if count}
        assert counted == {"running": 2, "marked": 1, "young": 1}
        assert len(rows(result)) == (5 if keep else 1)


# ------------------------------------------------------------------------------------------------ measuring


def test_measure(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {})
    session = make(tmp_path / "r" / A, everything(tmp_path))
    (row,) = found(engine, tmp_path / "r", measure=True).values()
    info = [os.lstat(session)]
    for directory, dirs, files in os.walk(session):
        info += [os.lstat(os.path.join(directory, entry)) for entry in dirs + files]
    import stat

    assert row.inodes == len(info)
    assert row.size == sum(i.st_size for i in info if stat.S_ISREG(i.st_mode))
    assert row.allocated == sum(i.st_blocks * 512 for i in info)
    assert row.newest_ns == max(i.st_mtime_ns for i in info)
    assert (row.mtime_ns, row.uid) == (info[0].st_mtime_ns, info[0].st_uid)


def test_not_measured(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {A: plain()})
    (row,) = found(engine, tmp_path / "r").values()
    assert (row.inodes, row.size, row.allocated) == (0, 0, 0)


def test_measured_archive(engine: Engine, tmp_path: Path) -> None:
    make(tmp_path / "r", {f"{A}.tar.gz": b"x" * 5000})
    (row,) = found(engine, tmp_path / "r", kinds=("archive",), measure=True).values()
    info = os.stat(tmp_path / "r" / f"{A}.tar.gz")
    assert (row.inodes, row.size, row.allocated) == (1, 5000, info.st_blocks * 512)


# ------------------------------------------------------------------------------------------------ roots and obstacles


def test_several_roots(engine: Engine, tmp_path: Path) -> None:
    one = make(tmp_path / "one", {A: {}, "sub": {B: {}}})
    two = make(tmp_path / "two", {A: {}})
    result = columns(engine, two, one)
    assert [row.path for row in rows(result)] == [
        one + b"/" + A.encode(), one + b"/sub/" + B.encode(), two + b"/" + A.encode(),
    ]  # fmt: skip
    # Overlapping roots: every session once.
    assert len(rows(columns(engine, one, one + b"/sub", one))) == 2


def test_missing_root_is_a_fault(engine: Engine, tmp_path: Path) -> None:
    good = make(tmp_path / "good", {A: {}})
    result = columns(engine, good, tmp_path / "missing")
    assert len(rows(result)) == 1
    (fault,) = result.faults
    assert (fault.path, fault.errno) == (os.fsencode(tmp_path / "missing"), 2)


def test_root_that_is_a_file(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = columns(engine, tmp_path / "file")
    assert rows(result) == [] and len(result.faults) == 1
    assert result.faults[0].errno == 20


def test_unreadable_directories(engine: Engine, tmp_path: Path) -> None:
    """Listed as faults; a session that cannot be read is not selected once it has to be looked into."""
    make(
        tmp_path / "r",
        {
            "closed": Dir({A: {}}, mode=0o000),
            B: {"closed": Dir({"x": "y"}, mode=0o000)},
            C: {},
            D: Dir({"x": "y"}, mode=0o000),
        },
    )
    spec = ScanSpec(roots=(os.fsencode(tmp_path / "r"),), rules=(RULE,), measure=True, keep_skipped=True)
    result: ScanColumns = apart.call(engine.name, "columns", spec=spec, prefix=without_override())
    got = {os.fsdecode(os.path.basename(row.path)): row.verdict for row in rows(result)}
    assert got == {B: "unreadable", C: "selected", D: "unreadable"}
    assert {os.path.relpath(fault.path, os.fsencode(tmp_path / "r")) for fault in result.faults} == {
        b"closed", B.encode() + b"/closed", D.encode(),
    }  # fmt: skip
    assert {fault.errno for fault in result.faults} == {13}
    quick: ScanColumns = apart.call(
        engine.name, "columns", spec=replace(spec, measure=False), prefix=without_override()
    )
    assert b"closed" in b" ".join(fault.path for fault in quick.faults)


@pytest.mark.mounts
def test_other_filesystems(engines: list[Engine], tmp_path: Path) -> None:
    make(tmp_path / "r", {"mnt": {}, A: {}, B: {}})
    with mounted(tmp_path / "r" / "mnt") as inner, mounted(tmp_path / "r" / A):
        make(inner / C, {})
        for engine in engines:
            assert verdicts(engine, tmp_path / "r") == {A: "device", B: "selected"}
            across = verdicts(engine, tmp_path / "r", one_file_system=False)
            # Asked to look across, a session that is itself a mount point may be told either way, but by all the same.
            assert across.pop(A) in ("device", "selected")
            assert across == {B: "selected", f"mnt/{C}": "selected"}
            assert verdicts(engine, inner) == {C: "selected"}
        everywhere = [verdicts(engine, tmp_path / "r", one_file_system=False) for engine in engines]
        assert all(answer == everywhere[0] for answer in everywhere)


def test_cancelled_scan_gives_what_it_found(engine: Engine, tmp_path: Path) -> None:
    root = make(tmp_path / "r", {name(n): {"x": ""} for n in range(300)})
    task = engine.scan(ScanSpec(roots=(root,), rules=(RULE,), measure=True))
    task.cancel()
    while not task.poll(0.2):
        pass
    assert len(rows(task.result())) <= 300


# ------------------------------------------------------------------------------------------------ the engines agree


SPECS: dict[str, dict[str, Any]] = {
    "names only": {},
    "all kinds": {"kinds": KINDS},
    "measured": {"measure": True},
    "measured, all kinds, skipped kept": {"measure": True, "kinds": KINDS, "keep_skipped": True},
    "older": {"older_than_ns": T + 1, "keep_skipped": True},
    "newer and measured": {"newer_than_ns": T + 1, "keep_skipped": True, "measure": True},
    "size": {"min_size": 100, "max_size": 10_000, "keep_skipped": True},
    "status": {"statuses": ("success", "unknown"), "keep_skipped": True},
    "depth": {"min_depth": 1, "max_depth": 2, "keep_skipped": True},
    "the root as well": {"min_depth": 0, "max_depth": 0},
    "patterns": {"include": (rb"_000[0-3]$", rb"note"), "exclude": (rb"^x",), "keep_skipped": True},
    "everything": {
        "measure": True, "kinds": KINDS, "keep_skipped": True, "older_than_ns": T + DAY, "newer_than_ns": T - DAY,
        "min_size": 1, "changed_after_ns": T - DAY, "include": (rb"2026",), "exclude": (rb"^nothing$",),
    },
}  # fmt: skip


@pytest.mark.parametrize("which", SPECS)
def test_columns_are_identical(engines: list[Engine], tmp_path: Path, which: str) -> None:
    hexa = "0123456789abcdef"
    tree: Tree = {
        A: plain(), B: {".noarchive": ""}, C: Dir({"new": File(b"n", mtime_ns=T + 2 * DAY)}),
        f"DEBUG_{D}-note": {"s": Sparse(1 << 20)},
        "RUNNING": {A: plain(1)}, "FINISHED_SUCCESS": {A: plain(2), "x": {B: plain(3)}}, "FINISHED_ERROR": {B: {}},
        "x": {A: {}, "y": {B: {"h": "1", "i": HardLink(b"x/y/" + B.encode() + b"/h")}}}, ".hidden": {F: {}},
        f"{E}.tar.gz": "archive", f".{E}.tar.gz.{hexa}.part": "part", f".{E}.removing-{hexa}": plain(4),
        f".{F}.restoring-{hexa}": {"a": "b"}, f".{E}.tar.gz.damaged-{hexa}": "d", "link": Symlink(b"x"),
        b"\xff\xfe": {A.encode(): {}}, "empty": {}, NAME: Dir({"k": Fifo()}, mtime_ns=T - 2 * DAY),
    }  # fmt: skip
    root = make(tmp_path / "r", tree)
    answers = [columns(engine, root, **SPECS[which]) for engine in engines]
    for answer in answers:
        rows(answer)
    for engine, answer in zip(engines[1:], answers[1:], strict=True):
        assert rows(answer) == rows(answers[0]), engine.name
        assert replace(answer, skipped={}) == replace(answers[0], skipped={}), engine.name
        assert {k: v for k, v in answer.skipped.items() if v} == {k: v for k, v in answers[0].skipped.items() if v}
