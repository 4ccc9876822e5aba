"""Run a piece of work in a process of its own under strace: recorded, killed, refused or stopped at one system call.

The boundary to the kernel is the one interface that both engines share and that nothing can go round. So this is where
faults are put in and where effects are recorded, not in the engines.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["CHANGES", "LOOKS", "SYNCS", "Call", "Traced", "record"]

SYNCS = ("fsync", "fdatasync", "syncfs")
CHANGES = (
    "write", "pwrite64", "ftruncate", "fchmod", "fchown", "utimensat", "fsetxattr", "renameat2",
    "linkat", "unlinkat", "mkdirat", "symlinkat", "mknodat", *SYNCS,
)  # fmt: skip
"""Calls that change something on disk or make it durable (and `openat` with O_CREAT)."""
LOOKS = (
    "openat", "newfstatat", "statx", "fstat", "getdents64", "read", "pread64", "lseek", "flistxattr",
    "readlinkat", "fstatfs", "faccessat2", "flock",
)  # fmt: skip

_PR_SET_PTRACER = 0x59616D61
_LINE = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_ENDED = re.compile(r"(?P<args>.*)\) += (?P<result>-?\d+|\?)(?P<more>.*)")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_PATIENCE = 60.0


class Call(NamedTuple):
    """One system call: `nth` counts those of its name in its thread from 1, as strace's `when` does."""

    thread: int
    name: str
    args: str
    result: int | None
    nth: int

    def creates(self) -> bool:
        return self.name == "openat" and "O_CREAT" in self.args


class Traced:
    """`work` in a forked process with strace attached before it begins; a context manager, at whose end it is gone.

    inject   strace's fault, as in `fsync:error=EIO:when=2`; "" for none
    calls    the system calls that are recorded
    """

    def __init__(self, work: Callable[[], Any], inject: str = "", calls: tuple[str, ...] = (*LOOKS, *CHANGES)) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._log = Path(self._directory.name, "log")
        self._here, there = socket.socketpair()
        self._here.settimeout(_PATIENCE)
        self.pid = os.fork()
        if self.pid == 0:
            self._here.close()
            _child(work, there)
        there.close()
        command = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(self._log), "-e", f"trace={_set(calls)}"]
        command += ["-e", f"inject={inject}"] if inject else []
        self._strace = subprocess.Popen([*command, "-p", str(self.pid)], stderr=subprocess.PIPE)
        try:
            _until(self._attached)
        except BaseException:
            os.kill(self.pid, signal.SIGKILL)
            raise
        self._here.send(b"g")

    def _attached(self) -> bool:
        if self._strace.poll() is not None:
            assert self._strace.stderr is not None
            raise AssertionError(f"strace cannot attach: {self._strace.stderr.read().decode(errors='replace')}")
        return "TracerPid:\t0" not in Path(f"/proc/{self.pid}/status").read_text()

    def __enter__(self) -> Traced:
        return self

    def __exit__(self, *_: object) -> None:
        self._here.close()
        self._strace.kill()
        self._strace.communicate()
        self._directory.cleanup()

    def answer(self) -> Any:
        """What the work gave, None if the process was killed. An exception in the work fails the test."""
        data = b""
        while piece := self._here.recv(1 << 16):
            data += piece
        _, status = os.waitpid(self.pid, 0)
        self._strace.wait(_PATIENCE)
        if not data:
            assert os.WIFSIGNALED(status), f"the process ended with status {status} and no answer"
            return None
        fine, answer = pickle.loads(data)
        assert fine, answer
        return answer

    def calls(self) -> list[Call]:
        """The calls recorded so far, in the order in which they began."""
        found: list[Call] = []
        counts: Counter[tuple[int, str]] = Counter()
        waiting: dict[int, int] = {}
        for line in self._log.read_text(errors="surrogateescape").splitlines():
            if resumed := _RESUMED.match(line):
                at = waiting.pop(int(resumed["thread"]), None)
                if at is not None and (ended := _ENDED.match(resumed["rest"])):
                    found[at] = found[at]._replace(args=found[at].args + ended["args"], result=_number(ended["result"]))
                continue
            begun = _LINE.match(line)
            if begun is None:
                continue  # a signal, an exit
            thread, name = int(begun["thread"]), begun["name"]
            counts[thread, name] += 1
            ended = _ENDED.match(begun["rest"])
            if ended is None:
                waiting[thread] = len(found)
            args = ended["args"] if ended else begun["rest"]
            result = _number(ended["result"]) if ended else None
            found.append(Call(thread, name, args, result, counts[thread, name]))
        return found

    def until_stopped(self) -> bool:
        """Wait for a SIGSTOP that was injected; False if the work ended without."""

        def there() -> bool:
            return "--- stopped by SIGSTOP ---" in self._log.read_text(errors="replace") or self._has_ended()

        _until(there)
        return not self._has_ended()

    def _has_ended(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except FileNotFoundError:
            return True

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


def record(work: Callable[[], Any], calls: tuple[str, ...] = (*LOOKS, *CHANGES)) -> tuple[Any, list[Call]]:
    """Do the work undisturbed: what it gave, and the calls of the threads that did it (not the one that waited)."""
    with Traced(work, calls=calls) as traced:
        answer = traced.answer()
        return answer, [call for call in traced.calls() if call.thread != traced.pid]


def _child(work: Callable[[], Any], there: socket.socket) -> None:
    code = 1
    try:
        ctypes.CDLL(None).prctl(
            _PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0
        )  # a sibling may trace us, even if not root
        there.recv(1)
        try:
            answer = (True, work())
        except BaseException:  # noqa: BLE001 - whatever it is, the test tells it
            answer = (False, traceback.format_exc())
        there.sendall(pickle.dumps(answer))  # no write(2): that may be what fails
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _set(names: tuple[str, ...]) -> str:
    return ",".join(f"?{name}" for name in names)  # an architecture may lack one


def _number(text: str) -> int | None:
    return None if text == "?" else int(text)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.0005)
