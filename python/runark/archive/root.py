"""What a run keeps in a root: the directory `.runark` with the lock, its holder and reserve files.

    .runark/lock          locked (flock) while a run works on the root; stays, empty
    .runark/holder.json   who holds it; removed at the end of the run
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
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

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
def lock_roots(roots: Sequence[bytes]) -> Iterator[tuple[str, ...]]:
    """Hold all roots, sorted; gives notes for the user. At the end the reserve files are topped up.

    Raises `RootLocked` if another run holds one, `UnsafePath` if `.runark` is not a plain directory.
    """
    with ExitStack() as stack:
        notes: list[str] = []
        for root in sorted(set(roots)):
            note = stack.enter_context(_locked(root))
            if note:
                notes.append(note)
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
def _locked(root: bytes) -> Iterator[str]:
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
        note = _flock(handle, root) or note
        if note:
            yield note
            return
        try:
            _write_holder(directory)
            yield ""
            top_up(root)
        finally:
            _remove_holder(directory)
    finally:
        os.close(handle)


def _flock(handle: int, root: bytes) -> str:
    """Lock or raise; gives a note where the filesystem cannot lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise RootLocked(_who(root)) from error
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


def _write_holder(directory: bytes) -> None:
    """Best effort: the lock holds without it, a second run only could not say whose it is."""
    import json
    import socket

    from runark import __version__
    from runark.archive.owners import user_name

    holder = {
        "schema": 1,
        "user": user_name(os.geteuid()),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": int(time.time()),
        "version": __version__,
    }
    flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(os.path.join(directory, b"holder.json"), flags, 0o644)
        try:
            os.write(handle, json.dumps(holder).encode() + b"\n")
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in (*_NO_ROOM, *_NO_WRITE):
            raise


def _remove_holder(directory: bytes) -> None:
    try:
        os.unlink(os.path.join(directory, b"holder.json"))
    except (FileNotFoundError, PermissionError):  # never written, see above
        return


def _who(root: bytes) -> str:
    """The sentence for `RootLocked`."""
    import json

    path = os.path.join(root, DIRECTORY, b"holder.json")
    advice = "wait for it to end or stop it there; the lock ends with its process, nothing needs to be removed"
    try:
        with open(path, "rb") as stream:
            holder = json.loads(stream.read(4096))
        age = max(0, int(time.time()) - int(holder["started"]))
        who = f"user {escape(str(holder['user']))} on host {escape(str(holder['host']))}, pid {int(holder['pid'])}"
        since = f"for {_span(age)} (runark {escape(str(holder['version']))})"
    except (OSError, ValueError, KeyError, TypeError):
        # Just being written, or left away for lack of room: the lock is held all the same.
        return f"{escape(root)} is locked by another run that has left no name; {advice}"
    return f"{escape(root)} is locked by {who}, {since}; {advice}"


def _span(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}s"
    return f"{seconds} seconds"
