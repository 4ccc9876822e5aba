"""The process between a session and its terminal: copies what is written there, and writes the logs.

It is a process of its own, so that what a script has written is in the logs however the script ends (SIGKILL,
`os._exit`, a crash in C), and so that no script waits for a thread of its own interpreter. It is started as

    python -I -S pump.py TOKEN CONTROL REPORT LOG,LOG STREAM ...      STREAM = source:relay:log:answer

with numbers of inherited descriptors: `source` is read (a pipe, or the outer side of a terminal), `relay` gets
every byte unchanged (-1: nobody), `log` is the place in the list of logs, which get clean text (see `Cleaner`). Where
there is an `answer` (else -1), a copier in the script waits there for the number of bytes that are done, four bytes
each time; what came through the descriptors before goes first. So two ways into one log keep their order.

    the session ends       the session writes TOKEN into each stream. When all have come, or their end, the logs are
                           closed and one line, JSON, goes to REPORT: how much is missing in each log, and of
                           what was to be relayed. What a grandchild writes later is relayed only
    the script is killed   CONTROL, which only the script holds, comes to its end; the logs go on to that of the streams
    while it runs          the first log's time is renewed every minute: the heartbeat by which a live session on
                           another machine is told from a dead one

It detaches itself, so that a script that waits for its children never waits for it, and blocks the signals that are
meant for the script. Only what comes with the interpreter is imported, and nothing of runark.
"""

from __future__ import annotations

import errno
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

HEARTBEAT = 60.0  # seconds
LONGEST_LINE = 1 << 16
_GONE = (errno.EPIPE, errno.ECONNRESET)

_ESCAPES = (
    rb"\x1b(?:"
    rb"\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    rb"|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # OSC and other strings: titles, links; without an end, none
    rb"|[ -/]+[0-~]"  # character sets
    rb"|[0-OQ-WYZ\\`-~]"  # one letter
    rb")"
)


def _escapes() -> re.Pattern[bytes]:
    import re  # half of what the start of this process costs, and most scripts have no colours

    return re.compile(_ESCAPES)


class Cleaner:
    """Text for a log: escape codes taken out; of a line that was written over (progress bars), its last state.

    An unfinished line is held back until it ends, at most `LONGEST_LINE` bytes of it.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The finished lines of what has come so far."""
        data = self._held + data
        end = data.rfind(b"\n") + 1
        self._held = data[end:]
        if len(self._held) > LONGEST_LINE and b"\r" not in self._held:
            cut = self._held.rfind(b"\x1b", -256)  # never within a code
            end += cut if cut >= 0 else len(self._held)
            self._held = data[end:]
        elif len(self._held) > LONGEST_LINE:
            self._held = self._held[self._held.rfind(b"\r") :]
        return self._clean(data[:end])

    def flush(self) -> bytes:
        """What is left, at the end."""
        held, self._held = self._held, b""
        return self._clean(held)

    @staticmethod
    def _clean(data: bytes) -> bytes:
        if b"\x1b" in data:
            data = _escapes().sub(b"", data)
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
            if b"\r" in data:
                data = b"\n".join(map(_last_state, data.split(b"\n")))
        return data


def _last_state(line: bytes) -> bytes:
    if b"\r" not in line:
        return line
    states = [state for state in line.split(b"\r") if state.strip()]
    return states[-1] if states else b""


class Log:
    """A log file. What cannot be written is counted; the log says how much is missing where, and the script goes on."""

    def __init__(self, fd: int) -> None:
        self.fd, self.lost, self.why, self._gap = fd, 0, "", 0
        self._cleaner = Cleaner()

    def feed(self, data: bytes) -> None:
        self._write(self._cleaner.feed(data))

    def finish(self) -> None:
        self._write(self._cleaner.flush())
        os.close(self.fd)
        self.fd = -1

    def _write(self, data: bytes) -> None:
        if self._gap and data:
            note = b"\n[runark: %d bytes are missing here: %s]\n" % (self._gap, self.why.encode())
            end = os.fstat(self.fd).st_size
            if self._try(note) == len(note):
                self._gap = 0
            else:
                os.ftruncate(self.fd, end)  # half a note says nothing
        if data:
            missing = len(data) - self._try(data) if not self._gap else len(data)
            self._gap += missing
            self.lost += missing

    def _try(self, data: bytes) -> int:
        done = 0
        try:
            while done < len(data):
                done += os.write(self.fd, data[done : done + (1 << 20)])
        except OSError as error:
            self.why = error.strerror or str(error)
        return done


