"""System calls that Python's `os` does not offer, and those whose behaviour differs between systems.

The only file of this engine with `ctypes`. Every function says what it does where the call is missing (macOS, old
kernels, network filesystems): it degrades to something slower, never to something less safe.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import signal
import stat
import sys
import time
from typing import Literal

__all__ = [
    "DIRECTORY",
    "Storage",
    "datasync",
    "end_lease",
    "fullsync",
    "ignore_sigio",
    "keep_memory",
    "kernel",
    "lease",
    "lease_stands",
    "lock",
    "mount_table",
    "open_file",
    "rename_noreplace",
    "storage",
    "syncfs",
    "write_all",
]

Storage = Literal["local", "volatile", "other"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags that open a directory below a handle: never through a symlink."""

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOATIME: int = getattr(os, "O_NOATIME", 0)

_LINUX = sys.platform.startswith("linux")
_MAC = sys.platform == "darwin"

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt

_RENAME_NOREPLACE = 1
_RENAME_EXCL = 4  # macOS
_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347, "loongarch64": 276}

# f_type of filesystems whose fdatasync and syncfs are known to reach the device, and of those that live in memory
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010})
_VOLATILE = frozenset({0x01021994, 0x858458F6})


@functools.lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.lru_cache(maxsize=1)
def _renamer() -> ctypes._NamedFuncPointer | None:
    """The system's rename-without-replacing with the signature (fd, name, fd, name, flags), or None."""
    libc = _libc()
    name = "renameatx_np" if _MAC else "renameat2"
    try:
        call = getattr(libc, name)
    except AttributeError:  # an old C library
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    call.restype = ctypes.c_int
    return call  # type: ignore[no-any-return]


def _rename_call(old_dir: int, old: bytes, new_dir: int, new: bytes) -> int:
    """errno of the atomic rename, 0 if it was done, ENOSYS if there is none."""
    call = _renamer()
    if call is not None:
        done = call(old_dir, old, new_dir, new, _RENAME_EXCL if _MAC else _RENAME_NOREPLACE)
    elif _LINUX and os.uname().machine in _RENAMEAT2:
        number = ctypes.c_long(_RENAMEAT2[os.uname().machine])
        done = _libc().syscall(
            number,
            ctypes.c_int(old_dir),
            ctypes.c_char_p(old),
            ctypes.c_int(new_dir),
            ctypes.c_char_p(new),
            ctypes.c_uint(_RENAME_NOREPLACE),
        )
    else:
        return errno.ENOSYS
    return 0 if done == 0 else ctypes.get_errno()


def rename_noreplace(old_dir: int, old: bytes, new_dir: int, new: bytes) -> None:
    """Rename `old` in the directory `old_dir` to `new` in `new_dir`, never over something that exists.

    Where the system or the filesystem has no such rename: a file is linked and unlinked (a link never replaces); a
    directory is renamed after a look that the new name is free (at worst an empty directory made in between is
    replaced). Raises `FileExistsError` if the new name is taken, else the system's `OSError`.
    """
    number = _rename_call(old_dir, old, new_dir, new)
    if number == 0:
        return
    if number not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
        raise OSError(number, os.strerror(number))
    if not stat.S_ISDIR(os.stat(old, dir_fd=old_dir, follow_symlinks=False).st_mode):
        os.link(old, new, src_dir_fd=old_dir, dst_dir_fd=new_dir, follow_symlinks=False)
        os.unlink(old, dir_fd=old_dir)
        return
    try:
        os.stat(new, dir_fd=new_dir, follow_symlinks=False)
    except FileNotFoundError:
        pass
    else:
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(old, new, src_dir_fd=old_dir, dst_dir_fd=new_dir)


