"""What a run keeps in a root: the directory `.runark` with the lock, its holder and reserve files.

    .runark/lock          locked (flock) while a run works on the root; stays, empty
    .runark/holder.json   who holds it (`lease`); removed at the end of the run
    .runark/reserve-N     empty; the engine renames one into a part file when no inode is left

The lock keeps two runs from doing the same work twice. Removal never rests on it: a session's gate is safe against
any other process by itself. So where no lock can be had (no inode left to make it, a filesystem that cannot lock) the
run goes on and says so, for stopping there would stop the one thing that frees inodes; a lock that somebody holds
always stops it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from runark.archive.lease import Heart, Lease, who
from runark.errors import OperationFailed, RootLocked, UnsafePath
from runark.names import escape

__all__ = ["DIRECTORY", "RESERVES", "lock_roots", "reserve_directory", "top_up"]

DIRECTORY = b".runark"
RESERVES = 8

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)
_CANNOT_LOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EBADF)
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN)


@contextmanager
def lock_roots(roots: Sequence[bytes], lost: Callable[[], None] = lambda: None) -> Iterator[tuple[str, ...]]:
    """Hold all roots, sorted; gives notes for the user. At the end the reserve files are topped up.

    `lost`: called from a thread if another run has taken one of them over, as it may when this one showed no sign of
    life for long. Raises `RootLocked` if another run holds one, `UnsafePath` if `.runark` is not a plain directory.
    """
    with ExitStack() as stack:
        notes: list[str] = []
        leases: list[Lease] = []
        for root in sorted(set(roots)):
            note, lease = stack.enter_context(_locked(root))
            notes += [note] if note else []
            leases += [lease] if lease is not None else []
        stack.callback(Heart(leases, lost).stop)
        yield tuple(notes)


def reserve_directory(root: bytes) -> bytes | None:
    """Where the reserve files of a root are, if it has any."""
    directory = os.path.join(root, DIRECTORY)
    return directory if os.path.isdir(directory) and not os.path.islink(directory) else None


def top_up(root: bytes) -> str:
    """Make the reserve files that are missing; gives a note if there was no room for them."""
    directory = os.path.join(root, DIRECTORY)
    for number in range(RESERVES):
        path = os.path.join(directory, b"reserve-%d" % number)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            continue
        except OSError as error:
            return f"{escape(path)}: no reserve file made: {error.strerror}"
    return ""


@contextmanager
def _locked(root: bytes) -> Iterator[tuple[str, Lease | None]]:
    directory = os.path.join(root, DIRECTORY)
    note = ""
    try:
        _make(directory)
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(os.path.join(directory, b"lock"), flags, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnsafePath(
                f"{escape(directory)}/lock is a symlink; runark's lock must be a plain file: remove it"
            ) from None
        if error.errno not in (*_NO_ROOM, *_NO_WRITE):
            raise
        # Lock what takes no inode and no right to write: somebody else's lock file, else the root itself.
        note = f"{escape(directory)}: no lock file ({error.strerror}); going on, each session is guarded by itself"
        handle = _open_to_lock(root)
    try:
        refused = _flock(handle, root)
        lease = None if note else _lease(directory, handle, not refused)
        try:
            yield note or refused, lease
            if not note:
                top_up(root)
        finally:
            if lease is not None:
                lease.end()
    finally:
        os.close(handle)


def _lease(directory: bytes, lock: int, flocked: bool) -> Lease | None:
    """Best effort: the lock holds without it, a second run only could not say whose it is."""
    try:
        return Lease(directory, lock, flocked)
    except OSError as error:
        if isinstance(error, RootLocked) or error.errno not in (*_NO_ROOM, *_NO_WRITE):
            raise
        return None


def _flock(handle: int, root: bytes) -> str:
    """Lock or raise; gives a note where the filesystem cannot lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise RootLocked(who(root)) from error
        if error.errno not in _CANNOT_LOCK:
            raise OperationFailed(f"cannot lock {escape(root)}: {error.strerror}") from error
        return f"{escape(root)} cannot be locked ({error.strerror}); going on, each session is guarded by itself"
    return ""


def _make(directory: bytes) -> None:
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(directory).st_mode):
            raise UnsafePath(
                f"{escape(directory)} is not a directory; runark keeps its lock there: remove it"
            ) from None


def _open_to_lock(root: bytes) -> int:
    try:
        return os.open(os.path.join(root, DIRECTORY, b"lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