class Stream:
    def __init__(self, source: int, relay: int, log: Log, answer: int, token: bytes) -> None:
        self.source, self.relay, self.log, self.answer, self._token = source, relay, log, answer, token
        self.marked = self.ended = False
        self.lost, self.why, self._is_terminal = 0, "", os.isatty(relay)
        self._held = b""

    def pump(self) -> None:
        """Moves what is there. At the token, or the end, the log has got everything that belongs to it."""
        try:
            data = os.read(self.source, 1 << 20)
        except OSError:  # a terminal nobody holds any more
            data = b""
        if not data:
            self.ended = True
            self._pass(self._held)
            self._held = b""
            os.close(self.source)
            return
        if self.marked:
            self.relay_on(data)
            return
        length = len(data)
        data = self._held + data
        self._held = b""
        self._sort_out(data)
        if self.answer >= 0:
            _tell(self.answer, length.to_bytes(4, "little"))

    def _sort_out(self, data: bytes) -> None:
        at = data.find(self._token)
        if at >= 0:
            self.marked = True
            self._pass(data[:at])
            self.relay_on(data[at + len(self._token) :])
            return
        start = data.rfind(self._token[:1], -len(self._token))
        if start >= 0 and self._token.startswith(data[start:]):
            self._held, data = data[start:], data[:start]
        self._pass(data)

    def _pass(self, data: bytes) -> None:
        if data:
            self.relay_on(data)
            self.log.feed(data)

    def relay_on(self, data: bytes) -> None:
        """To whoever read the script's output before. Gone (`| head`): the log goes on without. What a file has no
        room for is counted; nothing follows it there."""
        view = memoryview(data)
        while view and self.relay >= 0:
            try:
                view = view[os.write(self.relay, view[: 1 << 16]) :]
            except BlockingIOError:
                select.select([], [self.relay], [])
            except OSError as error:
                self.relay = -1
                if not (error.errno in _GONE or (error.errno == errno.EIO and self._is_terminal)):
                    self.why = error.strerror or str(error)
        if self.why:
            self.lost += len(view)


def _follow_window(streams: list[Stream]) -> None:
    """Passes changes of the terminal's size on."""
    import fcntl
    import signal
    import termios

    def follow(*_: object) -> None:
        for stream in streams:
            try:  # noqa: SIM105 - contextlib would have to be imported
                fcntl.ioctl(stream.source, termios.TIOCSWINSZ, fcntl.ioctl(stream.relay, termios.TIOCGWINSZ, b"\0" * 8))
            except OSError:
                pass

    signal.signal(signal.SIGWINCH, follow)


def main(arguments: list[str]) -> None:
    token, control, report = arguments[0].encode(), int(arguments[1]), int(arguments[2])
    token = b"\0runark-" + token + b"\0"
    logs = [Log(int(fd)) for fd in arguments[3].split(",")]
    streams = []
    for text in arguments[4:]:
        source, relay, log, answer = map(int, text.split(":"))
        streams.append(Stream(source, relay, logs[log], answer, token))
        if answer >= 0:
            os.set_blocking(answer, False)  # nobody may read them
    terminals = [stream for stream in streams if stream.relay >= 0 and os.isatty(stream.source)]
    if terminals:
        _follow_window(terminals)
    poll = select.poll()
    readers = {stream.source: stream for stream in streams}
    for fd in (control, *readers):
        poll.register(fd, select.POLLIN)
    watched = logs[0]
    while readers:
        events = poll.poll(HEARTBEAT * 1000)
        if control >= 0 and watched.fd >= 0 and not events:
            try:  # noqa: SIM105 - as above
                os.utime(watched.fd)
            except OSError:
                pass
        ready = [fd for fd, _ in events]
        if any(fd in readers and readers[fd].answer >= 0 for fd in ready):
            # What was written to a descriptor before a copier wrote is there by now, if it was not a moment ago.
            ready = sorted(
                {*ready, *(fd for fd, _ in poll.poll(0))}, key=lambda fd: fd in readers and readers[fd].answer
            )
        for fd in ready:
            if fd == control:
                poll.unregister(control)
                control = -1
                continue
            stream = readers[fd]
            stream.pump()
            if stream.ended:
                poll.unregister(fd)
                del readers[fd]
        if report >= 0 and all(stream.marked or stream.ended for stream in streams):
            for each in logs:
                each.finish()
            relays = [max((each for each in streams if each.log is log), key=lambda each: each.lost) for log in logs]
            _tell(report, f"[{_losses(logs)},{_losses(relays)}]\n".encode())
            os.close(report)
            report = -1


def _losses(of: list[Log] | list[Stream]) -> str:
    texts = (f'"{each.lost} {each.why}"' if each.lost else '""' for each in of)
    return f"[{','.join(texts)}]"


def _tell(report: int, text: bytes) -> None:
    try:  # noqa: SIM105 - as above
        os.write(report, text)
    except OSError:  # the script is gone
        pass


def _detach() -> bool:
    """True in the process that stays."""
    try:
        return os.fork() == 0
    except OSError:  # no process to be had: stay a child
        return True


if __name__ == "__main__":
    if _detach():
        main(sys.argv[1:])
    os._exit(0)
