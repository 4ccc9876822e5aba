"""Trees of files as data: declare one, make it, take a snapshot of it, compare snapshots.

A tree is a mapping of names to nodes. Names are `bytes` (or `str`, encoded as UTF-8), a plain mapping stands for
a directory, plain `bytes` or `str` for a file:

    make(root, {"logs": {"a.txt": "hello"}, "empty": Dir(), "link": Symlink(b"logs/a.txt")})

A snapshot holds everything that must survive archiving and restoring: kind, mode, owner, mtime in nanoseconds,
size, content, data regions of sparse files, link target, groups of hard links, user xattrs and ACLs. It is taken
through directory handles without following links, so that names of any bytes and paths of any length work.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

__all__ = [
    "Device",
    "Dir",
    "Entry",
    "Fifo",
    "File",
    "HardLink",
    "Node",
    "Snapshot",
    "Socket",
    "Sparse",
    "Symlink",
    "Tree",
    "acl",
    "assert_same",
    "differences",
    "make",
    "snapshot",
]

PathLike: TypeAlias = "str | bytes | os.PathLike[str]"

DEFAULT_MTIME_NS = 1_700_000_000_123_456_789
"""A fixed past with nanoseconds, so that what is made is neither young nor different from run to run."""

_READ = 1 << 20
_BLOCK = 4096


@dataclass(frozen=True)
class File:
    """A regular file with these bytes."""

    content: bytes = b""
    mode: int = 0o644
    mtime_ns: int | None = DEFAULT_MTIME_NS
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    owner: tuple[int, int] | None = None


@dataclass(frozen=True)
class Sparse:
    """A regular file of `size` bytes in which only `regions` (offset, bytes) are written."""

    size: int
    regions: tuple[tuple[int, bytes], ...] = ()
    mode: int = 0o644
    mtime_ns: int | None = DEFAULT_MTIME_NS
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Dir:
    """A directory; its mode and mtime are set after its children are made."""

    children: Tree = field(default_factory=dict)
    mode: int = 0o755
    mtime_ns: int | None = DEFAULT_MTIME_NS
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    owner: tuple[int, int] | None = None


@dataclass(frozen=True)
class Symlink:
    """A symbolic link, target verbatim."""

    target: bytes
    mtime_ns: int | None = DEFAULT_MTIME_NS


@dataclass(frozen=True)
class HardLink:
    """Another name of the file at `to`, a path relative to the top of the tree."""

    to: bytes


@dataclass(frozen=True)
class Fifo:
    """A named pipe."""

    mode: int = 0o644
    mtime_ns: int | None = DEFAULT_MTIME_NS


@dataclass(frozen=True)
class Socket:
    """A bound Unix socket (its path must be short: the kernel allows 107 bytes)."""


@dataclass(frozen=True)
class Device:
    """A character device node; making one needs root."""

    major: int = 1
    minor: int = 3


# The keys of a tree are names, `str` or `bytes`; a mapping is invariant in its keys, so they are not narrowed here.
Tree: TypeAlias = "Mapping[Any, Node]"
Node: TypeAlias = "File | Sparse | Dir | Symlink | HardLink | Fifo | Socket | Device | Mapping[Any, Node] | bytes | str"


# ------------------------------------------------------------------------------------------------ making


def make(root: PathLike, tree: Tree | Dir) -> bytes:
    """Make `tree` at `root` (created; its parent must exist). Returns the path as bytes, absolute."""
    path = os.path.abspath(os.fsencode(root))
    top = tree if isinstance(tree, Dir) else Dir(tree)
    os.mkdir(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        links: list[tuple[bytes, bytes]] = []
        _fill(fd, b"", path, top, links)
        for name, to in links:
            # dir_fd on both sides: the whole path may be longer than the kernel takes, the relative one is not
            os.link(to, name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
        _finish(fd, top)
        _dress(fd, top)
    finally:
        os.close(fd)
    return path


def _node(value: Node) -> Node:
    if isinstance(value, str):
        return File(value.encode())
    if isinstance(value, bytes):
        return File(value)
    if isinstance(value, Mapping):
        return Dir(value)
    return value


def _fill(fd: int, below: bytes, real: bytes, directory: Dir, links: list[tuple[bytes, bytes]]) -> None:
    for key, value in directory.children.items():
        name = os.fsencode(key)
        node = _node(value)
        path = below + b"/" + name if below else name
        if isinstance(node, Dir):
            os.mkdir(name, dir_fd=fd)
            child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            try:
                _fill(child, path, real, node, links)
            finally:
                os.close(child)
        elif isinstance(node, HardLink):
            links.append((path, node.to))
        elif isinstance(node, File | Sparse):
            _file(fd, name, node)
        elif isinstance(node, Symlink):
            os.symlink(node.target, name, dir_fd=fd)
            _touch(fd, name, node.mtime_ns)
        elif isinstance(node, Fifo):
            os.mkfifo(name, dir_fd=fd)
            os.chmod(name, node.mode, dir_fd=fd)
            _touch(fd, name, node.mtime_ns)
        elif isinstance(node, Socket):
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(f"/proc/self/fd/{fd}/".encode() + name)
        elif isinstance(node, Device):
            os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(node.major, node.minor), dir_fd=fd)
        else:
            raise TypeError(f"not a node of a tree: {name!r}: {node!r}")


def _file(fd: int, name: bytes, node: File | Sparse) -> None:
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=fd)
    try:
        if isinstance(node, File):
            _write(handle, node.content)
            if node.owner is not None:
                os.fchown(handle, *node.owner)
        else:
            os.ftruncate(handle, node.size)
            for offset, data in node.regions:
                os.pwrite(handle, data, offset)
            # Extents that are not yet allocated would make the number of blocks change under the test.
            os.fsync(handle)
        for key, value in node.xattrs.items():
            os.setxattr(handle, key, value)
        os.fchmod(handle, node.mode)
        if node.mtime_ns is not None:
            os.utime(handle, ns=(node.mtime_ns, node.mtime_ns))
    finally:
        os.close(handle)


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _touch(fd: int, name: bytes, mtime_ns: int | None) -> None:
    if mtime_ns is not None:
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=fd, follow_symlinks=False)


def _finish(fd: int, directory: Dir) -> None:
    """Give every directory its xattrs, mode and time, children first."""
    for key, value in directory.children.items():
        node = _node(value)
        if isinstance(node, Dir):
            child = os.open(os.fsencode(key), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            try:
                _finish(child, node)
                _dress(child, node)
            finally:
                os.close(child)


def _dress(fd: int, node: Dir) -> None:
    for key, value in node.xattrs.items():
        os.setxattr(fd, key, value)
    if node.owner is not None:
        os.fchown(fd, *node.owner)
    os.fchmod(fd, node.mode)
    if node.mtime_ns is not None:
        os.utime(fd, ns=(node.mtime_ns, node.mtime_ns))


_TAGS = {"user": (0x01, 0x02), "group": (0x04, 0x08), "mask": (0x10, 0x10), "other": (0x20, 0x20)}


def acl(text: str) -> bytes:
    """The kernel's bytes of `system.posix_acl_*` for a text as in `user::rwx,group::r-x,other::---`."""
    out = struct.pack("<I", 2)
    for item in text.split(","):
        kind, who, bits = item.split(":")
        plain, named = _TAGS[kind]
        value = sum(bit for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if letter in bits)
        out += struct.pack("<HHI", named if who else plain, value, int(who) if who else 0xFFFFFFFF)
    return out


