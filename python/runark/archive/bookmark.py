"""How far a verification with a time limit has come: `<root>/.runark/verify.json`, read by the next one.

Archives are verified in the order of their paths, and the bookmark of a root is the last one before which none is
left. It needs no list of archives: what is added behind it is still to come, what is added before it is seen next
time round. A root that is done keeps its bookmark until all roots of the run are, or the first one would take the time
of the others night after night.

A bookmark is a hint. It belongs to one subset; one of another subset, or one that cannot be read, counts for nothing.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from runark.archive.root import DIRECTORY
from runark.archive.subset import Subset
from runark.engine.protocol import Outcome
from runark.names import below, escape, from_json_path, json_path

__all__ = ["Bookmarks"]

SCHEMA = 1
SAVE_EVERY = 60.0
"""Seconds between two writings."""

_NAME = b"verify.json"
_LARGEST = 1 << 20


class _Mark(NamedTuple):
    """All archives up to `after`, a path below the root, are done; `complete`: those behind it too."""

    after: bytes = b""
    complete: bool = False


class _Course:
    """The archives of one root that are to be verified, in order, and how many are done without a gap."""

    def __init__(self, root: bytes, mark: _Mark) -> None:
        self.root, self.mark = root, mark
        self.names: list[bytes] = []
        self._done: set[bytes] = set()
        self._gapless = 0

    def done(self, name: bytes) -> None:
        self._done.add(name)
        while self._gapless < len(self.names) and self.names[self._gapless] in self._done:
            self._done.remove(self.names[self._gapless])
            self.mark = _Mark(self.names[self._gapless])
            self._gapless += 1

    @property
    def complete(self) -> bool:
        return self._gapless == len(self.names)


class Bookmarks:
    """The bookmarks of a run's roots. Reads them when made; `restart`: begin anew instead."""

    def __init__(self, roots: Sequence[bytes], subset: Subset, restart: bool) -> None:
        self.notes: list[str] = []
        self._subset = str(subset)
        self._courses = {root: _Course(root, _Mark() if restart else self._read(root)) for root in roots}
        self._bases: Mapping[bytes, bytes] = {}
        self._saved = time.monotonic()

    def left(self, paths: Sequence[bytes], bases: Mapping[bytes, bytes]) -> list[bytes]:
        """Those of the sorted paths that are not done yet; `bases`: the root of each that was found below one."""
        self._bases = bases
        todo = []
        for path in paths:
            root = bases.get(path)
            if root is not None:
                course, name = self._courses[root], below(path, root)
                if course.mark.complete or name <= course.mark.after:
                    continue
                course.names.append(name)
            todo.append(path)
        for course in self._courses.values():
            course.names.sort()
        return todo

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """Note what is done, and write it down once a minute."""
        for outcome in outcomes:
            root = self._bases.get(outcome.path)
            if root is not None and outcome.action != "cancelled":
                self._courses[root].done(below(outcome.path, root))
        if time.monotonic() - self._saved >= SAVE_EVERY:
            self._save()

    def close(self) -> None:
        """At the end: write down how far each root has come, or, if nothing is left in any, take the bookmarks away."""
        if not all(course.complete for course in self._courses.values()):
            self._save()
            return
        for root in self._courses:
            if not os.path.lexists(_path(root)):
                continue  # not tried: where nothing can be written, that would be an error
            try:
                os.unlink(_path(root))
            except OSError as error:
                self._tell(root, error)

    def _read(self, root: bytes) -> _Mark:
        try:
            handle = os.open(_path(root), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:  # none there, or none that can be read: begin with the first archive
            return _Mark()
        with open(handle, "rb") as stream:
            try:
                state: dict[str, Any] = json.loads(stream.read(_LARGEST))
                if (state["schema"], state["subset"]) != (SCHEMA, self._subset):
                    return _Mark()
                return _Mark(from_json_path(state["after"]), bool(state["complete"]))
            except (OSError, ValueError, KeyError, TypeError):
                return _Mark()

    def _save(self) -> None:
        self._saved = time.monotonic()
        for root, course in self._courses.items():
            state = {
                "schema": SCHEMA,
                "subset": self._subset,
                "after": json_path(course.mark.after),
                "complete": course.complete,
            }
            try:
                _write(_path(root), json.dumps(state).encode("ascii") + b"\n")
            except OSError as error:
                self._tell(root, error)

    def _tell(self, root: bytes, error: OSError) -> None:
        note = f"{escape(_path(root))}: not written ({error.strerror}); the next run begins with the first archive"
        if note not in self.notes:
            self.notes.append(note)


def _path(root: bytes) -> bytes:
    return os.path.join(root, DIRECTORY, _NAME)


def _write(path: bytes, data: bytes) -> None:
    """Replace the file at once. Raises `OSError`."""
    directory = os.path.dirname(path)
    with suppress(FileExistsError):
        os.mkdir(directory, 0o755)
    if not stat.S_ISDIR(os.lstat(directory).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)
    part = path + b".part"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(handle, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, path)
