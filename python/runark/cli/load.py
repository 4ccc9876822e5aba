"""Being a good neighbour: the processor and the disk go to others first.

To be called before an engine starts its workers: threads and processes inherit both from the thread that makes them.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["be_nice"]

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "loongarch64": 30}
_WHO_PROCESS = 1
_CLASS_IDLE = 3 << 13


def be_nice(nice: int = 10, *, idle_io: bool = True) -> None:
    """Lower the priority of this thread, and of all it starts, to `nice` (0-19), if it is not lower already.

    `idle_io`: read and write only when nobody else does; where the system has no such class (or its I/O scheduler
    takes no notice) nothing changes.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) < nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    number = _IOPRIO_SET.get(os.uname().machine) if sys.platform.startswith("linux") else None
    if idle_io and number is not None:
        ctypes.CDLL(None).syscall(
            ctypes.c_long(number), ctypes.c_int(_WHO_PROCESS), ctypes.c_int(0), ctypes.c_int(_CLASS_IDLE)
        )
