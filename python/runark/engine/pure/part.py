"""The part file: creating it, writing an archive to it, dropping it.

A part file is locked from its creation to its publication, so that another run can tell one that is being written from
one that a killed run left. Where no inode is left a reserve file is renamed to take its place.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Sequence

from runark.engine.pure import codec, seal, sys
from runark.engine.pure.ends import Changed, Failure, Skipped, failure
from runark.engine.pure.place import Place
from runark.engine.pure.tar import writer
from runark.engine.pure.walk import encode_name

__all__ = ["FULL", "NoRoom", "Part", "create_part", "dress", "drop"]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_WHOLE = 4 << 20  # bytes of stream that are compressed at once
_PIECE = 1 << 20
_LONGEST = len(b"..tar.gz.superseded-") + 16  # added to a session's name, in the longest name of its archive


class NoRoom(Failure):
    """No inode or no space left for the archive."""


class Part:
    """The part file while it is written: tar stream in, frame and seal out.

    Up to 4 MiB the stream is kept and compressed in one call and written in one; beyond that it goes through in pieces.
    """

    def __init__(self, fd: int, fmt: str, level: int) -> None:
        self._fd = fd
        self._format = fmt
        self._level = level
        self._pending: list[bytes] = []
        self._bytes = 0
        self._limit = _WHOLE
        self._encoder: codec.Encoder | None = None
        self.data: bytes | None = None  # the whole tar stream, if it was small, once it is finished
        self._hash: hashlib._Hash | None = None
        self._length = 0

    def add(self, piece: bytes) -> None:
        """Append to the tar stream. Raises `OSError`."""
        self.extend((piece,), len(piece))

    def extend(self, pieces: Sequence[bytes], length: int) -> None:
        """Append several pieces of this length together to the tar stream. Raises `OSError`."""
        self._pending += pieces
        self._bytes += length
        if self._bytes >= self._limit:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._pending)
        self._pending.clear()
        self._bytes = 0
        if self._encoder is None or self._hash is None:
            self._encoder = codec.encoder(self._format, self._level)
            self._hash = hashlib.sha256()
            self._limit = _PIECE
            sys.write_all(self._fd, bytes(codec.head_room(self._format)))
        self._hash.update(data)
        self._length += len(data)
        sys.write_all(self._fd, self._encoder.write(data))

    def finish(self, members: int, content: int) -> seal.Claim:
        """Write the end of the archive and the seal. Raises `OSError`."""
        self._pending.append(writer.END)
        self._bytes += len(writer.END)
        if self._encoder is None or self._hash is None:
            self.data = data = b"".join(self._pending)
            claim = seal.Claim(hashlib.sha256(data).hexdigest(), len(data), members, content)
            frame = codec.encode(self._format, self._level, data)
            head = seal.gzip_head(claim) if self._format == "tar.gz" else b""
            tail = seal.zstd_tail(claim) if self._format == "tar.zst" else b""
            sys.write_all(self._fd, head + frame + tail)
            return claim
        self._flush()
        claim = seal.Claim(self._hash.hexdigest(), self._length, members, content)
        sys.write_all(self._fd, self._encoder.finish())
        if self._format == "tar.gz":
            os.pwrite(self._fd, seal.gzip_head(claim), 0)
        elif self._format == "tar.zst":
            sys.write_all(self._fd, seal.zstd_tail(claim))
        return claim


def dress(fd: int, owner: os.stat_result, shared: int) -> os.stat_result:
    """Give the part file the session's owner (as root) and a mode of 0600 and the read bits of `shared`.

    Gives its `fstat` from before the change of mode.
    """
    status = os.fstat(fd)
    if (status.st_uid, status.st_gid) != (owner.st_uid, owner.st_gid) and os.geteuid() == 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)
        status = os.fstat(fd)
    mode = 0o600 | (shared & 0o044)
    if status.st_gid != owner.st_gid:
        mode &= ~0o040  # another group's members were never given anything
    if mode != 0o600:
        os.fchmod(fd, mode)
    return status


def drop(place: Place, part: bytes) -> None:
    """Remove a part file of ours, if it is still there. Raises `Failure`."""
    try:
        os.unlink(part, dir_fd=place.fd)
    except FileNotFoundError:
        pass
    except OSError as cause:
        raise failure("unlink", place.join(part), cause) from cause


def create_part(place: Place, session: bytes, name: bytes, reserve: bytes | None) -> int:
    """Create and lock a part file; without a free inode take a reserve file for it.

    Raises `Skipped` if the session's name is too long for what runark may have to call its archive, `NoRoom`,
    `Failure`.
    """
    if len(session) + _LONGEST > 255:  # its archive could not even be moved aside
        raise Skipped("name too long for an archive's name")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, 0o600, dir_fd=place.fd)
    except OSError as cause:
        if cause.errno == errno.ENAMETOOLONG:
            raise Skipped("name too long for an archive's name") from None
        if cause.errno not in FULL:
            raise failure("create", place.join(name), cause) from cause
        taken = _take_reserve(place, name, reserve)
        if taken is None:
            raise NoRoom(
                failure("create", place.join(name), cause, "free some inodes, or raise the quota").fault
            ) from cause
        fd = taken
    if sys.lock(fd) == "held":
        os.close(fd)
        raise Changed("another process locked the part file; run again")
    return fd


def _take_reserve(place: Place, name: bytes, reserve: bytes | None) -> int | None:
    """A reserve file under the part file's name, empty and open; None if there is none to be had."""
    if reserve is None:
        return None
    try:
        store = os.open(reserve, sys.DIRECTORY)
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise failure("open", reserve, cause) from cause
    try:
        for candidate in sorted(encode_name(one) for one in os.listdir(store)):
            if not candidate.startswith(b"reserve-"):
                continue
            try:
                status = os.stat(candidate, dir_fd=store, follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
                    continue
                sys.rename_noreplace(store, candidate, place.fd, name)
            except FileNotFoundError:  # another worker took it
                continue
            except OSError as cause:
                if cause.errno == errno.EXDEV:
                    return None
                raise failure("rename", reserve + b"/" + candidate, cause) from cause
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
            os.ftruncate(fd, 0)
            os.fchmod(fd, 0o600)
            return fd
        return None
    finally:
        os.close(store)
