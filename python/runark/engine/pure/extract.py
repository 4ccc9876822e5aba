"""Putting the members of an archive below a staging directory.

In order: files, directories, FIFOs and hard links as they come; symlinks when everything else is there; then owners,
attributes, modes and times of directories, deepest first.

Guarantees: everything is made relative to handles, with `O_EXCL` and `O_NOFOLLOW`; since no symlink exists before the
last file is written, nothing can be written through one. What is not restored (owners, special bits, attributes) is
remembered in `less`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from runark.engine.protocol import RestoreOptions
from runark.engine.pure import sys
from runark.engine.pure.ends import Control, Damaged, escape, failure
from runark.engine.pure.staging import Staging
from runark.engine.pure.tar import acl
from runark.engine.pure.tar.reader import Item, Reader

__all__ = ["Extractor"]

_MOST_OPEN = 64  # directories
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNDESCRIBED = 0o755  # mode of a directory that the archive names only as a parent
_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_setxattr: Callable[..., None] | None = getattr(os, "setxattr", None)  # not on macOS


class _Directory:
    """A directory that was made: what it gets at the very end."""

    __slots__ = ("fd", "item", "name", "parent", "path")

    def __init__(self, path: bytes, name: bytes, parent: _Directory | None) -> None:
        self.path = path
        self.name = name
        self.parent = parent
        self.item: Item | None = None  # None: only known as a parent
        self.fd = -1


class Extractor:
    """Puts the members of one archive below the staging directory."""

    def __init__(
        self, staging: Staging, options: RestoreOptions, control: Control, *, sealed: bool, sync: bool
    ) -> None:
        """`sealed`: the archive has a seal, so its top directory becomes staging; `sync`: sync each thing made."""
        self.staging = staging
        self.options = options
        self.control = control
        self.sealed = sealed
        self.sync = sync
        self.top: bytes | None = (
            None  # of a sealed archive: its top directory, which becomes the staging directory itself
        )
        root = _Directory(b"", b"", None)
        root.fd = staging.fd
        self.root = root
        self.directories: dict[bytes, _Directory] = {b"": root}
        self.open: dict[_Directory, None] = {}
        self.symlinks: list[Item] = []
        self.tops: set[bytes] = set()
        self.less = ""  # the first thing that the tree has not although the archive has
        made = os.fstat(staging.fd)  # the group of what we make is the parent's where that has the setgid bit
        self.me = (made.st_uid, made.st_gid)

    def close(self) -> None:
        for directory in self.open:
            os.close(directory.fd)
        self.open.clear()

    # --------------------------------------------------------------------------------------- directories

    def handle(self, directory: _Directory) -> int:
        """The open handle of a directory that was made. Raises `OSError`."""
        if directory.fd >= 0:
            return directory.fd
        chain = [directory]
        while (above := chain[-1].parent) is not None and above.fd < 0:
            chain.append(above)
        for one in reversed(chain):
            assert one.parent is not None
            if len(self.open) >= _MOST_OPEN:
                oldest = next(other for other in self.open if other is not one.parent)
                del self.open[oldest]
                os.close(oldest.fd)
                oldest.fd = -1
            one.fd = os.open(one.name, sys.DIRECTORY, dir_fd=one.parent.fd)
            self.open[one] = None
        return directory.fd

    def directory(self, path: bytes) -> _Directory:
        """The directory at a path below staging, made if it is not there yet, with its parents. Raises `OSError`."""
        known = self.directories.get(path)
        if known is not None:
            return known
        missing = [path]
        while (above := missing[-1].rpartition(b"/")[0]) not in self.directories:
            missing.append(above)
        parent = self.directories[above]
        for one in reversed(missing):
            name = one.rpartition(b"/")[2]
            os.mkdir(name, 0o700, dir_fd=self.handle(parent))
            parent = self.directories[one] = _Directory(one, name, parent)
        return parent

    def located(self, path: bytes) -> tuple[int, bytes]:
        """The handle of the directory a path lies in, and its name there."""
        above, _, name = path.rpartition(b"/")
        return self.handle(self.directory(above)), name

    # ------------------------------------------------------------------------------------------- members

    def member(self, item: Item, reader: Reader) -> None:
        """Make one member. Raises `Damaged`, `Failure`, `Cancelled`."""
        self.control.check()
        self.control.entries += 1
        if self.sealed:
            self._strip(item)
        elif item.path:
            self.tops.add(item.path.partition(b"/")[0])
        try:
            if item.kind == "dir":
                self.directory(item.path).item = item
            elif item.kind == "file":
                self._file(item, reader)
            elif item.kind == "symlink":
                self.directory(item.path.rpartition(b"/")[0])
                self.symlinks.append(item)
            elif item.kind == "hardlink":
                self._hard_link(item)
            else:
                self._fifo(item)
        except FileExistsError:
            raise Damaged("its name is taken (this filesystem takes two names for one)", item.path) from None
        except OSError as cause:
            raise failure("create", self.staging.path + b"/" + item.path, cause) from cause

    def _strip(self, item: Item) -> None:
        """Make the paths of a sealed archive relative to its top directory, which is its first member."""
        if self.top is None:
            if item.kind != "dir" or not item.path or b"/" in item.path:
                raise Damaged("it is sealed, but does not begin with the session's directory", item.path)
            self.top = item.path
        item.path = self._below(item.path, item.path)
        if item.kind == "hardlink":
            item.link = self._below(item.link, item.path)

    def _below(self, path: bytes, member: bytes) -> bytes:
        assert self.top is not None
        if path == self.top:
            return b""
        if not path.startswith(self.top + b"/"):
            raise Damaged("it lies outside the session", member)
        return path[len(self.top) + 1 :]

    def _file(self, item: Item, reader: Reader) -> None:
        directory, name = self.located(item.path)
        fd = os.open(name, _CREATE, 0o600, dir_fd=directory)
        try:
            if item.regions is None:
                for _, piece in reader.content(item):
                    sys.write_all(fd, piece)
                    self.control.check()
            else:
                for offset, piece in reader.content(item):
                    os.lseek(fd, offset, os.SEEK_SET)
                    sys.write_all(fd, piece)
                    self.control.check()
                os.ftruncate(fd, item.size)
            self._dress(fd, item)
        finally:
            os.close(fd)

    def _hard_link(self, item: Item) -> None:
        directory, old = self.located(item.link)
        source = os.dup(directory)  # opening the other directory may close this one
        try:
            target, new = self.located(item.path)
            os.link(old, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        finally:
            os.close(source)

    def _fifo(self, item: Item) -> None:
        directory, name = self.located(item.path)
        os.mkfifo(name, 0o600, dir_fd=directory)
        # opened for both directions it neither waits for a writer nor fails without a reader
        fd = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            self._dress(fd, item)
        finally:
            os.close(fd)

    def _dress(self, fd: int, item: Item) -> None:
        """Owner, attributes, mode and times of an open entry.

        In this order: a change of owner takes away special bits.
        """
        if self.options.same_owner:
            os.fchown(fd, item.uid, item.gid)
        elif (item.uid, item.gid) != self.me:
            self._lack(item, "another owner" if self.me[0] else "another owner (--same-owner)")
        mode = item.mode
        if mode & 0o7000 and not self.options.special_modes:
            mode &= 0o777
            self._lack(item, "setuid, setgid or sticky bits (--special-modes)")
        for key, value in item.xattrs.items():
            self._attribute(fd, key, value, item)
        os.fchmod(fd, mode)
        if item.acl_access is not None:
            self._attribute(fd, acl.ACCESS.encode("ascii"), self._acl(item.acl_access, item), item)
        if item.acl_default is not None:
            self._attribute(fd, acl.DEFAULT.encode("ascii"), self._acl(item.acl_default, item), item)
        os.utime(fd, ns=(item.mtime_ns, item.mtime_ns))
        if self.sync:
            sys.fullsync(fd)

    @staticmethod
    def _acl(text: bytes, item: Item) -> bytes:
        return acl.from_text(text, item.path)

    def _attribute(self, fd: int, key: bytes, value: bytes, item: Item) -> None:
        if _setxattr is None:
            self._lack(item, "attributes that this system cannot keep")
            return
        try:
            _setxattr(fd, key, value)
        except OSError as cause:
            if cause.errno not in _NO_ATTRIBUTES:
                raise
            self._lack(item, "attributes that this filesystem cannot keep")

    def _lack(self, item: Item, what: str) -> None:
        if not self.less:
            self.less = f"{escape(item.path) or 'the session directory'} has {what}"

    # -------------------------------------------------------------------------------------------- the end

    def finish(self) -> None:
        """Symlinks, then directories, deepest first. Raises `Damaged`, `Failure`."""
        item: Item | None = None
        try:
            for item in self.symlinks:
                directory, name = self.located(item.path)
                os.symlink(item.link, name, dir_fd=directory)
                if self.options.same_owner:
                    os.chown(name, item.uid, item.gid, dir_fd=directory, follow_symlinks=False)
                elif (item.uid, item.gid) != self.me:
                    self._lack(item, "another owner" if self.me[0] else "another owner (--same-owner)")
                os.utime(name, ns=(item.mtime_ns, item.mtime_ns), dir_fd=directory, follow_symlinks=False)
            for path in sorted(self.directories, reverse=True):
                made = self.directories[path]
                item = made.item
                # a parent is opened before its mode is set (it comes later), so no mode can lock us out
                fd = self.handle(made)
                if item is None:
                    os.fchmod(fd, _UNDESCRIBED)
                    if self.sync:
                        sys.fullsync(fd)
                else:
                    self._dress(fd, item)
                if made is not self.root:
                    del self.open[made]
                    os.close(fd)
                    made.fd = -1
        except FileExistsError:
            assert item is not None
            raise Damaged("its name is taken (this filesystem takes two names for one)", item.path) from None
        except OSError as cause:
            path = self.staging.path + b"/" + item.path if item is not None else self.staging.path
            raise failure("create", path, cause) from cause