# ------------------------------------------------------------------------------------------------ looking


@dataclass(frozen=True)
class Entry:
    """One entry of a snapshot."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    digest: str = ""
    regions: tuple[tuple[int, int], ...] = ()
    """Data regions (offset, length) as the filesystem tells them; empty for a file without holes."""
    link: bytes = b""
    group: bytes = b""
    """The first path (by bytes) of the same inode within the tree; empty if it has one name here."""
    xattrs: tuple[tuple[str, bytes], ...] = ()


Snapshot = dict[bytes, Entry]
"""Path below the top (the top itself is b"") to entry."""


def snapshot(path: PathLike) -> Snapshot:
    """Everything that must survive of the tree at `path`, which is not followed if it is a link."""
    found: Snapshot = {}
    inodes: dict[tuple[int, int], list[bytes]] = {}
    top = os.fsencode(path)
    info = os.lstat(top)
    if not stat.S_ISDIR(info.st_mode):
        parent = os.open(os.path.dirname(top) or b".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            _look(parent, os.path.basename(top), b"", found, inodes)
        finally:
            os.close(parent)
        return found
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _look_in(fd, b"", found, inodes)
    finally:
        os.close(fd)
    for paths in inodes.values():
        if len(paths) > 1:
            first = min(paths)
            for name in paths:
                found[name] = replace(found[name], group=first)
    return found


def _look_in(fd: int, path: bytes, found: Snapshot, inodes: dict[tuple[int, int], list[bytes]]) -> None:
    info = os.fstat(fd)
    found[path] = _entry("dir", info, xattrs=_xattrs(fd))
    with os.scandir(fd) as listing:
        names = sorted(os.fsencode(item.name) for item in listing)
    for name in names:
        _look(fd, name, path + b"/" + name if path else name, found, inodes)


def _look(fd: int, name: bytes, path: bytes, found: Snapshot, inodes: dict[tuple[int, int], list[bytes]]) -> None:
    info = os.stat(name, dir_fd=fd, follow_symlinks=False)
    mode = info.st_mode
    if stat.S_ISDIR(mode):
        child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        try:
            _look_in(child, path, found, inodes)
        finally:
            os.close(child)
    elif stat.S_ISREG(mode):
        inodes.setdefault((info.st_dev, info.st_ino), []).append(path)
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd)
        try:
            regions = _regions(handle, info.st_size)
            found[path] = _entry(
                "file", info, size=info.st_size, digest=_digest(handle, info.st_size, regions), regions=regions,
                xattrs=_xattrs(handle),
            )  # fmt: skip
        finally:
            os.close(handle)
    elif stat.S_ISLNK(mode):
        found[path] = _entry("symlink", info, link=os.readlink(name, dir_fd=fd))
    else:
        kinds = {stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block"}
        found[path] = _entry(kinds[stat.S_IFMT(mode)], info)


def _entry(
    kind: str,
    info: os.stat_result,
    *,
    size: int = 0,
    digest: str = "",
    regions: tuple[tuple[int, int], ...] = (),
    link: bytes = b"",
    xattrs: tuple[tuple[str, bytes], ...] = (),
) -> Entry:
    mode = 0 if kind == "symlink" else stat.S_IMODE(info.st_mode)
    return Entry(kind, mode, info.st_uid, info.st_gid, info.st_mtime_ns, size, digest, regions, link, b"", xattrs)


def _regions(handle: int, size: int) -> tuple[tuple[int, int], ...]:
    """The data regions; empty if the file has no hole. A file that is nothing but a hole has the region (size, 0)."""
    out: list[tuple[int, int]] = []
    offset = 0
    while offset < size:
        try:
            begin = os.lseek(handle, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            break
        end = min(os.lseek(handle, begin, os.SEEK_HOLE), size)
        out.append((begin, end - begin))
        offset = end
    if out == [(0, size)] or size == 0:
        return ()
    if not out or out[-1][0] + out[-1][1] < size:
        out.append((size, 0))
    return tuple(out)


def _digest(handle: int, size: int, regions: tuple[tuple[int, int], ...]) -> str:
    """SHA-256 of all blocks that are not zero, with their places: the same however the zeros are stored."""
    sha = hashlib.sha256()
    for begin, length in regions or ((0, size),):
        offset, end = begin - begin % _BLOCK, begin + length
        while offset < end:
            data = os.pread(handle, min(_READ, end - offset), offset)
            if not data:
                raise AssertionError("a file became shorter while its snapshot was taken")
            for at in range(0, len(data), _BLOCK):
                block = data[at : at + _BLOCK]
                if block.count(0) != len(block):
                    sha.update(b"%d:" % (offset + at))
                    sha.update(block)
            offset += len(data)
    return sha.hexdigest()


def _xattrs(handle: int) -> tuple[tuple[str, bytes], ...]:
    names = [n for n in os.listxattr(handle) if n.startswith(("user.", "system.posix_acl_"))]
    return tuple((name, os.getxattr(handle, name)) for name in sorted(names))


# ------------------------------------------------------------------------------------------------ comparing


def differences(
    before: Snapshot, after: Snapshot, ignore: tuple[str, ...] = (), retimed: tuple[bytes, ...] = ()
) -> list[str]:
    """One line for each entry or field in which the snapshots differ.

    ignore   names of fields of `Entry`
    retimed  paths of directories whose mtime may differ, because something was made in them and taken away again
    """
    lines: list[str] = []
    names = [item.name for item in fields(Entry) if item.name not in ignore]
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None or new is None:
            lines.append(f"{path!r}: {'appeared' if old is None else 'is missing'} ({old or new})")
            continue
        for name in names:
            if name == "mtime_ns" and path in retimed:
                continue
            a, b = getattr(old, name), getattr(new, name)
            if a != b:
                show = oct if name == "mode" else repr
                lines.append(f"{path!r}: {name}: {show(a)} became {show(b)}")
    return lines


def assert_same(
    before: Snapshot, after: Snapshot, ignore: tuple[str, ...] = (), retimed: tuple[bytes, ...] = ()
) -> None:
    """Fails with one line for each of the `differences`."""
    lines = differences(before, after, ignore, retimed)
    if lines:
        more = f"\n... and {len(lines) - 40} more" if len(lines) > 40 else ""
        raise AssertionError("the trees differ:\n" + "\n".join(lines[:40]) + more)
