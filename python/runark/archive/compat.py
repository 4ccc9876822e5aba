"""The functions SciTeX's users know, with the same names, arguments, defaults and summary keys.

What differs is what was dangerous. Archives are proven by reading them again and durable before a source is removed.
A session that changes meanwhile is kept. Age is that of the newest entry, and fractions of days count. A session with
an archive already is not skipped forever but compared with it (docs/durability.md, S2). What is refused stands in
`runark.archive.guard`.
"""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

from runark.archive.archive import archive, check_options
from runark.archive.archives import find_archives
from runark.archive.control import Control, drive
from runark.archive.filters import Filters
from runark.archive.guard import check_root, check_session
from runark.archive.leftovers import archived_name
from runark.archive.plan import plan
from runark.archive.restore import RestorePlan, plan_restore, restore
from runark.archive.root import DIRECTORY
from runark.engine import load
from runark.engine.protocol import ArchiveJob, Outcome, Progress, RestoreJob, RestoreOptions, Task
from runark.errors import (
    ArchiveDamaged,
    InvalidArgument,
    OperationFailed,
    SessionChanged,
    SessionSkipped,
    SourceMissing,
    TargetExists,
    UnsafePath,
)
from runark.names import PathLike, escape, to_bytes

__all__ = ["archive_existing", "archive_session_dir", "restore_existing", "restore_session_archive"]


def archive_session_dir(
    src_dir: PathLike,
    format: str = "tar.gz",
    remove_src: bool = True,
    compresslevel: int | None = 1,
) -> Path:
    """Archive one directory, whatever it is called, into `<src_dir>.<format>` beside it.

    remove_src     remove the directory once the archive is proven and durable
    compresslevel  as for the format; plain `tar` has none and ignores it

    Gives the absolute path of the archive. On any error the directory is whole and in its place, or its archive is
    proven and kept.

    Raises `UnsafePath` (`.`, `x/..`, a symlink, a mount point, the working directory, ...), `SourceMissing`,
    `NotADirectory`, `InvalidArgument`, `SessionChanged`, `SessionSkipped` (it holds what cannot be archived),
    `OperationFailed`.
    """
    path = check_session(src_dir)
    level = None if format == "tar" else compresslevel
    options = check_options(format, level, 1, not remove_src, "hash")
    outcome = _one(load().archive([ArchiveJob(path)], options))
    if outcome.action == ("archived" if remove_src else "kept"):
        return Path(os.fsdecode(outcome.target))
    raise _error(outcome)


def restore_session_archive(
    archive_path: PathLike,
    dest_dir: PathLike | None = None,
    remove_archive: bool = False,
) -> Path:
    """Restore one archive to `dest_dir`; without it, beside the archive under the session's name.

    remove_archive  remove the archive once the directory is back and durable

    Gives the absolute path of the directory. On any error nothing is left of it, and the archive is untouched.

    Raises `SourceMissing`, `TargetExists`, `ArchiveDamaged` (also for what is refused, see docs/restore.md),
    `OperationFailed`.
    """
    path = os.path.abspath(to_bytes(archive_path))
    if not os.path.lexists(path):
        raise SourceMissing(f"{escape(path)} does not exist; check the path")
    if os.path.islink(path) or not os.path.isfile(path):
        raise UnsafePath(f"{escape(path)} is not a plain file; give the archive itself")
    if dest_dir is None:
        session = archived_name(os.path.basename(path))
        if session is None:
            raise InvalidArgument(f"{escape(path)}: by its name this is no archive; say where to with dest_dir")
        dest = os.path.join(os.path.dirname(path), session)
    else:
        dest = os.path.abspath(to_bytes(dest_dir))
    if os.path.lexists(dest):
        raise TargetExists(f"{escape(dest)} exists and is not touched; move it away or give another dest_dir")
    os.makedirs(os.path.dirname(dest), exist_ok=True)
    options = RestoreOptions(jobs=1, remove_archive=remove_archive)
    outcome = _one(load().restore([RestoreJob(path, dest)], options))
    if outcome.action == "restored":
        return Path(os.fsdecode(outcome.target))
    raise _error(outcome)


