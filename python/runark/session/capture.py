"""The logs of a session: whatever goes to standard output and standard error, by whomever it is written.

Descriptors 1 and 2 are replaced by pipes (by terminals, where they are terminals, so that the script still sees
one) whose other ends a process of its own reads: `runark.session.pump`. So `print`, logging, C code and child
processes are all there, in order. In a notebook or under a test runner `sys.stdout` does not write to descriptor 1;
there it is replaced too, by a copier, as long as the session runs.

`Capture.stop` waits until everything written so far is in the logs, never for a process that still holds a pipe.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runark.errors import OperationFailed
from runark.names import escape

__all__ = ["NAMES", "Capture", "above"]

NAMES = ("stdout", "stderr")
_PIPE_SIZE = 1 << 20
_LONGEST = 1 << 16  # characters of a line that are kept back
_Identity = tuple[int, int] | None
_PUMP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pump.py")


class Capture:
    """Standard output and error of this process, into `<logs>/stdout<suffix>.log` and `stderr<suffix>.log`.

    Raises `OperationFailed` if it cannot begin; everything is as it was then, but for empty log files.
    """

    def __init__(self, logs: Path, suffix: str = "") -> None:
        self.files = [logs / f"{name}{suffix}.log" for name in NAMES]
        self._token = os.urandom(16).hex()
        self._own: dict[int, _Identity] = {}  # descriptors to close at the end
        self._writers: list[int] = []
        self._saved: list[tuple[int, int]] = []
        self.lost_output: list[str] = []
        """What whoever reads the script's output has not got, though it is there: `standard output: 12 bytes ...`."""
        self._copiers: list[_Copier] = []
        self._buffered: list[Any] = []
        self._report = -1
        self._libc = _LibC.loaded()
        try:
            self._begin()
        except BaseException as error:
            self._put_back()
            self._close_all()
            if not isinstance(error, OSError):  # a signal
                raise
            where = error.filename if error.filename is not None else self.files[0]
            raise OperationFailed(f"{escape(os.fsencode(where))}: cannot begin the logs: {error.strerror}") from error

    def _begin(self) -> None:
        logs = [
            self._keep(above(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)))
            for path in self.files
        ]
        theirs = list(logs)
        streams = []
        for number, name in enumerate(NAMES):
            fd = number + 1
            source, writer = self._channel(fd)
            theirs.append(source)
            self._writers.append(writer)
            relay = fd if _is_open(fd) else -1
            streams.append(f"{source}:{relay}:{number}:-1")
            stream = getattr(sys, name, None)
            if stream is not None and not _writes_to(stream, fd):
                source, writer = self._pipe()
                theirs.append(source)
                self._writers.append(writer)
                answers, answer = self._pipe()
                theirs.append(answer)
                streams.append(f"{source}:-1:{number}:{answer}")
                self._copiers.append(_Copier(name, stream, writer, answers))
        control, mine = self._pipe()
        self._report, report = self._pipe()
        theirs += [control, report]
        _flush()
        self._libc.flush()
        arguments = [self._token, str(control), str(report), ",".join(map(str, logs)), *streams]
        self._launcher = _spawn(arguments, theirs)
        for fd in theirs:
            os.close(fd)
            del self._own[fd]
        self._control = mine
        for fd, writer in zip((1, 2), self._descriptor_writers(), strict=True):
            saved = self._keep(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)) if _is_open(fd) else -1
            self._saved.append((fd, saved))
            os.dup2(writer, fd)
        for copier in self._copiers:
            copier.install()
        for stream in _streams():
            self._by_line(stream)
        self._libc.by_line()

    def _descriptor_writers(self) -> list[int]:
        copied = {copier.writer for copier in self._copiers}
        return [writer for writer in self._writers if writer not in copied]

    def _by_line(self, stream: Any) -> None:
        """Lines are in the logs when they are printed, not when a buffer is full."""
        if isinstance(stream, io.TextIOWrapper) and not stream.closed and not stream.line_buffering:
            stream.reconfigure(line_buffering=True)
            self._buffered.append(stream)

    def stop(self) -> list[str]:
        """Ends it. Gives what is missing in the logs: `"stdout.log: 12 bytes are missing: No space left on device"`."""
        _flush()
        self._libc.flush()
        mark = b"\0runark-" + self._token.encode() + b"\0"
        self._put_back()
        report = b""
        if all([self._send(writer, mark) for writer in self._writers]):
            while self._is_ours(self._report) and (chunk := os.read(self._report, 4096)):
                report += chunk
        self._close_all()
        with contextlib.suppress(ChildProcessError):  # the script waited for it
            os.waitpid(self._launcher, 0)
        return self._problems(report)

    def _send(self, writer: int, mark: bytes) -> bool:
        """False if it cannot be: the script has closed the descriptor, whose number may be a file of its own by now."""
        if not self._is_ours(writer):
            return False
        try:
            os.set_blocking(writer, True)  # asyncio makes standard output non-blocking
            os.write(writer, mark)
        except OSError:  # the pump is gone, which the missing report tells
            pass
        return True

    def _problems(self, report: bytes) -> list[str]:
        import json

        if not report.strip():
            why = "the process that wrote it was killed, or the script closed descriptors it had not opened"
            return [f"{path.name}: its end may be missing: {why}" for path in self.files]
        logs, relays = json.loads(report)
        self.lost_output = _missing(("standard output", "standard error"), relays)
        return _missing([path.name for path in self.files], logs)

    def _put_back(self) -> None:
        for copier in self._copiers:
            copier.uninstall()
        for stream in self._buffered:
            with contextlib.suppress(OSError, ValueError):  # its reader is gone; the script has closed it
                stream.reconfigure(line_buffering=False)
        self._buffered.clear()
        for fd, saved in self._saved:
            if saved < 0:
                with contextlib.suppress(OSError):  # the script has closed it
                    os.close(fd)
            elif self._is_ours(saved):  # else the script has closed it; what it writes is passed on as before
                os.dup2(saved, fd)
                os.close(saved)
                del self._own[saved]
        self._saved.clear()
        self._libc.put_back()

    # ------------------------------------------------------------------------------------------- channels

    def _keep(self, fd: int) -> int:
        self._own[fd] = _identity(fd)
        return fd

    def _is_ours(self, fd: int) -> bool:
        """Whether the descriptor is still what it was: a script may close all it finds, and open others."""
        return self._own.get(fd) is not None and _identity(fd) == self._own[fd]

    def _close_all(self) -> None:
        for fd in filter(self._is_ours, list(self._own)):
            os.close(fd)
        self._own.clear()

    def _pipe(self) -> tuple[int, int]:
        """A pipe above the standard descriptors, whichever of those are closed."""
        reader, writer = (self._keep(above(fd)) for fd in os.pipe())
        return reader, writer

    def _channel(self, fd: int) -> tuple[int, int]:
        """What replaces descriptor `fd`: (the end to read, the end to write)."""
        if _is_open(fd) and os.isatty(fd):
            import termios

            with contextlib.suppress(OSError, termios.error):  # no terminals left: it has to be a pipe
                return self._terminal(fd)
        reader, writer = self._pipe()
        with contextlib.suppress(AttributeError, OSError):  # not Linux, or the user's pages are used up
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        return reader, writer

    def _terminal(self, fd: int) -> tuple[int, int]:
        import termios

        settings = termios.tcgetattr(fd)
        outer, inner = (self._keep(above(end)) for end in os.openpty())
        settings[1] &= ~termios.OPOST  # the terminal behind does it
        termios.tcsetattr(inner, termios.TCSANOW, settings)
        with contextlib.suppress(OSError):
            fcntl.ioctl(inner, termios.TIOCSWINSZ, fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))
        return outer, inner


