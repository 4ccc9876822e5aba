"""Bringing a session back: into a staging directory beside the target, proven, then renamed into place.

In order: the staging directory (mode 0700, locked); files, directories, FIFOs and hard links as they come, relative to
handles and never over or through anything; symlinks; owners, attributes, modes and times of directories, deepest first;
the seal; with `remove_archive` everything to stable storage; the rename to the target; with `remove_archive` the
parent's names to stable storage and the archive away.

Guarantees: nothing outside the staging directory is touched before all is proven; nothing is ever replaced; whatever
goes wrong the staging directory is taken away again; an archive that holds more than what was restored (owners, special
bits) is never removed.
"""

from __future__ import annotations

import errno
import os
import time

from runark.engine.protocol import Fault, Outcome, RestoreJob, RestoreOptions
from runark.engine.pure import codec, settle, sys
from runark.engine.pure.ends import Cancelled, Changed, Control, Damaged, Failure, Skipped, failure
from runark.engine.pure.extract import Extractor
from runark.engine.pure.place import Place, split_path
from runark.engine.pure.publish import Inode, inode_of, take_away
from runark.engine.pure.staging import Staging, reap
from runark.engine.pure.verify import Archive
from runark.engine.pure.walk import key_of
from runark.errors import FormatUnavailable

__all__ = ["restore"]


def _how_to_settle(place: Place, options: RestoreOptions) -> str:
    """How the restored tree will reach stable storage: "" (not asked for), "volatile", "syncfs" or "fsync"."""
    if not options.remove_archive:
        return ""
    if place.storage == "local" and sys.kernel() >= settle.HONEST_SYNCFS:
        return "syncfs"
    return "volatile" if place.volatile else "fsync"


def _settle(staging: Staging, how: str) -> str:
    """Finish what `_how_to_settle` said; with "fsync" everything was synced when it was made. Raises `Failure`."""
    if how == "syncfs":
        try:
            if not sys.syncfs(staging.fd):
                raise Failure(Fault("sync", staging.path, 0, "the system has no syncfs; restore without removing"))
        except OSError as cause:
            raise failure("sync", staging.path, cause) from cause
    return how


def _refuse_without_room(place: Place, archive: Archive) -> None:
    """A sealed archive says how much it needs (holes need nothing): refuse before anything is written."""
    claim = archive.claim
    if claim is None:
        return
    try:
        status = os.fstatvfs(place.fd)
    except OSError as cause:
        raise failure("statfs", place.path, cause) from cause
    needed, free = min(claim.content, claim.stream), status.f_bavail * status.f_frsize
    if needed > free:
        message = f"{os.strerror(errno.ENOSPC)}; it needs {needed} bytes and {free} are free"
        raise Failure(Fault("write", place.path, errno.ENOSPC, message))


class _Restored:
    """What an outcome says, gathered on the way."""

    def __init__(self) -> None:
        self.entries = 0
        self.content = 0
        self.size = 0
        self.digest = ""
        self.settled = ""
        self.reason = ""
        self.notes: list[str] = []


def _restore(job: RestoreJob, options: RestoreOptions, control: Control, done: _Restored) -> None:
    """Restore one archive. Raises `Skipped`, `Damaged`, `Failure`, `Cancelled`, `FormatUnavailable`."""
    control.check()
    parent, target = split_path(job.dest)
    place = Place(parent)
    try:
        if place.exists(target):
            raise Skipped("the target exists")
        with Archive(job.archive, job.archive) as archive:
            done.size = archive.size
            _refuse_without_room(place, archive)
            reap(place, job.leftovers, target)
            staging = Staging(place, target)
            try:
                how = _how_to_settle(place, options)
                try:
                    less, inner = _extract(job, archive, staging, options, control, done, sync=how == "fsync")
                    done.settled = _settle(staging, how)
                    restored = _put_in_place(staging, inner, target)
                except BaseException:
                    staging.clear()
                    raise
                if less:
                    done.notes.append(f"not restored: {less}")
                if options.remove_archive:
                    _remove_archive(job, archive, place, restored, less, done)
            finally:
                staging.close()  # it was locked until here: nobody took the archive for a proof meanwhile
    finally:
        place.close()


