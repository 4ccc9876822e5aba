"""The audit of a root: who removed what, when, with which version. One JSON line each, only ever appended.

    .runark/audit.jsonl
    {"event": "begin", "run": R, "time": ..., "verb": "archive", "user": ..., "host": ..., "pid": ..., "version": ..., "engine": ...}
    {"event": "archived", "run": R, "time": ..., "path": ..., "archive": ..., "sha256": ..., "entries": N, "bytes": N}
    {"event": "end", "run": R, "time": ..., "counts": {...}, "stopped": ""}

Paths are relative to the root. The verb is `archive`, `purge`, `undo`, `restore` or `restore --remove-archive`. Events between `begin` and `end`: `archived` (the source is removed), `trashed` (it lies
in `.runark/trash`), `purged` (removed from there), `restored`, `undone`. A run that ends without a line `end` was killed.
Where the file cannot be written (no room, no right) the run says so and goes on: what is removed does not depend on it.
"""  # noqa: E501

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from json.encoder import encode_basestring_ascii
from types import TracebackType
from typing import Any

from runark.archive.owners import user_name
from runark.engine.protocol import Outcome
from runark.names import escape, json_path, unique_hex

__all__ = ["NAME", "REMOVED", "Audit", "is_below", "new_run", "read_audit"]

NAME = b"audit.jsonl"
REMOVED = frozenset(("archived", "trashed", "purged", "restored", "undone"))
"""Actions that are written down: those that take a session or an archive from its place, or bring it back."""

_dumps = json.JSONEncoder(separators=(",", ":")).encode


def new_run() -> str:
    """The name of a run: when it began (UTC), and four digits against another one in the same second."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{unique_hex(2)}"


class Audit:
    """The lines of one run in one root; a context."""

    def __init__(self, root: bytes, run: str, verb: str, engine: str) -> None:
        self.root, self.run, self.verb, self.engine = root, run, verb, engine
        self.note = ""
        """What went wrong with the file, if anything."""
        self._handle = -1
        self._began = False
        self._below = root.rstrip(b"/") + b"/"
        self._above = len(self._below)

    def __enter__(self) -> Audit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Write down those of the outcomes that removed something."""
        head = f'"run":"{self.run}","time":"{_now()}"'
        lines = [self._line(outcome, head) for outcome in outcomes if outcome.action in REMOVED]
        if lines:
            self._write("".join(lines))

    def end(self, counts: Mapping[str, int], stopped: str) -> None:
        """The run is over. Without anything removed nothing is written."""
        if self._began:
            last = {"event": "end", "run": self.run, "time": _now(), "counts": dict(counts), "stopped": stopped}
            self._write(_dumps(last) + "\n")

    def _line(self, outcome: Outcome, head: str) -> str:
        # Made by hand: one for every session archived, and json.dumps of a mapping takes five times as long.
        session, archive = outcome.path, outcome.target
        if outcome.action == "restored":
            session, archive = archive, session
        beside = f'"archive":{self._path(archive)},' if archive else ""
        return (
            f'{{"event":"{outcome.action}",{head},"path":{self._path(session)},{beside}'
            f'"sha256":"{outcome.sha256}","entries":{outcome.entries},"bytes":{outcome.bytes_in}}}\n'
        )

    def _path(self, path: bytes) -> str:
        """In JSON, relative to the root if it is below."""
        if path.startswith(self._below):
            path = path[self._above :]
        try:
            return encode_basestring_ascii(path.decode())
        except UnicodeDecodeError:
            return _dumps(json_path(path))

    def _write(self, text: str) -> None:
        if self.note:
            return
        if not self._began:
            self._began = True
            text = _dumps(self._first()) + "\n" + text
        data = text.encode("ascii")
        path = os.path.join(self.root, b".runark", NAME)
        try:
            if self._handle < 0:
                # Not to wait for a reader if somebody has put a pipe there.
                flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                self._handle = os.open(path, flags, 0o644)
                status = os.fstat(self._handle)
                if not stat.S_ISREG(status.st_mode):
                    raise OSError(errno.EINVAL, "it is no file; remove it")
                size = status.st_size
                if size and os.pread(self._handle, 1, size - 1) != b"\n":  # torn by a crash, or for lack of room
                    data = b"\n" + data
            while data:
                data = data[os.write(self._handle, data) :]
        except OSError as error:
            self.note = f"{escape(path)}: not written: {error.strerror}; what was removed stands in --events, if given"

    def _first(self) -> dict[str, Any]:
        from runark import __version__

        return {
            "event": "begin", "schema": 1, "run": self.run, "time": _now(), "verb": self.verb,
            "user": user_name(os.geteuid()), "host": os.uname().nodename, "pid": os.getpid(),
            "version": __version__, "engine": self.engine,
        }  # fmt: skip


def is_below(path: bytes, root: bytes) -> bool:
    """By name alone."""
    return path.startswith(root.rstrip(b"/") + b"/")


def read_audit(root: bytes) -> Iterator[dict[str, Any]]:
    """The lines of a root's audit, oldest first; none if there is no audit. A line torn by a crash is left out."""
    try:
        stream = open(os.path.join(root, b".runark", NAME), "rb")  # noqa: SIM115
    except FileNotFoundError:
        return
    with stream:
        for text in stream:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                yield line


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
