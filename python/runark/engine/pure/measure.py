"""Adding up the entries of one session, for a scan that asks for sizes or ages."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from runark.engine.pure import sys
from runark.engine.pure.names import MARKS
from runark.engine.pure.walk import encode_name

__all__ = ["Measured", "exists", "measure", "open_below", "vanished"]

Report = Callable[[str, bytes, OSError], None]


class Measured:
    """The sums over a session, its own directory included, and what was met on the way."""

    __slots__ = (
        "allocated",
        "directories",
        "entries",
        "inodes",
        "marked",
        "mounted",
        "newest",
        "own",
        "size",
        "unreadable",
    )

    def __init__(self) -> None:
        self.inodes = 0
        self.size = 0
        self.allocated = 0
        self.newest = 0
        self.own: os.stat_result | None = None  # of the session directory
        self.marked = False  # `.noarchive` is in it
        self.mounted = False  # it is a mount point or holds one
        self.unreadable = False
        self.directories = 0
        self.entries = 0

    def add(self, status: os.stat_result) -> None:
        """Count one entry."""
        newest = status.st_mtime_ns
        if newest > self.newest or not self.inodes:
            self.newest = newest
        self.inodes += 1
        self.allocated += status.st_blocks * 512
        if stat.S_ISREG(status.st_mode):
            self.size += status.st_size


def vanished(cause: OSError) -> bool:
    """Whether an error says that the entry is gone, or is something else by now: no fault of a scan's."""
    return cause.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def exists(path: bytes, directory: int) -> bool:
    """Whether something is at the path below the handle. Raises `OSError` if that cannot be told."""
    if os.access(path, os.F_OK, dir_fd=directory, follow_symlinks=False):
        return True
    try:
        os.stat(path, dir_fd=directory, follow_symlinks=False)
    except OSError as cause:
        if vanished(cause):
            return False
        raise
    return True


def open_below(top: int, below: bytes) -> int:
    """Open a directory some levels below a handle, no symlink followed on the way. Raises `OSError`."""
    fd = top
    for name in below.split(b"/"):
        above = fd
        try:
            fd = os.open(name, sys.DIRECTORY, dir_fd=above)
        finally:
            if above != top:
                os.close(above)
    return fd


def measure(
    parent: int, name: bytes, path: bytes, device: int, report: Report, *, heeds_mark: bool, stopped: Callable[[], bool]
) -> Measured | None:
    """Add up every entry of the directory `name` in `parent`; None if it is gone, or if the scan was stopped meanwhile.

    `device` is the parent's: mount points are not entered. With `heeds_mark` a session that holds one of `MARKS` is not
    gone through. What cannot be listed or examined goes to `report`.
    """
    found = Measured()
    waiting = [(name, path)]
    while waiting:
        if stopped():
            return None
        below, here = waiting.pop()
        try:
            fd = open_below(parent, below)
        except OSError as cause:
            if vanished(cause):
                if found.own is None:
                    return None
                continue
            report("open", here, cause)
            found.unreadable = True
            _add_unopened(parent, below, found)
            continue
        try:
            status = os.fstat(fd)
            if found.own is None:
                found.own = status
                found.add(status)
            elif status.st_dev != device:
                found.mounted = True
                continue
            else:
                found.add(status)
            if status.st_dev != device:
                found.mounted = True
                return found
            _add_listing(fd, below, here, found, waiting, report, heeds_mark=heeds_mark and below == name)
            if found.marked:
                return found
        finally:
            os.close(fd)
    return found


def _add_unopened(parent: int, below: bytes, found: Measured) -> None:
    """A directory that cannot be opened is there all the same."""
    try:
        status = os.stat(below, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return  # its fault is told already
    found.add(status)
    if found.own is None:
        found.own = status


def _add_listing(
    fd: int,
    below: bytes,
    path: bytes,
    found: Measured,
    waiting: list[tuple[bytes, bytes]],
    report: Report,
    *,
    heeds_mark: bool,
) -> None:
    found.directories += 1
    try:
        with os.scandir(fd) as listing:
            for entry in listing:
                found.entries += 1
                name = encode_name(entry.name)
                if heeds_mark and name in MARKS:
                    found.marked = True
                if entry.is_dir(follow_symlinks=False):
                    # counted when it is opened, which saves looking it up once more
                    waiting.append((below + b"/" + name, path + b"/" + name))
                    continue
                try:
                    found.add(entry.stat(follow_symlinks=False))
                except OSError as cause:
                    if not vanished(cause):
                        found.inodes += 1
                        found.unreadable = True
                        report("stat", path + b"/" + name, cause)
    except OSError as cause:
        if not vanished(cause):
            found.unreadable = True
            report("list", path, cause)