def archive_existing(
    root: PathLike,
    older_than_days: float | None = None,
    format: str = "tar.gz",
    pattern: str | None = None,
    dry_run: bool = True,
    max_dirs: int | None = None,
    track_bytes: bool = False,
    use_fd: bool = True,
) -> dict[str, int]:
    """Archive the session directories that are direct children of `root`.

    older_than_days  only those in which nothing has changed for so many days; fractions count
    pattern          only those whose name contains this text
    dry_run          change nothing, only count
    max_dirs         at most so many
    track_bytes      fill `bytes_in` and `bytes_out`; a dry run measures the sessions for it
    use_fd           taken for compatibility; enumeration is always the engine's own

    Gives {scanned, candidates, archived, skipped, failed, bytes_in, bytes_out}: children of the root; sessions to
    archive; of these archived, left alone (changed, or cannot be archived) and failed; bytes of files and of archives.

    Raises `SourceMissing`, `NotADirectory`, `UnsafePath`, `InvalidArgument`, `RootLocked`.
    """
    del use_fd
    check_options(format, None, 1, False, "hash")
    filters = Filters(
        fixed=(pattern,) if pattern else (), older_than=older_than_days, min_depth=1, max_depth=1
    )  # fmt: skip
    found = plan(root, filters=filters, measure=track_bytes and dry_run, max_sessions=max_dirs)
    summary = {
        "scanned": _children(found.roots[0]),
        "candidates": len(found.jobs),
        "archived": 0,
        "skipped": 0,
        "failed": 0,
        "bytes_in": 0,
        "bytes_out": 0,
    }
    if dry_run:
        summary["bytes_in"] = found.sum("size") if track_bytes else 0
        return summary
    counts = (result := archive(found, format=format, level=None if format == "tar" else 1)).counts
    summary["archived"] = counts.get("archived", 0)
    summary["skipped"] = counts.get("skipped", 0) + counts.get("changed", 0)
    summary["failed"] = counts.get("failed", 0)
    if track_bytes:
        summary["bytes_in"], summary["bytes_out"] = result.bytes_in, result.bytes_out
    return summary


def restore_existing(
    root: PathLike,
    pattern: str = "*.tar.gz",
    dest_root: PathLike | None = None,
    remove_archive: bool = False,
    dry_run: bool = True,
    max_files: int | None = None,
    track_bytes: bool = False,
) -> dict[str, int]:
    """Restore the archived sessions that are direct children of `root`.

    pattern         glob for the archive's name
    dest_root       where to; without it, beside the archives
    remove_archive  remove each archive once its session is back and durable
    dry_run         change nothing, only count
    max_files       at most so many
    track_bytes     taken for compatibility; restoring counts no bytes

    Gives {scanned, candidates, restored, skipped, failed}: archives found; archives to restore; of these restored;
    left alone because their directory exists; failed.

    Raises `SourceMissing`, `NotADirectory`, `UnsafePath`, `RootLocked`.
    """
    del track_bytes
    directory = check_root(root, changing=True)
    found = find_archives(
        (directory,),
        filters=Filters(min_depth=1, max_depth=1),
        layouts=(),
        config=None,
        jobs=None,
        engine="auto",
        control=Control(),
    )
    archives = [path for path in found.paths if fnmatch.fnmatchcase(os.fsdecode(os.path.basename(path)), pattern)]
    summary = {"scanned": len(archives), "candidates": 0, "restored": 0, "skipped": 0, "failed": 0}
    if not archives:
        return summary
    todo = plan_restore(*archives, to=dest_root)
    jobs = todo.jobs if max_files is None else todo.jobs[:max_files]
    summary.update(candidates=len(jobs), skipped=len(todo.skips))
    if dry_run or not jobs:
        return summary
    result = restore(
        RestorePlan(jobs, (), (directory,), found.faults, todo.engine, todo.workers, todo.stopped),
        remove_archive=remove_archive,
    )
    summary["restored"] = result.counts.get("restored", 0)
    summary["skipped"] += result.counts.get("skipped", 0)
    summary["failed"] = result.counts.get("failed", 0) + result.counts.get("damaged", 0)
    return summary


def _children(root: bytes) -> int:
    return sum(name != DIRECTORY for name in os.listdir(root))


def _one(task: Task) -> Outcome:
    """The outcome of a task of one job."""
    found: list[Outcome] = []
    drive(task, Control(), found.extend, Progress(0, 0, 0, 0))
    return found[0]


def _error(outcome: Outcome) -> Exception:
    """The exception for a session or archive that was asked for by name."""
    fault = outcome.fault
    path = escape(outcome.path)
    why = f"{fault.op} {escape(fault.path)}: {fault.message}" if fault is not None else escape(outcome.reason)
    if outcome.action == "changed":
        return SessionChanged(f"{path} changed while it was archived ({why}); nothing is lost, try again when it rests")
    if outcome.action == "damaged":
        return ArchiveDamaged(f"{path} cannot be restored: {why}; the archive is untouched, nothing was left behind")
    if outcome.action == "skipped" and outcome.target and os.path.lexists(outcome.target) and "exist" in outcome.reason:
        return TargetExists(f"{escape(outcome.target)} exists and is not touched; move it away or name another target")
    if outcome.action == "skipped":
        return SessionSkipped(f"{path} is not archived and untouched: {why}")
    if fault is not None and fault.errno:
        return OperationFailed(fault.errno, f"{path} {outcome.action}: {fault.op} failed: {fault.message}", fault.path)
    return OperationFailed(f"{path} {outcome.action}: {why or 'no reason given'}")
