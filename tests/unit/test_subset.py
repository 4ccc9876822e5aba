"""Parts of many archives, and how far a verification has come."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from runark.archive import bookmark
from runark.archive.bookmark import Bookmarks
from runark.archive.subset import ALL, Subset, parse_subset
from runark.engine.protocol import Outcome
from runark.errors import InvalidArgument

PATHS = [b"/r/%03d/s.tar.gz" % number for number in range(500)]


def test_every_archive_is_in_one_part() -> None:
    parts = [[path for path in PATHS if Subset(part, 7).holds(path, b"/r")] for part in range(1, 8)]
    assert sorted(path for part in parts for path in part) == PATHS
    assert all(40 <= len(part) <= 110 for part in parts), [len(part) for part in parts]


def test_a_part_does_not_depend_on_the_place_of_the_root() -> None:
    for path in PATHS:
        assert Subset(2, 5).holds(path, b"/r") == Subset(2, 5).holds(b"/mnt/x" + path, b"/mnt/x/r")
    # These are for good: an archive that changed its part would be missed for a round.
    assert [Subset(n, 3).holds(b"/r/a/b.tar.gz", b"/r") for n in (1, 2, 3)] == [False, True, False]
    assert [Subset(n, 3).holds(b"/elsewhere/b.tar.gz", None) for n in (1, 2, 3)] == [True, False, False]


def test_today_goes_round() -> None:
    first = date(1970, 1, 1)
    assert [parse_subset("today/3", first + timedelta(days=n)).part for n in range(5)] == [1, 2, 3, 1, 2]
    assert parse_subset("today/30", date(2026, 11, 21)) == Subset(19, 30)
    assert parse_subset("1/1") == ALL


@pytest.mark.parametrize(
    "text", ["", "3", "0/3", "4/3", "1/0", "today/0", "-1/3", "tomorrow/3", "1/3/5", "1.5/3", "a/b"]
)
def test_no_subsets(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^subset: "):
        parse_subset(text)


# ------------------------------------------------------------------------------------------------ bookmarks


def outcomes(*paths: bytes, action: str = "sound") -> list[Outcome]:
    return [Outcome(path, action) for path in paths]


def roots(tmp_path: Path, *names: str, archives: int = 6) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Archives in each of the roots, sorted, and the root of each."""
    bases = {}
    for name in names:
        (tmp_path / name).mkdir(exist_ok=True)
        root = bytes(tmp_path / name)
        bases.update({root + b"/%d.tar.gz" % number: root for number in range(archives)})
    return sorted(bases), bases


def begin(bases: dict[bytes, bytes], subset: Subset = ALL, restart: bool = False) -> tuple[Bookmarks, list[bytes]]:
    marks = Bookmarks(sorted(set(bases.values())), subset, restart)
    return marks, marks.left(sorted(bases), bases)


def file_of(tmp_path: Path, name: str = "a") -> Path:
    return tmp_path / name / ".runark" / "verify.json"


def test_goes_on_behind_the_last_one_without_a_gap(tmp_path: Path) -> None:
    paths, bases = roots(tmp_path, "a")
    marks, todo = begin(bases)
    assert todo == paths
    marks.take(outcomes(paths[1], paths[0], paths[3]))
    marks.take(outcomes(*paths[4:], action="cancelled"))
    marks.close()
    again, todo = begin(bases)
    assert todo == paths[2:]
    again.take(outcomes(*paths[2:]))
    again.close()
    assert not file_of(tmp_path).exists() and begin(bases)[1] == paths


def test_nothing_done_keeps_the_place(tmp_path: Path) -> None:
    paths, bases = roots(tmp_path, "a")
    for done in ([paths[0], paths[1]], []):
        marks, _ = begin(bases)
        marks.take(outcomes(*done))
        marks.close()
    assert begin(bases)[1] == paths[2:]


def test_a_finished_root_waits_for_the_others(tmp_path: Path) -> None:
    paths, bases = roots(tmp_path, "a", "b")
    marks, _ = begin(bases)
    marks.take(outcomes(*paths[:8]))
    marks.close()
    again, todo = begin(bases)
    assert todo == paths[8:]
    again.take(outcomes(*todo))
    again.close()
    assert not file_of(tmp_path, "a").exists() and not file_of(tmp_path, "b").exists()


def test_added_and_removed_archives(tmp_path: Path) -> None:
    paths, bases = roots(tmp_path, "a")
    marks, _ = begin(bases)
    marks.take(outcomes(*paths[:3]))
    marks.close()
    root = bases[paths[0]]
    changed = {path: root for path in (root + b"/00.tar.gz", root + b"/3.tar.gz", root + b"/30.tar.gz")}
    assert begin(changed)[1] == [root + b"/3.tar.gz", root + b"/30.tar.gz"]


def test_another_subset_a_restart_and_a_broken_file_begin_anew(tmp_path: Path) -> None:
    paths, bases = roots(tmp_path, "a")
    marks, _ = begin(bases)
    marks.take(outcomes(*paths[:3]))
    marks.close()
    other = Subset(2, 3)
    assert Bookmarks([bases[paths[0]]], other, False).left(paths, bases) == paths
    assert begin(bases, restart=True)[1] == paths
    assert begin(bases)[1] == paths[3:]
    for data in (b"", b"{", b"[]", b"3", b'{"schema":1}', b'{"schema":1,"subset":"1/1","after":3,"complete":false}'):
        file_of(tmp_path).write_bytes(data)
        assert begin(bases)[1] == paths
    file_of(tmp_path).unlink()
    file_of(tmp_path).symlink_to(tmp_path / "elsewhere")
    assert begin(bases)[1] == paths


def test_names_of_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    root = bytes(tmp_path / "a")
    bases = {root + name: root for name in (b"/1\xff\n.tar.gz", b"/2.tar.gz")}
    marks, _ = begin(bases)
    marks.take(outcomes(sorted(bases)[0]))
    marks.close()
    assert begin(bases)[1] == [root + b"/2.tar.gz"]
    assert json.loads(file_of(tmp_path).read_text())["after"] == {"bytes": b"1\xff\n.tar.gz".hex()}


def test_written_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, bases = roots(tmp_path, "a")
    marks, _ = begin(bases)
    marks.take(outcomes(paths[0]))
    assert not file_of(tmp_path).exists()
    monkeypatch.setattr(bookmark, "SAVE_EVERY", 0.0)
    marks.take(outcomes(paths[1]))
    assert begin(bases)[1] == paths[2:]  # while the first still runs, or after it was killed


def test_where_it_cannot_be_written_it_says_so_once(tmp_path: Path) -> None:
    paths, bases = roots(tmp_path, "a")
    (tmp_path / "a" / ".runark").write_bytes(b"no directory")
    marks, _ = begin(bases)
    marks.take(outcomes(paths[0]))
    marks.close()
    marks.close()
    (note,) = marks.notes
    assert "verify.json: not written" in note and (tmp_path / "a" / ".runark").read_bytes() == b"no directory"
