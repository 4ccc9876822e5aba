"""The record of a session on disk: is the session still running?

A running session writes `CONFIGS/CONFIG.yaml` when it starts and completes it when it ends; one of `runark.workdir` the
file `.runark-workdir`. Of its keys, these tell:

    HOST, PID             where it runs
    PROCESS_START         start of that process, in clock ticks since boot (field 22 of /proc/<pid>/stat)
    BOOT_ID               /proc/sys/kernel/random/boot_id
    PID_NAMESPACE         /proc/self/ns/pid: a container numbers its processes anew, often under its host's name
    EXIT_STATUS, END_DATETIME   there and not null: it has ended

Only asked of sessions that do not lie below RUNNING/ or FINISHED*/. Cheap: one open, and YAML is parsed only for a
record that does not say by itself that the session ended.
"""

from __future__ import annotations

import os
import re
from enum import Enum
from typing import Any

__all__ = [
    "MARKER",
    "RECORD",
    "STALE_NS",
    "Life",
    "boot_id",
    "life",
    "life_of",
    "pid_namespace",
    "process_start",
    "runs_here",
]

RECORD = b"CONFIGS/CONFIG.yaml"
MARKER = b".runark-workdir"
"""The record of a session of `runark.workdir`, and what tells it from any other directory."""
STALE_NS = 30 * 86_400 * 1_000_000_000
"""A session on another host, or with an unreadable record, counts as alive until nothing in it has changed for this
long."""

_MAX_RECORD = 1 << 20
_ENDED = re.compile(rb"^(?:EXIT_STATUS|END_DATETIME)[ \t]*:[ \t]*(?!null\b|~|#|\r?$)\S", re.MULTILINE)
_HAS_PID = re.compile(rb"^['\"]?PID\b", re.MULTILINE)


class Life(Enum):
    """What a record says."""

    OVER = "over"  # ended, or its process is gone, or no record says that it runs
    ALIVE = "alive"
    UNSURE = "unsure"  # on another host, or the record cannot be read: its newest change decides


def life(session: bytes) -> Life:
    """What the record of the session directory says about its life."""
    for name in (RECORD, MARKER):
        try:
            handle = os.open(os.path.join(session, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:  # a symlink, no right to read: it is there and does not speak
            return Life.UNSURE
        try:
            return life_of(os.read(handle, _MAX_RECORD))
        except OSError:  # a directory, a dying disk: the same
            return Life.UNSURE
        finally:
            os.close(handle)
    return Life.OVER


def life_of(text: bytes) -> Life:
    """What the text of a record says."""
    if _HAS_PID.search(text) is None or _ENDED.search(text) is not None:
        return Life.OVER
    return _judge(text)


def _judge(text: bytes) -> Life:
    import yaml

    try:
        record = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        return Life.UNSURE
    if not isinstance(record, dict):
        return Life.UNSURE
    if record.get("EXIT_STATUS") is not None or record.get("END_DATETIME") is not None:
        return Life.OVER
    runs = runs_here(record)
    return Life.UNSURE if runs is None else Life.ALIVE if runs else Life.OVER


def runs_here(record: dict[str, Any]) -> bool | None:
    """Whether the process a record names runs on this machine. None: it is on another one, or there is no saying."""
    pid, host = _whole(record.get("PID")), record.get("HOST")
    if pid is None or pid <= 0 or host is None or str(host) != os.uname().nodename:
        return None
    there, here = record.get("PID_NAMESPACE"), pid_namespace()
    if there is not None and here is not None and str(there) != here:
        return None
    return _runs(pid, _whole(record.get("PROCESS_START")), record.get("BOOT_ID"))


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _runs(pid: int, started: int | None, boot: Any) -> bool:
    """Whether the process is still the one the record names. What the record does not tell is taken to agree."""
    this_boot = boot_id()
    if boot is not None and this_boot and str(boot).strip() != this_boot:
        return False
    fields = _status(pid)
    if fields:
        return fields[0] != "Z" and (started is None or int(fields[19]) == started)
    if os.path.exists("/proc/self/stat"):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def boot_id() -> str | None:
    """What tells this run of this machine from any other. None where the system has no such thing."""
    return _read("/proc/sys/kernel/random/boot_id").strip() or None


def pid_namespace() -> str | None:
    """What tells the processes of one container from those of another. None where the system has no such thing."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def process_start(pid: int) -> int | None:
    """When the process started, in clock ticks since boot. None if it is gone or the system does not tell."""
    fields = _status(pid)
    return int(fields[19]) if fields else None


def _status(pid: int) -> list[str]:
    # The command's name may hold spaces and brackets; what follows the last bracket has a fixed form.
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
