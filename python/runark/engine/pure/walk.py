"""Listing one session by handles: every entry with the record that tells later whether it is still the same.

A session's directories are opened relative to each other, never by path and never through a symlink, and are kept open
(up to a number) as long as the session is worked on. The listing gives entries in the order of the archive: depth
first, names in byte order.

Regular files are not examined here unless asked (`examine`): packing opens them anyway and takes their record from the
open handle.
"""

from __future__ import annotations

import operator
import os
import stat
import sys as python
import time
from collections.abc import Callable, Sequence

from runark.engine.protocol import Limits
from runark.engine.pure import sys
from runark.engine.pure.ends import Changed, Control, Skipped, escape, failure
from runark.engine.pure.names import MARKS

__all__ = [
    "COARSE_NS",
    "Entry",
    "Handles",
    "Key",
    "heed_mark",
    "key_of",
    "list_names",
    "record_session",
    "wait_for_clock",
]

Key = tuple[int, int, int, int, int, int]
"""Device, inode, mode, size, mtime and ctime in nanoseconds.

Equal keys at two times mean nothing happened in between.
"""

MOST_OPEN = 128  # directories of one session

_NAMES_AT_ONCE = 1000  # about what one request of a listing gives

_FINE_NS = 20_000_000  # clocks of filesystems with fractions of seconds tick at least this often
COARSE_NS = 2_000_000_000
_SECOND = 10**9

_LIMITS = Limits()
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}
_ODD = {stat.S_IFSOCK: "socket", stat.S_IFBLK: "block device", stat.S_IFCHR: "character device"}


key_of: Callable[[os.stat_result], Key] = operator.attrgetter(
    "st_dev", "st_ino", "st_mode", "st_size", "st_mtime_ns", "st_ctime_ns"
)
"""The record of an entry."""


encode_name: Callable[[str], bytes] = os.fsencode
"""The bytes of a name that `os.scandir` or `os.listdir` gave for a handle."""
if python.getfilesystemencoding() == "utf-8":
    encode_name = operator.methodcaller("encode", "utf-8", "surrogateescape")


class Entry:
    """One entry of a session. `path` is relative to the session directory, whose own path is empty."""

    __slots__ = ("children", "fd", "key", "kind", "link", "name", "parent", "path", "status", "sum")

    def __init__(
        self, path: bytes, name: bytes, parent: Entry | None, kind: str, status: os.stat_result | None
    ) -> None:
        self.path = path
        self.name = name
        self.parent = parent
        self.kind = kind
        self.status = status  # of a file only if it was asked for
        self.key: Key | None = None if status is None else key_of(status)
        self.fd = -1  # of a directory while it is open, of a file while it is held
        self.children: Sequence[Entry] = ()  # of a directory: what it held when it was listed
        self.link = b""  # of a symlink: its target
        self.sum: int | None = None  # in memory, of a file that was read: the sum of its content (`content.py`)