def _extract(
    job: RestoreJob,
    archive: Archive,
    staging: Staging,
    options: RestoreOptions,
    control: Control,
    done: _Restored,
    *,
    sync: bool,
) -> tuple[str, bytes]:
    """Everything into the staging directory.

    Returns what is less than in the archive, and the directory in staging that becomes the target (empty: staging).
    """
    extractor = Extractor(staging, options, control, sealed=archive.claim is not None, sync=sync)
    try:
        for item, reader in archive.read(options.limits, control):
            extractor.member(item, reader)
        done.entries, done.content, done.digest = archive.members, archive.content, archive.digest
        extractor.finish()
    finally:
        extractor.close()
    name = codec.format_of(job.archive.rpartition(b"/")[2])
    if not extractor.sealed and name is not None and extractor.tops == {name[1]} and name[1] in extractor.directories:
        return extractor.less, name[1]
    return extractor.less, b""


def _put_in_place(staging: Staging, inner: bytes, target: bytes) -> Inode:
    """Rename staging, or the directory `inner` in it, to the target.

    Raises `Skipped` if that exists by now, `Failure`.
    """
    place = staging.place
    try:
        if inner:
            restored = inode_of(os.stat(inner, dir_fd=staging.fd, follow_symlinks=False))
            staging.move_inner(inner, target)
        else:
            restored = inode_of(os.fstat(staging.fd))
            sys.rename_noreplace(place.fd, staging.name, place.fd, target)
        return restored
    except FileExistsError:
        raise Skipped("the target exists") from None
    except OSError as cause:
        raise failure("rename", staging.path, cause) from cause


def _in_memory(archive: Archive) -> bool:
    """Whether the archive is not stored any better than a tree in memory. Raises `Failure`."""
    try:
        return sys.storage(archive.fd) == "volatile"
    except OSError as cause:
        raise failure("statfs", archive.path, cause) from cause


def _remove_archive(
    job: RestoreJob, archive: Archive, place: Place, restored: Inode, less: str, done: _Restored
) -> None:
    """Remove the archive, now that the tree is whole, in place and durable.

    It gets another name first, and is only unlinked if the tree is still in place then: another run may be about to
    archive the tree again, taking this very archive for its proof. Raises `Failure`.
    """
    if less:
        done.reason = f"archive kept, it holds more than was restored: {less}"
        return
    if done.settled == "volatile" and not _in_memory(archive):
        done.reason = "archive kept: the session was restored into memory, where it does not last"
        return
    settle.settle_names(place)
    parent, name = split_path(job.archive)
    home = Place(parent)
    try:
        if key_of(os.stat(name, dir_fd=home.fd, follow_symlinks=False)) != key_of(archive.status):
            done.reason = "archive kept: it is not the one that was read any more"
            return
        target = split_path(job.dest)[1]
        aside = take_away(home, name, inode_of(archive.status), "superseded", place, target, restored)
        os.unlink(aside, dir_fd=home.fd)
    except Changed as cause:
        done.reason = f"archive kept: {cause}"
    except Failure as cause:
        if cause.fault.errno != errno.ENAMETOOLONG:
            raise
        done.reason = "archive kept: its name is too long to be moved aside"
    except OSError as cause:
        raise failure("unlink", job.archive, cause) from cause
    finally:
        home.close()


def restore(job: RestoreJob, options: RestoreOptions, control: Control) -> Outcome:
    """Restore one archive. Never raises for what is wrong with it."""
    begun = time.perf_counter()
    done = _Restored()
    action, reason, fault = "restored", "", None
    try:
        _restore(job, options, control, done)
        reason = done.reason
    except Cancelled:
        action = "cancelled"
    except (Skipped, Changed) as cause:
        action, reason = "skipped", str(cause)
    except Damaged as cause:
        action, reason, fault = "damaged", str(cause), Fault("decode", job.archive, 0, str(cause))
    except Failure as cause:
        action, reason, fault = "failed", cause.fault.message, cause.fault
    except FormatUnavailable as cause:
        action, reason, fault = "failed", str(cause), Fault("decode", job.archive, 0, str(cause))
    return Outcome(
        job.archive,
        action,
        reason,
        target=job.dest,
        entries=done.entries,
        bytes_in=done.content,
        bytes_out=done.size,
        sha256=done.digest,
        milliseconds=(time.perf_counter() - begun) * 1000,
        settled=done.settled,
        notes=tuple(done.notes),
        fault=fault,
    )
