"""The lock of a root, its holder, and the reserve files."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runark.archive.root import RESERVES, lock_roots, reserve_directory
from runark.errors import RootLocked, UnsafePath


def names(root: Path) -> set[str]:
    return {path.name for path in (root / ".runark").iterdir()}


def test_held_and_released(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    with lock_roots([root]) as notes:
        assert notes == ()
        holder = json.loads((tmp_path / ".runark" / "holder.json").read_text())
        assert holder["pid"] == os.getpid() and holder["schema"] == 1
        with pytest.raises(RootLocked) as caught, lock_roots([root]):
            pass
        for part in (str(tmp_path), f"pid {os.getpid()}", holder["host"], holder["user"], "seconds"):
            assert part in str(caught.value)
    assert names(tmp_path) == {"lock", *(f"reserve-{number}" for number in range(RESERVES))}
    assert reserve_directory(root) == root + b"/.runark"
    with lock_roots([root]):
        pass


def test_another_process_holds_it(tmp_path: Path) -> None:
    code = "import sys, os; from runark.archive.root import lock_roots\n"
    code += "with lock_roots([os.fsencode(sys.argv[1])]): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(RootLocked, match=f"pid {other.pid}"), lock_roots([os.fsencode(tmp_path)]):
            pass
        other.kill()
        other.wait()
    # The lock ended with its process, whatever it left.
    with lock_roots([os.fsencode(tmp_path)]) as notes:
        assert notes == ()


def test_all_or_none(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    a, b = (os.fsencode(tmp_path / name) for name in "ab")
    with lock_roots([b]):
        with pytest.raises(RootLocked), lock_roots([a, b]):
            pass
        with lock_roots([a, a]):
            pass


def test_reserves_are_topped_up(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    with lock_roots([root]):
        pass
    (tmp_path / ".runark" / "reserve-3").unlink()
    (tmp_path / ".runark" / "reserve-7").unlink()
    with lock_roots([root]):
        pass
    assert len([name for name in names(tmp_path) if name.startswith("reserve-")]) == RESERVES
    assert all((tmp_path / ".runark" / f"reserve-{n}").stat().st_size == 0 for n in range(RESERVES))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_without_an_inode_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", refuse)
    root = os.fsencode(tmp_path)
    with lock_roots([root]) as notes:
        assert len(notes) == 1 and os.strerror(number) in notes[0]
        assert reserve_directory(root) is None
        # The root directory itself is locked instead.
        with pytest.raises(RootLocked), lock_roots([root]):
            pass
    with lock_roots([root]):
        pass


def test_without_an_inode_a_lock_file_that_is_there_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = os.fsencode(tmp_path)
    with lock_roots([root]):
        pass
    for number in range(RESERVES):
        (tmp_path / ".runark" / f"reserve-{number}").unlink()
    true_open = os.open

    def full(path: bytes | str, flags: int, *args: int, **options: int) -> int:
        if flags & os.O_CREAT and not os.path.exists(path):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return true_open(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", full)
    with lock_roots([root]) as notes:
        assert notes == ()
        with pytest.raises(RootLocked, match="left no name"), lock_roots([root]):
            pass
    assert names(tmp_path) == {"lock"}


def test_somebody_elses_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".runark").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".runark").touch()
    (tmp_path / "c" / ".runark").mkdir(parents=True)
    (tmp_path / "c" / ".runark" / "lock").symlink_to(tmp_path / "elsewhere" / "file")
    for name in "abc":
        with pytest.raises(UnsafePath, match="remove it"), lock_roots([os.fsencode(tmp_path / name)]):
            pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_exception_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock_roots([os.fsencode(tmp_path)]):
        raise KeyError
    assert names(tmp_path) == {"lock"}
    with lock_roots([os.fsencode(tmp_path)]):
        pass
