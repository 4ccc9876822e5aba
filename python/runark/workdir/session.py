"""A session that is under way: its directory, held by a lock and by its marker until it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from runark.names import escape
from runark.record import MARKER
from runark.workdir.marker import lock, write_marker
from runark.workdir.messages import log

__all__ = ["Session", "hold"]


class Session:
    """A running session. A context manager, at the end of which it has ended.

    While it runs, nobody prunes or archives its directory: not this process, not another one.
    """

    path: Path
    """The session's directory, absolute."""

    def __init__(self, path: Path, directory: int, started: float) -> None:
        """Made by `SessionDir.create`, with the handle that has the directory's lock."""
        self.path = path
        self._directory = directory
        self._started = started
        self._process = os.getpid()

    @property
    def is_ours(self) -> bool:
        """False in a child made by fork: the session is its parent's, and ends with it."""
        return self._process == os.getpid()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def __repr__(self) -> str:
        return f"Session({os.fspath(self.path)!r})"

    def end(self) -> None:
        """Writes the end into the marker and gives the directory free. A second call does nothing.

        In a child made by fork neither is done.
        """
        directory, self._directory = self._directory, -1
        if directory < 0:
            return
        if not self.is_ours:
            os.close(directory)  # to unlock it would unlock the parent's
            return
        try:
            write_marker(directory, self._started, time.time())
        except FileNotFoundError:
            log.debug("%s: removed while its session ran", self)
        except OSError as error:
            log.warning("%s: its end could not be noted: %s", escape(os.fsencode(self.path)), error.strerror)
        finally:
            _release(directory)

    def withdraw(self) -> None:
        """Takes back a session that could not begin: removes its directory, or ends it if there is a file in it."""
        for above, *_ in os.walk(self.path, topdown=False):
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(above)
        if os.listdir(self._directory) == [os.fsdecode(MARKER)]:
            directory, self._directory = self._directory, -1
            with contextlib.suppress(OSError):
                os.unlink(MARKER, dir_fd=directory)
                os.rmdir(self.path)
            _release(directory)
        self.end()


def hold(path: Path, started: float) -> Session | None:
    """Takes hold of a directory that was just made. None: somebody else has; take another. Raises `OSError`."""
    directory = -1
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if lock(directory) == "held":
            os.close(directory)
            return None
        write_marker(directory, started)
    except BaseException:
        if directory >= 0:
            os.close(directory)
        with contextlib.suppress(OSError):
            os.rmdir(path)
        raise
    return Session(path, directory, started)


def _release(directory: int) -> None:
    # Also what a child made by fork still has open loses the lock.
    with contextlib.suppress(OSError):
        fcntl.flock(directory, fcntl.LOCK_UN)
    os.close(directory)
