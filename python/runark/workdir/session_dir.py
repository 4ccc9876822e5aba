"""SessionDir: where sessions are made, how they are called, and how many are kept.

A session's name is the prefix, the timestamp and six digits of microseconds, so that names sort as sessions began. The
directory is made exclusively, and no name is given again that an archive beside it has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runark.engine.protocol import FORMATS
from runark.errors import NotADirectory, OperationFailed, UnsafePath
from runark.names import escape
from runark.workdir.messages import VERBOSE, log
from runark.workdir.prune import Rules, candidates, prune
from runark.workdir.session import Session, hold
from runark.workdir.settings import SessionDirVariables, resolve

__all__ = ["SessionDir"]


class SessionDir:
    """Creates uniquely named session directories below one directory, and removes old ones."""

    def __init__(
        self,
        base_directory: str | os.PathLike[str],
        *,
        prefix: str | None = None,
        timestamp_format: str | None = None,
        max_session_dirs: int | None = None,
        max_age_days: int | None = None,
        env_prefix: str = "",
        env_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Settings that are not given come from the environment, else they are the defaults (docs/workdir.md).

        base_directory    made if it is missing, with the directories above it
        prefix            of the sessions' names; only directories that have it are pruned
        timestamp_format  as for strftime, local time
        max_session_dirs  sessions to keep, the newest; -1: all
        max_age_days      days after its end that a session is kept; -1: for ever
        env_prefix        put before the names of the environment variables
        env_file          file with variables; those of the environment have precedence

        Raises `InvalidArgument` for a value that does not parse, naming argument or variable; `UnsafePath` for an
        empty path; `NotADirectory` if `base_directory` is a file; `OperationFailed` if it cannot be made.
        """
        found = resolve(
            SessionDirVariables,
            {
                "SESSION_DIR_PREFIX": prefix,
                "SESSION_DIR_TIMESTAMP_FORMAT": timestamp_format,
                "SESSION_DIR_MAX_SESSION_DIRS": max_session_dirs,
                "SESSION_DIR_MAX_AGE_DAYS": max_age_days,
            },
            env_prefix=env_prefix,
            env_file=env_file,
        )
        if not os.fspath(base_directory):
            raise UnsafePath("an empty base directory; is a variable unset?")
        self.base_directory = Path(os.path.abspath(base_directory))
        self.prefix: str = found.SESSION_DIR_PREFIX
        self.timestamp_format: str = found.SESSION_DIR_TIMESTAMP_FORMAT
        self.max_session_dirs: int = found.SESSION_DIR_MAX_SESSION_DIRS
        self.max_age_days: int = found.SESSION_DIR_MAX_AGE_DAYS
        make_directory(self.base_directory)

    def create(self) -> Session:
        """Makes the directory of a new session, which runs until its `end`. Raises as the constructor."""
        ahead = 0.0
        while True:
            now = time.time() + ahead
            ahead += 1e-6  # another name the next time, also if the clock stands still
            path = self.base_directory / self._name(now)
            try:
                os.mkdir(path)
                session = None if _was_archived(path) else hold(path, now)
                if session is not None:
                    log.debug("made %s", escape(os.fsencode(path)))
                    return session
                os.rmdir(path)
            except FileExistsError:
                continue
            except FileNotFoundError:
                make_directory(self.base_directory)
            except OSError as error:
                raise _failed(path, error) from error

    def prune_candidates(self) -> list[Path]:
        """The sessions `prune` would remove now, the oldest first; nothing is changed. Raises `OperationFailed`."""
        return [found.path for found in candidates(self._rules())]

    def prune(
        self,
        on_before_prune: Callable[[list[Path]], object] | None = None,
        *,
        prune_despite_hook_failure: bool = False,
    ) -> list[Path]:
        """Removes what is beyond the newest `max_session_dirs` or older than `max_age_days`, and gives their paths.

        on_before_prune             told about them before; what it moves or archives is its own
        prune_despite_hook_failure  remove them also if it raised

        Only real directories directly below the base go that have the prefix and this package's marker, belong to this
        user and are in use by no process. One that cannot be removed is logged (`runark.workdir`), and the rest go on.
        """
        return prune(self._rules(), on_before_prune, prune_despite_hook_failure)

    def _rules(self) -> Rules:
        return Rules(self.base_directory, self.prefix, self.max_session_dirs, self.max_age_days)

    def _name(self, now: float) -> str:
        seconds, fraction = divmod(now, 1)
        stamp = time.strftime(self.timestamp_format, time.localtime(seconds))
        return f"{self.prefix}{stamp}_{int(fraction * 1_000_000):06d}"


def make_directory(path: Path) -> None:
    """Makes a directory and those above it. Raises `NotADirectory`, `OperationFailed`."""
    try:
        existed = path.is_dir()
        os.makedirs(path, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        shown = escape(os.fsencode(path))
        raise NotADirectory(f"{shown}: it, or something above it, is a file; name a directory") from error
    except OSError as error:
        raise _failed(path, error) from error
    if not existed:
        log.log(VERBOSE, "made %s", escape(os.fsencode(path)))


def _failed(path: Path, error: OSError) -> OperationFailed:
    return OperationFailed(f"{escape(os.fsencode(path))}: cannot make the directory: {error.strerror}")


def _was_archived(path: Path) -> bool:
    suffixes: Sequence[str] = FORMATS
    return any(os.path.lexists(f"{os.fspath(path)}.{suffix}") for suffix in suffixes)