def syncfs(fd: int) -> bool:
    """Bring everything written to the filesystem of `fd` to stable storage. False where there is no such call.

    Raises `OSError` if the kernel reports a failed write since `fd` was opened (Linux 5.8 and newer).
    """
    call = getattr(_libc(), "syncfs", None)
    if call is None:
        return False
    if call(ctypes.c_int(fd)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True


def fullsync(fd: int) -> None:
    """Bring a file's or directory's data and metadata to stable storage. Raises `OSError`.

    A directory on a filesystem that cannot sync directories (EINVAL) makes names durable by itself.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)
    try:
        if full is not None:
            fcntl.fcntl(fd, full)
        else:
            os.fsync(fd)
    except OSError as cause:
        if cause.errno == errno.EINVAL and stat.S_ISDIR(os.fstat(fd).st_mode):
            return
        if full is not None and cause.errno == errno.ENOTSUP:
            os.fsync(fd)
            return
        raise


def datasync(fd: int) -> None:
    """Bring a file's data (and the metadata needed to read it) to stable storage. Raises `OSError`."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        fullsync(fd)


def storage(fd: int) -> Storage:
    """What kind of filesystem `fd` is on: local disk, memory only, or other (network, FUSE, unknown)."""
    if not _LINUX:
        return "other"
    buffer = ctypes.create_string_buffer(512)  # struct statfs is 120 bytes or less everywhere
    if _libc().fstatfs(ctypes.c_int(fd), buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    kind = ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
    return "local" if kind in _LOCAL else "volatile" if kind in _VOLATILE else "other"


def keep_memory() -> None:
    """Have the C library keep up to 16 MiB of freed memory, blocks of 1 MiB and more excepted.

    Else what the compressor of each session takes is given back to the system and taken anew, page by page. It is for
    the whole process, so only for one of our own. Where there is no such setting nothing changes.
    """
    call = getattr(_libc(), "mallopt", None) if _LINUX else None
    if call is not None:
        call(_TRIM_THRESHOLD, 16 << 20)
        call(_MMAP_THRESHOLD, 1 << 20)


@functools.lru_cache(maxsize=1)
def kernel() -> tuple[int, int]:
    """Major and minor number of the Linux kernel; (0, 0) elsewhere."""
    if not _LINUX:
        return (0, 0)
    major, _, rest = os.uname().release.partition(".")
    minor = ""
    for c in rest:
        if not c.isdigit():
            break
        minor += c
    return (int(major), int(minor or "0"))


def open_file(name: bytes, directory: int) -> int:
    """Open a regular file for reading, relative to a handle: no symlink followed, no wait on a FIFO, no access time
    written.

    Raises the system's `OSError`; ELOOP says that the name is a symlink by now.
    """
    if _NOATIME:
        try:
            return os.open(name, _FILE | _NOATIME, dir_fd=directory)
        except PermissionError:  # only the owner may ask for it
            pass
    return os.open(name, _FILE, dir_fd=directory)


_heeds_sigio = True


def ignore_sigio() -> None:
    """Have the signal ignored that would end the process when a lease is broken.

    It is for the whole process, so only for one of our own; called in its main thread.
    """
    global _heeds_sigio
    if _LINUX:
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        _heeds_sigio = False


def lease(fd: int) -> Literal["taken", "writer", "none"]:
    """Take a read lease on an open file; closing the file gives it back, and so does `end_lease`.

    Returns "writer" if a process of this host has it open for writing, or mapped so: the kernel refuses the lease then.
    "none" where it gives none at all (not our file, no such filesystem, not Linux): nothing is known there.
    """
    if not _LINUX:
        return "none"
    # A program that starts another shares its open files with it for a moment: who is there after that is a writer.
    for pause in (0.01, 0.03, 0):
        try:
            # Who opens the file for writing while we hold the lease has a signal sent to us: SIGIO would end the
            # process, SIGURG is ignored unless somebody asked for it.
            if _heeds_sigio:
                fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            time.sleep(pause)
        except OSError:
            return "none"
        else:
            return "taken"
    return "writer"


def lease_stands(fd: int) -> bool:
    """Whether the read lease taken on this file still stands: nobody has opened it for writing since, or asks to."""
    return fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def end_lease(fd: int) -> None:
    """Give the lease on a file back that stays open."""
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def lock(fd: int) -> Literal["taken", "held", "none"]:
    """Take the file's or directory's advisory lock without waiting.

    Returns "held" if another process has it, "none" where the filesystem has no such locks.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError as cause:
        if cause.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF):
            return "none"
        raise
    return "taken"


def mount_table() -> list[bytes]:
    """All mount points of this process's namespace, as real paths; empty where the system does not list them.

    A bind mount of the same filesystem shows only here: its device number is that of its surroundings.
    """
    if not _LINUX:
        return []
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            points = [line.split(b" ", 5)[4] for line in table]
    except FileNotFoundError:  # no /proc: device numbers remain
        return []
    return [_unoctal(point) for point in points]


def _unoctal(text: bytes) -> bytes:
    for escaped, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        text = text.replace(escaped, plain)
    return text


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`. Raises the system's `OSError` (ENOSPC, EDQUOT, EIO, ...)."""
    written = os.write(fd, data)
    if written == len(data):
        return
    rest = memoryview(data)[written:]
    while rest:
        rest = rest[os.write(fd, rest) :]
