"""The staging directory: where a session is put together before it gets its name.

Made by us, named at random, mode 0700, locked while it is worked in. It is taken away again with everything in it if
the restore comes to nothing, and so is one that a dead run left.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence

from runark.engine.pure import sys
from runark.engine.pure.ends import Skipped, failure
from runark.engine.pure.place import Place, is_ours, random_name
from runark.engine.pure.tar import acl
from runark.engine.pure.walk import encode_name

__all__ = ["Staging", "reap"]

_NO_ATTRIBUTES = frozenset({errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_removexattr: Callable[..., None] | None = getattr(os, "removexattr", None)  # not on macOS


class Staging:
    """A staging directory beside the target `target` in `place`. Making it raises `Failure`."""

    def __init__(self, place: Place, target: bytes) -> None:
        self.place = place
        self._inner = -1  # the directory that was moved out
        self.name = b".%b.restoring-%b" % (target, random_name())
        self.path = place.join(self.name)
        try:
            os.mkdir(self.name, 0o700, dir_fd=place.fd)
            self.fd = os.open(self.name, sys.DIRECTORY, dir_fd=place.fd)
            sys.lock(self.fd)
            self._forget_acls()
        except OSError as cause:
            raise failure("mkdir", self.path, cause) from cause

    def _forget_acls(self) -> None:
        """Take away ACLs inherited from the parent, or everything restored would inherit them."""
        if _removexattr is None:
            return
        for name in (acl.ACCESS, acl.DEFAULT):
            try:
                _removexattr(self.fd, name)
            except OSError as cause:
                if cause.errno not in _NO_ATTRIBUTES:
                    raise

    def clear(self) -> None:
        """Take it away with all that is in it. Raises `Failure`."""
        try:
            _remove(self.place.fd, self.name)
        except OSError as cause:
            raise failure("unlink", self.path, cause, "remove this staging directory by hand") from cause

    def move_inner(self, inner: bytes, target: bytes) -> None:
        """Give the directory `inner` in it the name `target` beside it, and take away the rest. Raises `OSError`.

        It is locked like staging itself, so that no other run takes it before we are done.
        """
        mode = stat.S_IMODE(os.stat(inner, dir_fd=self.fd, follow_symlinks=False).st_mode)
        # to be opened it must be readable, to change its parent writable, if only for that moment
        if mode & 0o700 != 0o700:
            os.chmod(inner, mode | 0o700, dir_fd=self.fd)
        self._inner = os.open(inner, sys.DIRECTORY, dir_fd=self.fd)
        sys.lock(self._inner)
        try:
            sys.rename_noreplace(self.fd, inner, self.place.fd, target)
        finally:
            if mode & 0o700 != 0o700:
                os.fchmod(self._inner, mode)
        os.rmdir(self.name, dir_fd=self.place.fd)

    def close(self) -> None:
        """Close the handles, and with them the locks."""
        os.close(self.fd)
        if self._inner >= 0:
            os.close(self._inner)


def _remove(parent: int, name: bytes) -> None:
    """Remove a staging directory and what is in it, never through a symlink. Raises `OSError`.

    Directories found deeper are moved up first, so that neither handles nor recursion grow with the depth.
    """
    top = _open_writable(parent, name)
    try:
        waiting: list[bytes] = []
        _empty(top, top, waiting)
        while waiting:
            inner = waiting.pop()
            fd = _open_writable(top, inner)
            try:
                _empty(fd, top, waiting)
            finally:
                os.close(fd)
            os.rmdir(inner, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _open_writable(parent: int, name: bytes) -> int:
    """Open a directory that may have got a mode under which even its owner cannot work in it."""
    try:
        fd = os.open(name, sys.DIRECTORY, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        fd = os.open(name, sys.DIRECTORY, dir_fd=parent)
    os.fchmod(fd, 0o700)
    return fd


def _empty(fd: int, top: int, waiting: list[bytes]) -> None:
    """Unlink the files in a directory; its directories go to `waiting`, as names in `top`."""
    with os.scandir(fd) as found:
        entries = [(encode_name(one.name), one.is_dir(follow_symlinks=False)) for one in found]
    for name, is_directory in entries:
        if not is_directory:
            os.unlink(name, dir_fd=fd)
        elif fd == top:
            waiting.append(name)
        else:
            moved = random_name()
            os.chmod(name, 0o700, dir_fd=fd)
            os.rename(name, moved, src_dir_fd=fd, dst_dir_fd=top)
            waiting.append(moved)


def reap(place: Place, leftovers: Sequence[bytes], target: bytes) -> None:
    """Remove the staging directories that dead runs left. Raises `Skipped` if one is in use, `Failure`."""
    for name in leftovers:
        if not is_ours(name, b"." + target + b".restoring-"):
            continue
        try:
            fd = os.open(name, sys.DIRECTORY, dir_fd=place.fd)
            try:
                if sys.lock(fd) == "held":
                    raise Skipped("another process is restoring it")
                _remove(place.fd, name)
            finally:
                os.close(fd)
        except FileNotFoundError:
            continue
        except OSError as cause:
            raise failure("unlink", place.join(name), cause) from cause
