"""Hostile and broken archives: refused with the member's name, nothing outside touched, no trace left."""

from __future__ import annotations

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from runark.engine.protocol import Engine, Limits
from support import apart, tarbytes
from support.drive import named_in, restore_one, verify_one
from support.hostile import CASES, Case
from support.trees import Snapshot, assert_same, make, snapshot


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with neighbours that must not change."""
    make(tmp_path / "outside", {"precious": "x", "dir": {"y": "z"}})
    (tmp_path / "work").mkdir()
    return tmp_path


def _restore(engine: Engine, case: Case, place: Path) -> tuple[str, str, Snapshot | None]:
    """Action of restore, action of verify, the tree if there is one. Checks what holds for each archive."""
    path = place / "work" / f"case.{case.suffix}"
    path.write_bytes(case.build())
    before = snapshot(place)
    checked = verify_one(engine, path)
    assert_same(before, snapshot(place), retimed=(b"work",))
    dest = place / "work" / "dest"
    outcome = restore_one(engine, path, dest, special_modes=False)
    tree: Snapshot | None = None
    if outcome.action == "restored":
        tree = snapshot(dest)
        for directory, _, _ in os.walk(dest):  # so that it can be taken away
            os.chmod(directory, 0o700)
        assert checked.action in ("sound", "unsealed"), (outcome, checked)
    else:
        assert outcome.action in ("damaged", "failed"), outcome
        assert_same(before, snapshot(place), retimed=(b"work",))
        assert checked.action in ("damaged", "foreign") or case.expect == "either", (outcome, checked)
        assert outcome.reason or outcome.fault, "refused without a word"
        if case.expect == "refused":
            assert named_in(outcome, case.named), f"{case.named!r} is not named: {outcome}"
            assert named_in(outcome, path.name.encode()) or outcome.path == os.fsencode(path)
    return outcome.action, checked.action, tree


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_archive(engine: Engine, place: Path, case: Case) -> None:
    action, _, _ = _restore(engine, case, place)
    if case.expect == "restored":
        assert action == "restored"
    elif case.expect == "refused":
        assert action != "restored"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_engines_agree(engines: list[Engine], tmp_path: Path, case: Case) -> None:
    """The same verdict and the same tree from every engine."""
    answers = []
    for engine in engines:
        place = tmp_path / engine.name
        place.mkdir()
        make(place / "outside", {"precious": "x"})
        (place / "work").mkdir()
        answers.append(_restore(engine, case, place))
    for answer in answers[1:]:
        assert answer[:2] == answers[0][:2]
        if answer[2] is not None and answers[0][2] is not None:
            assert_same(_without_now(answers[0][2]), _without_now(answer[2]))


def _without_now(tree: Snapshot) -> Snapshot:
    """Directories that the archive only implies have the time of the restore."""
    return {p: replace(e, mtime_ns=0) if e.kind == "dir" else e for p, e in tree.items()}


def test_setuid_is_dropped(engine: Engine, tmp_path: Path) -> None:
    stream = tarbytes.joined(
        [tarbytes.member(b"S/", typeflag=b"5", mode=0o7755), tarbytes.member(b"S/x", b"x", mode=0o7777)]
    )
    (tmp_path / "S.tar").write_bytes(stream)
    assert restore_one(engine, tmp_path / "S.tar", tmp_path / "S").action == "restored"
    assert {entry.mode for entry in snapshot(tmp_path / "S").values()} == {0o755, 0o777}


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(max_entries=5), b""),
        (Limits(max_path=20), b"S/a file with a long name"),
        (Limits(max_depth=3), b"S/d/d/d"),
        (Limits(max_bytes=1000), b"S/large"),
        (Limits(max_metadata=100), b""),
    ],
)
def test_limits(engine: Engine, place: Path, limits: Limits, named: bytes) -> None:
    parts = [
        tarbytes.member(b"S/", typeflag=b"5", mode=0o755),
        tarbytes.member(b"S/a file with a long name", b"x"),
        tarbytes.member(b"S/d/d/d/d", b"x"),
        tarbytes.pax((b"comment", b"c" * 200)),
        tarbytes.member(b"S/large", b"x" * 2000),
        *(tarbytes.member(b"S/%d" % n, b"") for n in range(5)),
    ]
    path = place / "work" / "S.tar"
    path.write_bytes(tarbytes.joined(parts))
    before = snapshot(place)
    outcome = restore_one(engine, path, place / "work" / "S", limits=limits)
    assert outcome.action in ("damaged", "failed"), outcome
    assert named_in(outcome, named), outcome
    assert_same(before, snapshot(place), retimed=(b"work",))
    assert restore_one(engine, path, place / "work" / "S").action == "restored"


def test_ratio(engine: Engine, place: Path) -> None:
    """More content than any honest file of that size: refused by default when the archive has no seal."""
    case = next(case for case in CASES if "30 GiB" in case.name)
    path = place / "work" / f"case.{case.suffix}"
    path.write_bytes(case.build())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert verify_one(engine, path).action == "damaged"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300_000  # kB


@pytest.mark.root
def test_nothing_is_written_through_links_as_another_user(engine: Engine, place: Path) -> None:
    """The same in a process bound by permissions: refusals do not rest on root's reach."""
    from support.privileges import without_override

    case = next(case for case in CASES if case.name == "link: written through a symlink")
    path = place / "work" / "case.tar"
    path.write_bytes(case.build())
    before = snapshot(place)
    outcome = apart.call(engine.name, "restore_one", str(path), str(place / "work" / "dest"), prefix=without_override())
    assert outcome.action in ("damaged", "failed")
    assert_same(before, snapshot(place), retimed=(b"work",))