def above(fd: int) -> int:
    """The same, at a number beyond the standard descriptors, any of which may have been closed."""
    if fd > 2:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


def _identity(fd: int) -> _Identity:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_open(fd: int) -> bool:
    return _identity(fd) is not None


def _writes_to(stream: Any, fd: int) -> bool:
    """Whether it says so, as many a wrapper does (colorama's, those of `codecs`), or holds a stream that says so."""
    held = getattr(stream, "__dict__", {}).values()
    inner = (part for value in held for part in (value if isinstance(value, (list, tuple)) else (value,)))
    return _number_of(stream) == fd or any(_number_of(part) == fd for part in inner if hasattr(part, "write"))


def _number_of(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, TypeError, OSError, ValueError):
        return None


def _missing(names: Sequence[str], reports: Sequence[str]) -> list[str]:
    return [
        f"{name}: {number} bytes are missing: {why}"
        for name, (number, _, why) in zip(names, (text.partition(" ") for text in reports), strict=True)
        if number
    ]


def _streams() -> list[Any]:
    """Python's own are flushed too: what stands for them now may not do it."""
    return [getattr(sys, name, None) for name in (*NAMES, "__stdout__", "__stderr__")]


def _flush() -> None:
    for stream in _streams():
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # none, its reader is gone, closed
            continue


