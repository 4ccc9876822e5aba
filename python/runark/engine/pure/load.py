"""How much a task may ask of the filesystem: limits that all its workers share (`protocol.ArchiveOptions.max_ops`).

Workers are processes. What they share is a small file without a name: for each limit the time at which all that was
paid for is due, changed under a lock. So a limit holds for them together, and who is left at the end has all of it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time

from runark.engine.protocol import ArchiveOptions

__all__ = ["Account", "Pace"]

_BURST = 1.0  # seconds: what was left unused so long may be made up for
_LONGEST = 86_400.0
_DUE = struct.Struct("<d")


class Account:
    """The file that the workers of a task share; closed when nobody has it any more.

    `fd`: its descriptor, that of the task's process which a worker has inherited.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)

    @classmethod
    def new(cls) -> Account:
        """Raises `OSError`."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("runark-load")
        else:
            import tempfile

            fd, path = tempfile.mkstemp()
            os.unlink(path)
        os.pwrite(fd, _DUE.pack(time.monotonic()) * 2, 0)
        return cls(fd)


class _Meter:
    """One limit, at its place in the shared file."""

    def __init__(self, account: Account, place: int, rate: float) -> None:
        self._account = account
        self._at = place * _DUE.size
        self._rate = rate
        self._owed = 0
        self._piece = min(32, max(1, int(rate / 200)))

    def pay(self, amount: int) -> float:
        """Seconds to wait for having used so much; small amounts are paid for together."""
        self._owed += amount
        if self._owed < self._piece:
            return 0.0
        cost = min(self._owed / self._rate, _LONGEST)
        self._owed = 0
        fd = self._account.fd
        fcntl.lockf(fd, fcntl.LOCK_EX, _DUE.size, self._at)
        try:
            now = time.monotonic()
            before: float = _DUE.unpack(os.pread(fd, _DUE.size, self._at))[0]
            due = max(before, now - _BURST) + cost
            os.pwrite(fd, _DUE.pack(due), self._at)
        finally:
            fcntl.lockf(fd, fcntl.LOCK_UN, _DUE.size, self._at)
        return due - now


class Pace:
    """The limits of a task, as one of its workers keeps them."""

    def __init__(self, account: Account, options: ArchiveOptions) -> None:
        self._operations = _Meter(account, 0, options.max_ops) if options.max_ops else None
        self._bytes = _Meter(account, 1, options.max_bytes) if options.max_bytes else None
        self._ended = threading.Event()

    def operations(self, count: int) -> None:
        """Wait until so many more operations are within the limit."""
        self._wait(self._operations, count)

    def bytes(self, count: int) -> None:
        """Wait until so many more content bytes are within the limit."""
        self._wait(self._bytes, count)

    def end(self) -> None:
        """No more waiting: the task was cancelled."""
        self._ended.set()

    def _wait(self, meter: _Meter | None, amount: int) -> None:
        if meter is not None and not self._ended.is_set():
            seconds = meter.pay(amount)
            if seconds > 0:
                self._ended.wait(seconds)
