"""Where sessions lie: the parent directory of one or many sessions, open for the time of a batch.

Everything the gate does to names (part file, archive, tombstone) is done relative to this handle.
"""

from __future__ import annotations

import bisect
import errno
import os

from runark.engine.pure import sys
from runark.engine.pure.ends import Changed, Control, Failure, Skipped, escape, failure

__all__ = ["Place", "Places", "is_ours", "random_name", "split_path"]


def split_path(path: bytes) -> tuple[bytes, bytes]:
    """An absolute path as (parent, name)."""
    parent, _, name = path.rpartition(b"/")
    return parent or b"/", name


def random_name() -> bytes:
    """16 lowercase hex digits, for part files, tombstones, staging directories and what is moved aside."""
    return os.urandom(8).hex().encode("ascii")


def is_ours(name: bytes, before: bytes, after: bytes = b"") -> bool:
    """Whether a name is one that runark makes: `before`, what `random_name` gives, `after`.

    What else stands beside a session is not for us to touch, whoever says it is a leftover.
    """
    digits = name[len(before) : len(name) - len(after)]
    framed = name.startswith(before) and name.endswith(after)
    return framed and len(digits) == 16 and not digits.strip(b"0123456789abcdef")


class Place:
    """An open parent directory."""

    __slots__ = ("_real", "_storage", "fd", "mounts", "path")

    def __init__(self, path: bytes) -> None:
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as cause:
            raise failure("open", path, cause) from cause
        self.path = path
        self._storage: sys.Storage | None = None
        self._real: bytes | None = None
        self.mounts: list[bytes] | None = None  # below it, relative

    def join(self, name: bytes) -> bytes:
        """The absolute path of a name here, for messages and outcomes."""
        return self.path + name if self.path.endswith(b"/") else self.path + b"/" + name

    def exists(self, name: bytes) -> bool:
        """Whether the name is taken, by whatever. Raises `Failure`, `Skipped` for a name that no file can have."""
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as cause:
            raise self.unseen(name, cause) from cause
        return True

    def unseen(self, name: bytes, cause: OSError) -> Skipped | Failure:
        """What it means that a name here cannot be looked at: nothing can have it, or an error."""
        if cause.errno == errno.ENAMETOOLONG:
            return Skipped("name too long for an archive's name")
        return failure("stat", self.join(name), cause)

    @property
    def storage(self) -> sys.Storage:
        """The kind of filesystem. Raises `Failure`."""
        if self._storage is None:
            try:
                self._storage = sys.storage(self.fd)
            except OSError as cause:
                raise failure("statfs", self.path, cause) from cause
        return self._storage

    @property
    def local(self) -> bool:
        """Whether the kernel alone makes changes here, and no file server does.

        It tells then who has a file open for writing (servers refuse leases for reasons of their own), and a directory
        whose record has not changed holds the names it held.
        """
        return self.storage != "other"

    @property
    def volatile(self) -> bool:
        """Whether it is in memory: stores through a mapping change no time there."""
        return self.storage == "volatile"

    def lease(self, fd: int, below: bytes) -> bool:
        """Ask for a read lease on an open file, `below` in a session of a `local` place; whether it was given.

        Raises `Changed` if somebody has it open for writing.
        """
        answer = sys.lease(fd)
        if answer == "writer":
            raise Changed(f"{escape(below)} is open for writing")
        return answer == "taken"

    @property
    def real(self) -> bytes:
        """The path without symlinks, as the mount table has it."""
        if self._real is None:
            self._real = os.path.realpath(self.path)
        return self._real

    def close(self) -> None:
        os.close(self.fd)


class Places:
    """The open parents of a batch, and the mount points as they were when it began."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._open: dict[bytes, Place] = {}
        self._mounts = sorted(sys.mount_table())

    def get(self, path: bytes) -> Place:
        """The open directory `path`. Raises `Failure`."""
        place = self._open.get(path)
        if place is None:
            self._control.asks(2 + path.count(b"/"))  # its kind and real path are asked for, too
            place = self._open[path] = Place(path)
        return place

    def refuse_mounts(self, place: Place, name: bytes) -> None:
        """Raise `Skipped` if the session `name` is a mount point or holds one.

        Bind mounts of the session's own filesystem included, which no device number betrays.
        """
        mounts = place.mounts
        if mounts is None:
            above = place.real.rstrip(b"/") + b"/"
            mounts = place.mounts = [mount[len(above) :] for mount in self._mounts if mount.startswith(above)]
        if not mounts:
            return
        at = bisect.bisect_left(mounts, name)
        if at < len(mounts) and mounts[at] == name:
            raise Skipped("mount point")
        below = name + b"/"
        at = bisect.bisect_left(mounts, below)
        if at < len(mounts) and mounts[at].startswith(below):
            raise Skipped(f"mount point {escape(mounts[at][len(below) :])}")

    def all(self) -> list[Place]:
        return list(self._open.values())

    def close(self) -> None:
        for place in self._open.values():
            place.close()
        self._open.clear()
