"""Pruning: which sessions have to go, and removing them.

What a session is, is read through handles: a real directory directly below the base, with the prefix and a marker, of
this user. The rules look at times; whether a session is in use is asked last, and only of those that would go. Each is
removed by the archive engine if it still is the directory that was looked at, after its lock was taken: so a session
that was swapped or taken up in between stays.

One process at a time prunes a base directory; whoever finds another at it waits a little, then leaves it to that one.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from runark.archive.discard import discard_session
from runark.errors import OperationFailed, RunarkError, SessionSkipped, SourceMissing
from runark.names import escape
from runark.workdir.hooks import call
from runark.workdir.marker import Marker, is_over, lock, read_marker
from runark.workdir.messages import VERBOSE, log

__all__ = ["Found", "Rules", "candidates", "prune"]

_DAY = 86_400.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATIENCE = 1.0
_PAUSE = 0.02
_LEFT = re.compile(r"\.(.+)\.discarding-[0-9a-f]{16}", re.DOTALL)


class Rules(NamedTuple):
    """Which sessions are kept."""

    base: Path
    prefix: str
    newest: int
    """So many; -1: all."""
    days: int
    """So long after their end; -1: for ever."""


class Found(NamedTuple):
    """A session below the base."""

    path: Path
    status: os.stat_result
    """Of the directory, when it was looked at."""
    marker: Marker


def candidates(rules: Rules) -> list[Found]:
    """The sessions to prune, the oldest first. Raises `OperationFailed` if the base cannot be listed."""
    if rules.newest < 0 and rules.days < 0:
        return []
    now = time.time()
    # The clock was set back since: to count what it calls later would push out what is new.
    known = (found for found in _sessions(rules) if found.marker.time <= now)
    sessions = sorted(known, key=lambda found: (found.marker.time, found.path), reverse=True)
    oldest = now - rules.days * _DAY
    chosen = [
        found
        for rank, found in enumerate(sessions)
        if rank >= rules.newest >= 0 or (rules.days >= 0 and found.marker.time < oldest)
    ]
    return [found for found in reversed(chosen) if _is_free(found)]


def prune(
    rules: Rules, on_before_prune: Callable[[list[Path]], object] | None, despite_hook_failure: bool
) -> list[Path]:
    """As `SessionDir.prune`."""
    try:
        with _alone(rules.base) as alone:
            if not alone:
                log.debug("%s: another process is pruning it", _shown(rules.base))
                return []
            _finish_left(rules)
            found = candidates(rules)
            if not found:
                return []
            log.log(VERBOSE, "%s: pruning %d sessions", _shown(rules.base), len(found))
            if on_before_prune is not None:
                try:
                    call(on_before_prune, [one.path for one in found])
                except Exception:  # noqa: BLE001 - somebody else's function
                    kept = "" if despite_hook_failure else "; the sessions it was told about are kept"
                    log.warning("on_before_prune failed%s", kept, exc_info=True)
                    if not despite_hook_failure:
                        return []
            return [one.path for one in found if _discard(one.path, one.status)]
    except OSError as error:
        log.warning("%s: not pruned: %s", _shown(rules.base), error)
        return []


def _sessions(rules: Rules) -> Iterator[Found]:
    """The sessions below the base, in no order."""
    try:
        with os.scandir(rules.base) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.name.startswith(rules.prefix)
                and not entry.name.startswith(".")
                and entry.is_dir(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return
    except OSError as error:
        raise OperationFailed(f"{_shown(rules.base)}: cannot be listed: {error.strerror}") from error
    for name in names:
        path = rules.base / name
        with contextlib.suppress(OSError), _opened(path) as directory:  # gone since, or not ours to enter
            status = os.fstat(directory)
            marker = read_marker(directory) if status.st_uid == os.geteuid() else None
            if marker is not None:
                yield Found(path, status, marker)


def _is_free(found: Found) -> bool:
    """Whether no process runs in the session."""
    try:
        with _opened(found.path) as directory:
            return is_over(directory, os.fspath(found.path), found.marker)
    except OSError:
        return False


def _finish_left(rules: Rules) -> None:
    """Remove what interrupted prunings have left."""
    with os.scandir(rules.base) as entries:
        left = [
            entry for entry in entries if (name := _LEFT.fullmatch(entry.name)) and name[1].startswith(rules.prefix)
        ]
    for entry in left:
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                _discard(Path(entry.path), status)


def _discard(path: Path, status: os.stat_result) -> bool:
    """Whether it was removed here."""
    try:
        discard_session(path, status)
    except SourceMissing:  # archived or moved by the hook
        log.debug("%s: gone already", _shown(path))
    except SessionSkipped as error:
        log.debug("%s", error)
    except (RunarkError, OSError) as error:
        log.warning("%s", error)
    else:
        log.debug("removed %s", _shown(path))
        return True
    return False


@contextmanager
def _alone(base: Path) -> Iterator[bool]:
    """Whether nobody else prunes the base meanwhile, as far as locks can tell."""
    with _opened(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as directory:
        until = time.monotonic() + _PATIENCE
        while (held := lock(directory)) == "held" and time.monotonic() < until:
            time.sleep(_PAUSE)
        yield held != "held"


@contextmanager
def _opened(path: Path, flags: int = _DIRECTORY) -> Iterator[int]:
    handle = os.open(path, flags)
    try:
        yield handle
    finally:
        os.close(handle)


def _shown(path: Path) -> str:
    return escape(os.fsencode(path))