def _spawn(arguments: list[str], inherited: list[int]) -> int:
    """Starts the pump with the descriptors it needs and the script's signals blocked from its first moment."""
    if not sys.executable:
        raise OSError(0, "Python does not know its own executable (sys.executable is empty)")
    for fd in inherited:
        os.set_inheritable(fd, True)
    blocked = {
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGTSTP,  # the heartbeat of a script that waits goes on
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGXCPU,
    }
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", _PUMP, *arguments],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsigmask=blocked,
    )


class _Copier(io.TextIOBase):
    """Stands for a `sys.stdout` that does not write to descriptor 1: writes to it, and to the log.

    It waits until the log has it, so that what a child writes to the descriptor next comes next; never longer than a
    second. Forked children write too, and do not wait: the answers go to whoever reads them first.
    """

    def __init__(self, name: str, stream: Any, writer: int, answers: int) -> None:
        self._name, self._stream, self.writer, self._answers = name, stream, writer, answers
        self._lock = threading.Lock()
        self._pid = self._writing = os.getpid()
        self._line = ""

    def install(self) -> None:
        setattr(sys, self._name, self)

    def uninstall(self) -> None:
        if getattr(sys, self._name, None) is self:
            setattr(sys, self._name, self._stream)
        with self._lock:
            self.writer = -1

    def write(self, text: str) -> int:
        self._stream.write(text)
        if self._writing != os.getpid():  # in a forked child: what the parent has begun is the parent's, its lock too
            self._writing, self._line, self._lock = os.getpid(), "", threading.Lock()
        with self._lock:
            self._line += text
            end = self._line.rfind("\n") + 1
            if end or len(self._line) > _LONGEST:
                self._send(end or len(self._line))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()
        if self._writing == os.getpid():
            with self._lock:
                self._send(len(self._line))

    def _send(self, length: int) -> None:
        """Whole lines, so that those of several processes do not mix. After the end (a handler of logging may hold it
        still) nothing: the descriptors are somebody else's."""
        if self.writer < 0:
            self._line = ""
            return
        data = self._line[:length].encode("utf-8", "backslashreplace")
        self._line = self._line[length:]
        waits = os.getpid() == self._pid
        while waits and select.select([self._answers], [], [], 0)[0] and os.read(self._answers, 4096):
            pass  # to what children wrote
        while data:
            written = os.write(self.writer, data)
            data = data[written:]
            if waits:
                self._wait(written)

    def _wait(self, written: int) -> None:
        while written > 0 and select.select([self._answers], [], [], 1)[0]:
            answer = os.read(self._answers, 4)
            written -= int.from_bytes(answer, "little") if answer else written

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def buffer(self) -> Any:
        return self._stream.buffer

    def __getattr__(self, name: str) -> Any:  # whatever else the host's stream can do
        return getattr(self._stream, name)


class _LibC:
    """C's own buffers: by line while the session runs, and emptied at its ends, so that C's output is in order too."""

    _IOFBF, _IOLBF = 0, 1

    def __init__(self, library: Any) -> None:
        self._library = library
        self._was: list[Any] = []

    @classmethod
    def loaded(cls) -> _LibC:
        try:
            import ctypes

            return cls(ctypes.CDLL(None))
        except (ImportError, OSError, TypeError):  # an interpreter without it: C's output comes as its buffers empty
            return cls(None)

    def flush(self) -> None:
        if self._library is not None:
            self._library.fflush(None)

    def by_line(self) -> None:
        import ctypes

        if self._library is None:
            return
        try:
            stdout = ctypes.c_void_p.in_dll(self._library, "stdout")
            if not self._library["__flbf"](stdout):
                self._library.setvbuf(stdout, None, self._IOLBF, ctypes.c_size_t(0))
                self._was.append(stdout)
        except (AttributeError, ValueError):  # another C library
            return

    def put_back(self) -> None:
        import ctypes

        for stdout in self._was:
            self._library.setvbuf(stdout, None, self._IOFBF, ctypes.c_size_t(0))
        self._was.clear()
