"""The sample tree is the same every time, and the comparison of `make run` sees every single difference."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from compare_trees import compare
from sample_tree import ODDITIES, make

Change = Callable[[bytes], None]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Sessions with every oddity."""
    root = os.fsencode(tmp_path_factory.mktemp("original") / "sessions")
    make(root, 20 * len(ODDITIES))
    return root


def keep_times(path: bytes, change: Callable[[], None]) -> None:
    """Make a change that leaves no trace in the times of the entry and its directory."""
    directory = os.path.dirname(path)
    before = {each: os.lstat(each) for each in (path, directory)}
    change()
    for each, status in before.items():
        os.utime(each, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def find(root: bytes, name: bytes) -> bytes:
    found = [os.path.join(at, name) for at, _, _ in os.walk(root) if os.path.lexists(os.path.join(at, name))]
    assert found, name
    return found[0]


def flip_a_byte(root: bytes) -> None:
    path = find(root, b"CONFIG.pkl")

    def change() -> None:
        with open(path, "r+b") as file:
            first = file.read(1)
            file.seek(0)
            file.write(bytes([first[0] ^ 1]))

    keep_times(path, change)


def append_a_byte(root: bytes) -> None:
    path = find(root, b"results.csv")

    def change() -> None:
        with open(path, "ab") as file:
            file.write(b"\n")

    keep_times(path, change)


def lose_a_nanosecond(root: bytes) -> None:
    path = find(root, b"results.csv")
    status = os.lstat(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 1))


def open_a_mode(root: bytes) -> None:
    os.chmod(find(root, b"mode-0400"), 0o440)


def drop_the_sticky_bit(root: bytes) -> None:
    os.chmod(find(root, b"empty-1777"), 0o777)


def add_a_file(root: bytes) -> None:
    path = os.path.join(find(root, b"logs"), b"new")
    directory = os.path.dirname(path)
    keep_times(directory, Path(os.fsdecode(path)).touch)


def remove_a_file(root: bytes) -> None:
    path = find(root, b"two\nlines.txt")
    keep_times(os.path.dirname(path), lambda: os.unlink(path))


def redirect_a_link(root: bytes) -> None:
    path = find(root, b"dangling")

    def change() -> None:
        os.unlink(path)
        os.symlink(b"elsewhere", path)

    keep_times(path, change)


def part_a_hard_link(root: bytes) -> None:
    path = find(root, b"best.bin")

    def change() -> None:
        content = Path(os.fsdecode(path)).read_bytes()
        os.unlink(path)
        Path(os.fsdecode(path)).write_bytes(content)
        os.chmod(path, 0o644)

    keep_times(path, change)


def fill_a_hole(root: bytes) -> None:
    path = find(root, b"hole.dat")

    def change() -> None:
        Path(os.fsdecode(path)).write_bytes(bytes(3 << 20))

    keep_times(path, change)


def turn_a_fifo_into_a_file(root: bytes) -> None:
    path = find(root, b"control.fifo")

    def change() -> None:
        os.unlink(path)
        Path(os.fsdecode(path)).touch()

    keep_times(path, change)


CHANGES: list[Change] = [
    flip_a_byte,
    append_a_byte,
    lose_a_nanosecond,
    open_a_mode,
    drop_the_sticky_bit,
    add_a_file,
    remove_a_file,
    redirect_a_link,
    part_a_hard_link,
    fill_a_hole,
    turn_a_fifo_into_a_file,
]


def sessions(root: bytes) -> list[bytes]:
    """Without the tree's own directories: nobody sets their times."""
    return sorted(entry.path for parent in os.scandir(root) for entry in os.scandir(parent.path))


def differences(one: bytes, other: bytes) -> list[str]:
    pairs = list(zip(sessions(one), sessions(other), strict=True))
    assert [os.path.basename(left) for left, _ in pairs] == [os.path.basename(right) for _, right in pairs]
    return [line for left, right in pairs for line in compare(left, right)]


def test_the_same_seed_makes_the_same_tree(original: bytes, tmp_path: Path) -> None:
    again = os.fsencode(tmp_path / "sessions")
    make(again, 20 * len(ODDITIES))
    assert differences(original, again) == []


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_single_change_is_seen(original: bytes, tmp_path: Path, change: Change) -> None:
    changed = os.fsencode(tmp_path / "sessions")
    make(changed, 20 * len(ODDITIES))
    change(changed)
    assert differences(original, changed)
