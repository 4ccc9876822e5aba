"""The marker: the file `.runark-workdir` in a session's directory.

It says that the directory is one of ours, which process runs in it, when that began and when it ended; in the form of
a session's record (`runark.record`), so that archiving leaves a running session alone. It is written whole, and it
appears only after its process holds the directory's lock. A directory without one is nobody's to prune.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import time
from datetime import datetime, timezone
from typing import Literal, NamedTuple

from runark.record import MARKER, STALE_NS, Life, boot_id, life_of, pid_namespace, process_start

__all__ = ["Marker", "is_over", "lock", "read_marker", "write_marker"]

_HEAD = "# Made by runark.workdir: this directory is a session, and here it says whether it still runs.\n"
_LARGEST = 1 << 16
_TIME = re.compile(rb'^(START|END)_DATETIME: "([^"]*)"', re.MULTILINE)
_BOOT = re.compile(rb'^BOOT_ID: "([^"]*)"', re.MULTILINE)


class Marker(NamedTuple):
    """What a marker says."""

    started: float
    """Seconds since 1970."""
    ended: float | None
    """None while it runs, and for ever if it was killed."""
    text: bytes

    @property
    def time(self) -> float:
        """What the session's age counts from: its end, or its start if that was never written."""
        return self.started if self.ended is None else self.ended


def lock(directory: int) -> Literal["taken", "held", "none"]:
    """Takes the directory's lock without waiting. "held": a process has it; "none": no locks on this filesystem.

    It is the lock every engine claims a session with before it packs, restores or removes it.
    """
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError:
        return "none"
    return "taken"


def write_marker(directory: int, started: float, ended: float | None = None) -> None:
    """Writes the marker of this process's session into its open directory, whole or not at all. Raises `OSError`."""
    lines = {
        "HOST": os.uname().nodename,
        "PID": os.getpid(),
        "PROCESS_START": process_start(os.getpid()),
        "PID_NAMESPACE": pid_namespace(),
        "BOOT_ID": boot_id(),
        "START_DATETIME": _text(started),
        "END_DATETIME": None if ended is None else _text(ended),
    }
    data = (_HEAD + "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())).encode()
    part = MARKER + b".%d" % os.getpid()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(part, flags, 0o644, dir_fd=directory)
        with open(handle, "wb") as stream:
            stream.write(data)
        os.replace(part, MARKER, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=directory)
        raise


def read_marker(directory: int) -> Marker | None:
    """The marker in an open directory. None: there is none, or none that this user wrote with this package."""
    try:
        handle = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return None
        text = os.read(handle, _LARGEST)
    except OSError:
        return None
    finally:
        os.close(handle)
    times: dict[bytes, float] = {}
    for which, value in _TIME.findall(text):
        with contextlib.suppress(ValueError):
            times[which] = datetime.fromisoformat(value.decode("ascii", "replace")).timestamp()
    started = times.get(b"START")
    return None if started is None else Marker(started, times.get(b"END"), text)


def is_over(directory: int, path: str, marker: Marker) -> bool:
    """Whether no process runs in the session: asks its lock, then the marker.

    A lock that can be taken says so for every process of this boot of this machine. For another machine only its own
    end does; without one its session counts as running until nothing in it has changed for 30 days. A host name alone
    does not make it this one: what was written to since this machine started is no session from before.
    """
    held = lock(directory)
    if held == "held":
        return False
    if marker.ended is not None:
        return True
    boot, ours = _BOOT.search(marker.text), (boot_id() or "").encode()
    if held == "taken" and boot is not None and boot[1] == ours:
        return True
    state = life_of(marker.text)
    if state is Life.OVER and (boot is None or not ours or boot[1] == ours):
        return True
    if state is Life.ALIVE:
        return False
    newest = _newest(path)
    return (state is Life.OVER and newest < _booted_ns()) or time.time_ns() - newest > STALE_NS


def _booted_ns() -> int:
    """When this machine started, in nanoseconds since 1970. Only where there is a `boot_id`."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _newest(path: str) -> int:
    """The newest change in the directory, in nanoseconds."""
    newest = os.lstat(path).st_mtime_ns
    for above, directories, files in os.walk(path):
        for name in (*directories, *files):
            with contextlib.suppress(OSError):
                newest = max(newest, os.lstat(os.path.join(above, name)).st_mtime_ns)
    return newest


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