class Handles:
    """The open directories of one session, and files of it that are held: open, with a read lease.

    At most `MOST_OPEN` directories; one that was closed is opened again and must be the same. `directories`: all there
    are, in the order of the archive; `held`: the files, whose handles are in their entries. `settled`: the records were
    older than a tick of the clock when the listing began, so whatever is done to a directory since shows in its record.
    """

    def __init__(self, top: Entry, control: Control) -> None:
        self._top = top
        self._control = control
        self._open: dict[Entry, None] = {}
        self.directories = [top]
        self.held: list[Entry] = []
        self.settled = False

    def get(self, entry: Entry) -> int:
        """The handle of a directory. Raises `Changed` if its name leads to another one by now, `OSError`."""
        if entry.fd >= 0:
            return entry.fd
        chain = [entry]
        while (above := chain[-1].parent) is not None and above.fd < 0:
            chain.append(above)
        for one in reversed(chain):
            if one.parent is None:
                raise Changed("the session directory is closed")
            self._control.asks(2)
            fd = os.open(one.name, sys.DIRECTORY, dir_fd=one.parent.fd)
            status = os.fstat(fd)
            if one.key is not None and (status.st_dev, status.st_ino) != one.key[:2]:
                os.close(fd)
                raise Changed(f"{escape(one.path)} is another directory now")
            self.keep(one, fd)
        return entry.fd

    def keep(self, entry: Entry, fd: int) -> None:
        """Take over an open handle."""
        if len(self._open) >= MOST_OPEN:
            oldest = next(other for other in self._open if other is not entry.parent)
            del self._open[oldest]
            os.close(oldest.fd)
            oldest.fd = -1
        entry.fd = fd
        self._open[entry] = None

    def let_go(self) -> None:
        """Close the files that are held: their leases go with that."""
        for entry in self.held:
            os.close(entry.fd)
            entry.fd = -1
        self.held.clear()

    def close_below(self) -> None:
        """Close all but the session directory, whose lock goes with its handle."""
        self.let_go()
        for entry in self._open:
            os.close(entry.fd)
            entry.fd = -1
        self._open.clear()

    def close(self) -> None:
        """Close all, the session directory included."""
        self.close_below()
        if self._top.fd >= 0:
            os.close(self._top.fd)
            self._top.fd = -1


def open_session(directory: int, name: bytes, path: bytes) -> Entry:
    """Open the session directory `name` in `directory`: its entry, with record and handle. Raises `Failure`."""
    try:
        fd = os.open(name, sys.DIRECTORY, dir_fd=directory)
    except OSError as cause:
        raise failure("open", path, cause) from cause
    top = Entry(b"", name, None, "dir", os.fstat(fd))
    top.fd = fd
    return top


def list_names(fd: int) -> set[bytes]:
    """The names in a directory."""
    return set(map(encode_name, os.listdir(fd)))


