"""From RUNNING/ to FINISHED*/: a rename, which takes no time and no inode whatever the size.

Where the two are different filesystems it is a verified copy: the session goes through the archive gate into a file
beside it (docs/durability.md), and out of that to its place, or back if that fails.
Whatever fails, the directory is whole where it was, and nothing is left where it was to go.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from runark.errors import OperationFailed, RunarkError, TargetExists
from runark.session.directory import shown

__all__ = ["archive", "move"]

_BETWEEN = "tar"  # plain: it exists for a moment only


def move(run: Path, target: Path, keep_source: bool = False) -> None:
    """Moves the directory. Raises `TargetExists`, `OperationFailed`; both paths are as they were then.

    keep_source   copy instead: verified, and the source stays
    """
    if run == target:
        return
    if os.path.lexists(target):
        raise TargetExists(f"{shown(target)} exists; the session stays {shown(run)}: move one of them away")
    try:
        os.makedirs(target.parent, exist_ok=True)
        if not keep_source:
            os.rename(run, target)
            return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise OperationFailed(
                f"{shown(run)}: cannot be moved to {shown(target)}: {error.strerror}; it stays where it is"
            ) from error
    _copy(run, target, keep_source)


def _copy(run: Path, target: Path, keep_source: bool) -> None:
    from runark.archive.compat import archive_session_dir, restore_session_archive

    try:
        between = archive_session_dir(run, _BETWEEN, remove_src=not keep_source)
        try:
            restore_session_archive(between, target, remove_archive=True)
        except BaseException:
            if keep_source:
                os.unlink(between)
            else:
                restore_session_archive(between, run, remove_archive=True)
            raise
    except (RunarkError, OSError) as error:
        raise OperationFailed(f"{shown(run)}: cannot be moved to {shown(target)}: {error}") from error


def archive(run: Path, format: str) -> Path:
    """Archives a finished session through the gate. Raises `OperationFailed`; the directory is whole then."""
    from runark.archive.compat import archive_session_dir

    try:
        return archive_session_dir(run, format)
    except (RunarkError, OSError) as error:
        raise OperationFailed(f"{shown(run)} has ended and stays as it is: cannot be archived: {error}") from error
