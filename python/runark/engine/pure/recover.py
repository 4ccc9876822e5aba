"""Recovery: what an earlier run left of a session, recognised by names alone (`docs/durability.md`).

S1: a part file nobody holds a lock on is dropped. S2: an archive beside the session is compared with it. S3: what is
left of a session under its tombstone is compared with its archive, and removed with the batch, or gets its name back.

Guarantee: nothing is concluded from a name or a seal; whatever is removed later was found in a sound archive, byte by
byte.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator

from runark.engine.protocol import FORMATS, ArchiveOptions, Fault
from runark.engine.pure import compare, part, publish, remove, settle, sys
from runark.engine.pure.ends import Control, Damaged, Failure, Skipped, escape, failure
from runark.engine.pure.place import Place, is_ours
from runark.engine.pure.walk import heed_mark
from runark.engine.pure.work import Proven, Work

__all__ = ["Recovery"]

_UNLOCKABLE_NS = 3600 * 10**9  # where locks do not exist, a part file untouched for an hour is a leftover
_part_mark = b".part"
_tomb_mark = b".removing-"


class Recovery:
    """Looks at what stands beside a session before it is packed."""

    def __init__(self, options: ArchiveOptions, control: Control) -> None:
        self._options = options
        self._control = control
        formats = [options.format, *(name for name in FORMATS if name != options.format)]
        self._suffixes = [b"." + name.encode("ascii") for name in formats]

    def drop_parts(self, work: Work) -> None:
        """Remove part files of dead runs. Raises `Skipped` if one is being written."""
        place = work.place
        for name in work.job.leftovers:
            marks = (b"." + work.name + b"." + fmt.encode("ascii") + b"." for fmt in FORMATS)
            if not any(is_ours(name, mark, _part_mark) for mark in marks):
                continue
            path = place.join(name)
            self._control.asks(6)
            if not place.exists(work.name):
                reason = "a part file whose session is gone; look at it, then remove it by hand"
                raise Failure(Fault("recover", path, 0, reason))
            try:
                fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place.fd)
            except FileNotFoundError:
                continue
            except OSError as cause:
                raise failure("open", path, cause) from cause
            try:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode):
                    raise Failure(
                        Fault("open", path, 0, "a part file's name on something else; look at it and remove it")
                    )
                held = sys.lock(fd)
                if held == "held":
                    raise Skipped("another process is archiving it")
                if held == "none" and time.time_ns() - status.st_mtime_ns < _UNLOCKABLE_NS:
                    raise Skipped(
                        "a part file is less than an hour old, and this filesystem cannot tell whether it is in use"
                    )
                # it may have been published between the listing and the lock: only the name goes, and only if it is
                # still this file
                same = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
                if (same.st_dev, same.st_ino) == (status.st_dev, status.st_ino):
                    part.drop(place, name)
                    work.notes.append(f"dropped the part file {escape(name)} of an earlier run")
            except FileNotFoundError:
                continue
            except OSError as cause:
                raise failure("stat", path, cause) from cause
            finally:
                os.close(fd)

    def _archives(self, work: Work) -> Iterator[tuple[bytes, os.stat_result]]:
        """The archives that stand beside the session, this run's format first. Raises `Skipped`, `Failure`."""
        place = work.place
        for suffix in self._suffixes:
            archive = work.name + suffix
            self._control.asks(1)
            try:
                status = os.stat(archive, dir_fd=place.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as cause:
                raise place.unseen(archive, cause) from cause
            yield archive, status

    def existing(self, work: Work) -> Proven | None:
        """S2: an archive that equals the source, None if there is none. Raises what `compare` does.

        Archives that do not are moved aside when the new one is about to be published, not before.
        """
        for archive, status in self._archives(work):
            word, reason = "superseded", ""
            try:
                equal = self._compare(work, archive, work.name, partial=False)
            except compare.Differs as cause:
                reason = str(cause)
            except Damaged as cause:
                word, reason = "damaged", str(cause)
            else:
                return equal
            work.displaced.append((archive, publish.inode_of(status), word))
            work.notes.append(f"{escape(archive)} is {word}: {reason}")
        return None

    def _compare(self, work: Work, archive: bytes, directory: bytes, *, partial: bool) -> Proven:
        found = compare.compare(
            work.place,
            archive,
            directory,
            work.name,
            partial=partial,
            young=None if partial else self._options.older_than_ns,
            control=self._control,
            claim=True,
        )
        work.handles = found.handles
        if not partial:
            heed_mark(found.entries)
        work.archive = archive
        work.inode = found.inode
        work.entries = found.entries
        return Proven(found.members, found.content, found.sha256, found.size)

    def finish_tombstone(self, work: Work) -> bool:
        """S3: whether what is left of a session, proven to be in its archive, is to be removed with the batch.

        Without such an archive it gets its name back, and the session ends here (`Failure`).
        """
        mark = b"." + work.name + _tomb_mark
        place = work.place
        for tombstone in work.job.leftovers:
            self._control.asks(5)
            if not is_ours(tombstone, mark) or not place.exists(tombstone):
                continue
            if _locked(place, tombstone):
                raise Skipped("another process is removing it")
            reason = "no archive is there"
            for archive, _ in self._archives(work):
                try:
                    work.members = self._compare(work, archive, tombstone, partial=True)
                except (compare.Differs, Damaged) as cause:
                    reason = f"{escape(archive)}: {cause}"
                    continue
                except Skipped as cause:
                    if _locked(place, tombstone):
                        raise
                    reason = f"{escape(archive)}: {cause}"  # it holds what no archive can
                    continue
                work.tombstone = tombstone
                work.settled = settle.settle_existing(place, archive)
                work.notes.append(f"finishing the removal that {escape(tombstone)} is left of")
                return True
            path = place.join(tombstone)
            if place.exists(work.name):
                reason += f"; {escape(work.name)} exists as well, so it stays under this name: look at both"
                raise Failure(Fault("recover", path, errno.EEXIST, reason))
            remove.rename_back(place, tombstone, work.name)
            reason = f"a removal had begun, but what is left is not all in an archive ({reason}); run again"
            work.notes.append(f"{escape(work.name)} has its name back")
            raise Failure(Fault("recover", work.job.path, 0, reason))
        return False


def _locked(place: Place, name: bytes) -> bool:
    """Whether another process works on a tombstone or staging directory. Raises `Failure`."""
    try:
        fd = os.open(name, sys.DIRECTORY, dir_fd=place.fd)
    except OSError as cause:
        raise failure("open", place.join(name), cause) from cause
    try:
        return sys.lock(fd) == "held"
    finally:
        os.close(fd)