def listing(
    top: Entry, handles: Handles, session: bytes, control: Control, *, examine: bool, odd: bool = False
) -> list[Entry]:
    """Every entry of the session, `top` first, in the order of the archive.

    With `examine` regular files get their record too; `odd`: sockets and devices are entries as others. Raises
    `Skipped` for what cannot be archived (socket, device, mount point, over the limits), `Changed` if an entry vanished
    or was replaced while it was listed, `Failure` for what cannot be read.
    """
    assert top.key is not None
    device = top.key[0]
    room = _LIMITS.max_path - len(top.name) - 1
    entries = [top]
    waiting = [top]
    directories = handles.directories
    path = b""
    try:
        while waiting:
            directory = waiting.pop()
            path = directory.path
            fd = handles.get(directory)
            prefix = path + b"/" if path else b""
            if prefix.count(b"/") + 2 > _LIMITS.max_depth:
                _refuse_if_filled(fd, path)
            children = directory.children = []
            asked = 3  # what listing a directory takes
            with os.scandir(fd) as found:
                for one in found:
                    name = encode_name(one.name)
                    path = prefix + name
                    if len(path) > room:
                        raise Skipped(f"path longer than {_LIMITS.max_path} bytes: {escape(path[:80])}...")
                    if not examine and one.is_file(follow_symlinks=False):
                        entry = Entry(path, name, directory, "file", None)
                    elif one.is_dir(follow_symlinks=False):
                        entry = Entry(path, name, directory, "dir", None)
                        _open_directory(entry, handles, fd, device)
                        waiting.append(entry)
                        directories.append(entry)
                        asked += 2
                    else:
                        entry = _examined(path, name, directory, fd, device, odd)
                        asked += 2 if entry.link else 1
                    children.append(entry)
            entries += children
            control.asks(asked + len(children) // _NAMES_AT_ONCE)
            if len(entries) > _LIMITS.max_entries:
                raise Skipped(f"more than {_LIMITS.max_entries} entries")
    except (FileNotFoundError, NotADirectoryError):
        raise Changed(f"{escape(path)} vanished or was replaced while it was listed") from None
    except OSError as cause:
        raise failure("list", session + b"/" + path if path else session, cause) from cause
    entries.sort(key=_in_order)
    directories.sort(key=_in_order)
    return entries


def _in_order(entry: Entry) -> bytes:
    # `/` counts as the smallest byte: a directory is followed by all that is in it.
    return entry.path.replace(b"/", b"\0")


def _open_directory(entry: Entry, handles: Handles, parent: int, device: int) -> None:
    fd = os.open(entry.name, sys.DIRECTORY, dir_fd=parent)
    status = entry.status = os.fstat(fd)
    entry.key = key_of(status)
    handles.keep(entry, fd)
    if status.st_dev != device:
        raise Skipped(f"mount point {escape(entry.path)}")


def _examined(path: bytes, name: bytes, parent: Entry, fd: int, device: int, odd: bool) -> Entry:
    """An entry that is no directory, with its record and, for a symlink, its target."""
    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    form = stat.S_IFMT(status.st_mode)
    kind = _KINDS.get(form, "odd")
    if kind == "odd" and not odd:
        raise Skipped(f"{_ODD.get(form, 'entry of an unknown kind')} {escape(path)}")
    if status.st_dev != device:
        raise Skipped(f"mount point {escape(path)}")
    if kind == "dir":
        raise Changed(f"{escape(path)} was replaced while it was listed")
    entry = Entry(path, name, parent, kind, status)
    if kind == "symlink":
        entry.link = os.readlink(name, dir_fd=fd)
    return entry


def _refuse_if_filled(fd: int, path: bytes) -> None:
    if os.listdir(fd):
        raise Skipped(f"deeper than {_LIMITS.max_depth} levels: {escape(path[:80])}...")


def _is_settled(ctime_ns: int, now_ns: int) -> bool:
    """Whether a change after `now_ns` to an entry last changed at `ctime_ns` is sure to get another ctime."""
    return now_ns - ctime_ns >= (_FINE_NS if ctime_ns % _SECOND else COARSE_NS)


def wait_for_clock(ctime_ns: int) -> bool:
    """Wait until a change to an entry last changed at `ctime_ns` is sure to get another ctime.

    Returns whether there was a need to.
    """
    now = time.time_ns()
    if _is_settled(ctime_ns, now):
        return False
    quantum = _FINE_NS if ctime_ns % _SECOND else COARSE_NS
    # a ctime in the future (a server's clock) says nothing about its age: one quantum it is
    time.sleep(min(quantum, quantum - (now - ctime_ns)) / _SECOND)
    return True


def heed_mark(entries: list[Entry]) -> None:
    """Refuse a session that its owner has marked. Raises `Skipped`."""
    for entry in entries[0].children:
        if entry.name in MARKS:
            raise Skipped(f"marked with {escape(entry.name)}")


def record_session(
    directory: int,
    name: bytes,
    session: bytes,
    young: int | None,
    control: Control,
    *,
    examine: bool,
    claim: bool,
    odd: bool = False,
) -> tuple[list[Entry], Handles]:
    """Open and list the session `name` in `directory`: its entries in the order of the archive, and the open handles.

    If something in it changed so recently that a next change might not show, it waits and lists again. `young`: raise
    `Skipped` if an entry's mtime is at or after this (regular files only with `examine`). `claim`: lock the session as
    long as its handle is open; raise `Skipped` if another process has it. `odd`, and what is raised: as for `listing`.
    """
    waited = False
    while True:
        begun = time.time_ns()
        control.asks(3 if claim else 2)
        top = open_session(directory, name, session)
        handles = Handles(top, control)
        try:
            if claim and sys.lock(top.fd) == "held":
                raise Skipped("another process is working on it")
            entries = listing(top, handles, session, control, examine=examine, odd=odd)
            newest = 0
            for entry in entries:
                status = entry.status
                if status is not None:
                    if young is not None and status.st_mtime_ns >= young:
                        raise Skipped("young")
                    newest = max(newest, status.st_ctime_ns)
            handles.settled = _is_settled(newest, begun)
            if handles.settled or waited:
                return entries, handles
            wait_for_clock(newest)
        except BaseException:
            handles.close()
            raise
        handles.close()
        waited = True
