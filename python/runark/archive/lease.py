"""The holder file of a root: who works on it, on any host, and that they live.

    .runark/holder.json   made when a run begins, touched every `BEAT` seconds, removed when it ends

`flock` ends with its process and needs no such file, but on many network filesystems it holds on one host only. There
a run on another host is seen by this file. It is stale only by evidence:

- `flock` was to be had, and the filesystem is a local one: nobody else can hold it;
- its process ran on this machine and is gone, or the machine has been started anew since;
- it is another host's, and by the file server's own clock nothing touched it for `STALE` seconds.

A stale one is renamed away before a new one is made, so that of two runs that find it only one goes on. A run whose
file is no longer there has lost its root, and is told: it begins nothing more. Even then nothing is removed wrongly,
for removal never rests on a lock (docs/durability.md).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from runark.archive.owners import user_name
from runark.archive.workers import is_network
from runark.errors import RootLocked
from runark.names import escape, unique_hex
from runark.record import boot_id, process_start, runs_here

__all__ = ["BEAT", "STALE", "Heart", "Lease", "who"]

BEAT = 30.0
STALE = 600.0
_NAME = b"holder.json"
_ADVICE = "wait for it to end or stop it there; the lock ends with its process, nothing needs to be removed"


class _Found(NamedTuple):
    """A holder file as it stands. `text` may be torn: it is written after it is made."""

    text: bytes
    inode: tuple[int, int]
    touched: float

    @property
    def holder(self) -> dict[str, Any]:
        try:
            holder = json.loads(self.text)
        except ValueError:
            return {}
        return holder if isinstance(holder, dict) else {}


class Lease:
    """The holder file of one root, made by this run."""

    def __init__(self, directory: bytes, lock: int, flocked: bool) -> None:
        """Make the file in `directory` (`.runark`). `lock`: the root's lock file, `flocked`: whether that is locked.

        Raises `RootLocked` if somebody else's is there and not stale, `OSError` if it cannot be made.
        """
        self.path = os.path.join(directory, _NAME)
        self._lock, self._sure = lock, flocked and not is_network(directory)
        for _ in range(3):
            try:
                self._make()
                return
            except FileExistsError:
                found = _read(self.path)
                if found is not None:
                    self._displace(found)
        raise RootLocked(who(os.path.dirname(directory)))

    def beat(self) -> bool:
        """Show that this run lives; False if the file is not this run's any more."""
        try:
            if _inode(os.stat(self.path, follow_symlinks=False)) != _inode(os.fstat(self._handle)):
                return False
            os.utime(self._handle)
        except FileNotFoundError:
            return False
        except OSError as error:
            # A server that is away for a while, a full quota: whether the root is lost shows when it is back.
            return error.errno != errno.ESTALE
        return True

    def end(self) -> None:
        """Remove the file, if it still is this run's."""
        try:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                if _inode(os.stat(self.path, follow_symlinks=False)) == _inode(os.fstat(self._handle)):
                    os.unlink(self.path)
        finally:
            os.close(self._handle)

    def _make(self) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._handle = os.open(self.path, flags, 0o644)
        try:
            os.write(self._handle, json.dumps(_holder()).encode() + b"\n")
        except OSError:  # no room: it holds, without a name
            return

    def _displace(self, found: _Found) -> None:
        """Take a stale file away. Raises `RootLocked` if it is not stale."""
        if not self._stale(found):
            raise RootLocked(who(os.path.dirname(os.path.dirname(self.path))))
        aside = b"%b.%b" % (self.path, unique_hex(8).encode())
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:  # another run was quicker
            return
        taken = _read(aside)
        if taken is not None and (taken.inode, taken.text) != (found.inode, found.text):  # inode numbers are used again
            # It is the other run's new one: give it back, unless a third has made another by now.
            with contextlib.suppress(FileExistsError):
                os.link(aside, self.path)
        os.unlink(aside)

    def _stale(self, found: _Found) -> bool:
        if self._sure:
            return True
        holder = found.holder
        if holder.get("host") == os.uname().nodename:
            here = {"HOST": holder["host"], "PID": holder.get("pid"), "PROCESS_START": holder.get("process_start")}
            return runs_here({**here, "BOOT_ID": holder.get("boot_id")}) is False
        os.utime(self._lock)  # the server's clock, as the other host's beats have it
        return os.fstat(self._lock).st_mtime - found.touched > STALE


class Heart:
    """Beats for some leases, in a thread, until it is stopped."""

    def __init__(self, leases: Sequence[Lease], lost: Callable[[], None]) -> None:
        """`lost` is called, once and from the thread, if one of them is not this run's any more."""
        self._leases, self._lost = leases, lost
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runark-lease", daemon=True)
        if leases:
            self._thread.start()

    def stop(self) -> None:
        self._end.set()
        if self._leases:
            self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(BEAT):
            if not all([lease.beat() for lease in self._leases]):
                self._lost()
                return


def who(root: bytes) -> str:
    """The sentence for `RootLocked`: user, host, pid, age."""
    found = _read(os.path.join(root, b".runark", _NAME))
    holder = found.holder if found is not None else {}
    try:
        age = max(0, int(time.time()) - int(holder["started"]))
        name = f"user {escape(str(holder['user']))} on host {escape(str(holder['host']))}, pid {int(holder['pid'])}"
        since = f"for {_span(age)} (runark {escape(str(holder['version']))})"
    except (ValueError, KeyError, TypeError):
        # Just being written, or left away for lack of room: the lock is held all the same.
        return f"{escape(root)} is locked by another run that has left no name; {_ADVICE}"
    sign = ""
    if found is not None and holder["host"] != os.uname().nodename:
        silent = max(0, int(time.time() - found.touched))
        sign = f", its last sign of life {_span(silent)} ago (after {_span(int(STALE))} of silence it counts as dead)"
    return f"{escape(root)} is locked by {name}, {since}{sign}; {_ADVICE}"


def _holder() -> dict[str, Any]:
    from runark import __version__

    return {
        "schema": 1,
        "user": user_name(os.geteuid()),
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "process_start": process_start(os.getpid()),
        "boot_id": boot_id(),
        "started": int(time.time()),
        "version": __version__,
        "token": unique_hex(8),  # no two runs write the same file
    }


def _read(path: bytes) -> _Found | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(handle)
        return _Found(os.read(handle, 4096), _inode(status), status.st_mtime)
    finally:
        os.close(handle)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _span(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}s"
    return f"{seconds} seconds"
