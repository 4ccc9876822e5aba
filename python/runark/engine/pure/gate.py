"""The gate: a batch of sessions from "session" to "archive, source removed", step by step (`docs/durability.md`).

Order within a batch: pack all, settle all; verify and publish one after the other; make the names durable; recheck and
remove one after the other. In memory each session goes through all steps by itself. A session that fails a step leaves
the batch there, with its source whole; the others go on.

Before step 1 stands recovery: part files of dead runs are dropped, an archive that is there already is compared with
the source, and a tombstone is finished or renamed back. What is found equal joins the batch at step 5.

Guarantee, at every instant: the source is whole, or a published archive holds exactly it, was decoded and compared, and
is durable.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator

from runark.engine.protocol import ArchiveJob, ArchiveOptions, Fault, Outcome
from runark.engine.pure import compare, pack, part, publish, remove, settle, verify
from runark.engine.pure.ends import Cancelled, Changed, Control, Damaged, Failure, Skipped, escape
from runark.engine.pure.place import Places, split_path
from runark.engine.pure.recover import Recovery
from runark.engine.pure.work import Proven, Work
from runark.errors import FormatUnavailable

__all__ = ["Gate"]

_MOST_CONTENT = 64 << 20
_PATIENCE = 40  # pauses for room that other workers may be about to free, in all, before sessions fail for want of it
_PAUSE = 0.05  # seconds
_LONGEST = 5.0  # seconds that a batch is gathered


class Gate:
    """Takes sessions through the gate. One per worker."""

    def __init__(self, options: ArchiveOptions, level: int, control: Control, most: int = 256) -> None:
        self._options = options
        self._level = level
        self._control = control
        self._most = most
        self._recovery = Recovery(options, control)
        self._patience = _PATIENCE
        self._suffix = b"." + options.format.encode("ascii")

    def run(self, waiting: deque[ArchiveJob]) -> Iterator[Outcome]:
        """One outcome for each job that is taken from `waiting`, in the order in which they end.

        Held, it takes no more and ends when what was taken has.
        """
        while waiting and not self._control.held:
            places = Places(self._control)
            try:
                yield from self._batch(waiting, places)
            finally:
                places.close()

    def _batch(self, waiting: deque[ArchiveJob], places: Places) -> Iterator[Outcome]:
        """Take jobs from `waiting` and bring them to their end."""
        control = self._control
        batch: list[Work] = []
        content = count = 0
        end = time.monotonic() + _LONGEST
        while (
            waiting
            and count < self._most
            and content < _MOST_CONTENT
            and not control.held
            and (not batch or time.monotonic() < end)
        ):
            work = Work(waiting[0])
            try:
                outcome = self._begin(work, places)
            except part.NoRoom as cause:
                if batch:  # finishing these frees what this one needs
                    break
                if self._patience and not control.stopped:
                    self._patience -= 1
                    time.sleep(_PAUSE)
                    continue
                outcome = work.outcome("failed", cause.fault.message, cause.fault)
            waiting.popleft()
            count += 1
            if outcome is not None:
                work.close()
                yield outcome
                continue
            self._patience = _PATIENCE
            if work.place.volatile:
                # no sync to share with others, and what it needs is still open
                outcome = self._finish_alone(work)
                work.close()
                yield outcome
            else:
                work.pause()
                batch.append(work)
                content += work.packed.claim.content if work.packed else 0
        yield from self._finish(batch)

    # ------------------------------------------------------------------------------------- before the batch

    def _begin(self, work: Work, places: Places) -> Outcome | None:
        """Recovery and packing of one session: its outcome if it ends here, None if it goes on with the batch.

        Raises `NoRoom`.
        """
        parent, work.name = split_path(work.job.path)
        try:
            self._control.check()
            work.place = places.get(parent)
            if work.job.leftovers:
                if self._recovery.finish_tombstone(work):
                    return None
                self._recovery.drop_parts(work)
            places.refuse_mounts(work.place, work.name)
            found = None
            if work.job.leftovers or not work.job.unarchived:
                found = self._recovery.existing(work)
            if found is not None:
                work.members = found
                if self._options.keep_source:
                    return work.outcome("kept", "its archive is there already and equal")
                work.settled = settle.settle_existing(work.place, work.archive)
                return None
            work.archive = work.name + self._suffix
            alone = work.place.volatile
            work.packed = packed = pack.pack(
                work.place, work.name, self._options, self._level, self._control, keep_open=alone
            )
            work.entries = packed.entries
            work.handles = packed.handles
            claim = packed.claim
            work.members = Proven(claim.entries, claim.content, claim.sha256, packed.written.st_size)
            return None
        except part.NoRoom:
            raise
        except (Skipped, Changed, Failure, Cancelled, FormatUnavailable) as cause:
            return work.ended(cause)

    # -------------------------------------------------------------------------------------------- the batch

    def _finish_alone(self, work: Work) -> Outcome:
        """Steps 2 to 6 where nothing is to be synced, of one session."""
        outcome = None
        if work.packed is not None:
            outcome = self._verify_and_publish(work, "volatile")
        return outcome or self._recheck_and_bury(work) or self._remove(work)

    def _finish(self, batch: list[Work]) -> Iterator[Outcome]:
        """Steps 2 to 6."""
        ready: list[Work] = []
        fresh = [work for work in batch if work.packed is not None]
        ready.extend(work for work in batch if work.packed is None)
        for group in _by_device(fresh):
            settled: str | Failure = ""
            if not self._control.stopped:
                try:
                    settled = settle.settle([_written(work) for work in group], self._options.sync)
                except Failure as cause:
                    settled = cause
            if settled != "volatile":
                self._control.asks(len(group) if settled == "fsync" else 1)
            for work in group:
                work.resume()
                outcome = self._verify_and_publish(work, settled)
                if outcome is not None:
                    work.close()
                    yield outcome
                else:
                    work.pause()
                    ready.append(work)
        unnamed = _settle_names([work for work in ready if work.packed is not None])
        buried: list[Work] = []
        for work in ready:
            work.resume()
            problem = unnamed.get(work.place.path) if work.packed is not None else None
            outcome = None
            if problem is not None:
                outcome = work.outcome("failed", problem.fault.message, problem.fault, kept=True)
            else:
                outcome = self._recheck_and_bury(work)
                if outcome is None:
                    if not settle.in_order(work.place, self._options.sync):
                        assert work.handles is not None
                        work.handles.close_below()
                        work.pause()
                        buried.append(work)
                        continue
                    outcome = self._remove(work)
            work.close()  # before anybody hears of it: the next run may want the lock
            yield outcome
        # Where names become durable in any order, those of the tombstones must be before anything in them goes: what is
        # left of a session under its own name would be taken for one that differs from its archive.
        unnamed = _settle_names(buried)
        for work in buried:
            work.resume()
            problem = unnamed.get(work.place.path)
            outcome = self._halted(work, remove.Stopped(problem, 0)) if problem is not None else self._remove(work)
            work.close()
            yield outcome

    def _verify_and_publish(self, work: Work, settled: str | Failure) -> Outcome | None:
        """Steps 3 and 4 for one session: its outcome if it ends here (its part file is gone then)."""
        packed, place = work.packed, work.place
        assert packed is not None
        self._control.asks(3 + 5 * len(work.displaced))  # open, examine, rename
        try:
            try:
                if isinstance(settled, Failure):
                    raise settled
                self._control.check()
                work.settled = settled
                part_path = place.join(packed.part)
                work.inode = publish.inode_of(packed.written)
                verify.proven(
                    place.fd,
                    packed.part,
                    part_path,
                    packed.written,
                    packed.claim,
                    packed.data,
                    self._options.format,
                    self._control,
                )
                packed.data = None
                if self._options.verify == "compare":
                    compare.compare(
                        place,
                        packed.part,
                        work.name,
                        work.name,
                        partial=False,
                        young=None,
                        control=self._control,
                        claim=False,
                        named=self._options.format,
                    )
                for archive, inode, word in work.displaced:
                    aside = publish.take_away(place, archive, inode, word, place, work.name, work.session_inode())
                    work.notes.append(f"moved {escape(archive)} aside to {escape(aside)}")
                publish.publish(place, packed.part, work.archive)
            except BaseException:
                part.drop(place, packed.part)
                raise
            finally:
                os.close(packed.fd)  # and with it the lock
        except (Changed, Failure, Cancelled, Skipped) as cause:
            return work.ended(cause)
        except Damaged as cause:
            fault = Fault(
                "verify", place.join(packed.part), 0, f"{cause}; the source was not touched, check the storage"
            )
            return work.outcome("failed", str(cause), fault)
        except compare.Differs as cause:
            return work.outcome("changed", str(cause))
        return None

    def _recheck_and_bury(self, work: Work) -> Outcome | None:
        """Step 5 for one session whose archive is published, proven and durable: None if it is a tombstone now."""
        if self._control.stopped and not work.tombstone:
            return work.outcome("kept", "cancelled after its archive was published", kept=True)
        if self._options.keep_source and not work.tombstone:
            return work.outcome("kept", kept=True)
        place = work.place
        self._control.asks(3)  # to a tombstone, and the look at the archive
        try:
            assert work.handles is not None
            for archive, inode, word in work.displaced if work.packed is None else ():
                # beside one that is equal: left in its place, the next restore would take it for the session
                publish.take_away(place, archive, inode, word, place, work.name, work.session_inode())
            remove.recheck(place, work.tombstone or work.name, work.entries, work.handles, self._control)
            work.tombstone = work.tombstone or remove.entomb(place, work.entries[0])
        except Changed as cause:
            if work.tombstone:
                return self._halted(work, remove.Stopped(cause, 0))
            return self._changed(work, str(cause), withdraw=True)
        except Failure as cause:
            return work.outcome("failed", cause.fault.message, cause.fault, kept=True)
        try:
            self._see_archive(work)
        except remove.Stopped as stop:
            return self._halted(work, stop)
        return None

    def _remove(self, work: Work) -> Outcome:
        """Step 6 for a tombstone."""
        assert work.handles is not None
        try:
            freed = remove.remove(work.place, work.tombstone, work.entries, work.handles, self._control)
        except remove.Stopped as stop:
            return self._halted(work, stop)
        made = 1 if work.packed is not None else 0  # the archive takes an inode itself
        return work.outcome("archived", freed=freed - made, kept=True)

    def _halted(self, work: Work, stop: remove.Stopped) -> Outcome:
        """A removal that stopped.

        What is left gets its name back, unless an error (and no change) left it half removed.
        """
        cause, tombstone = stop.cause, work.tombstone
        if isinstance(cause, Failure) and stop.removed:
            work.notes.append(
                f"{stop.removed} entries are removed, the rest is in {escape(tombstone)}; the archive holds all"
            )
            return work.outcome("failed", cause.fault.message, cause.fault, kept=True)
        try:
            remove.rename_back(work.place, tombstone, work.name)
        except Failure as second:
            work.notes.append(str(cause))
            return work.outcome("failed", second.fault.message, second.fault, kept=True)
        if isinstance(cause, Failure):
            return work.outcome("failed", cause.fault.message, cause.fault, kept=True)
        if stop.removed:
            work.notes.append(f"{stop.removed} entries were removed before; only the archive holds them")
        return self._changed(work, str(cause), withdraw=not stop.removed)

    def _see_archive(self, work: Work) -> None:
        """Before the first entry goes, see that the archive it rests on is at its place. Raises `remove.Stopped`."""
        assert work.inode is not None
        try:
            if not publish.stands(work.place, work.archive, work.inode):
                raise Changed(f"{escape(work.archive)} is not there any more (another run?)")
        except (Changed, Failure) as cause:
            raise remove.Stopped(cause, 0) from cause

    def _changed(self, work: Work, reason: str, *, withdraw: bool) -> Outcome:
        """The outcome of a source that changed after its archive was published.

        With `withdraw` nothing of the source was removed: an archive of this run is taken back.
        """
        if withdraw and work.packed is not None:
            assert work.inode is not None
            place = work.place
            try:
                aside = publish.take_away(
                    place, work.archive, work.inode, "superseded", place, work.name, work.session_inode()
                )
                part.drop(place, aside)
            except Changed as cause:
                work.notes.append(str(cause))
            except Failure as cause:
                work.notes.append(reason)
                return work.outcome("failed", cause.fault.message, cause.fault, kept=True)
        return work.outcome("changed", reason)


def _settle_names(works: list[Work]) -> dict[bytes, Failure]:
    """Make the names in the works' directories durable; the directories where that failed."""
    problems: dict[bytes, Failure] = {}
    for place in {work.place.path: work.place for work in works}.values():
        try:
            settle.settle_names(place)
        except Failure as cause:
            problems[place.path] = cause
    return problems


def _written(work: Work) -> settle.Written:
    assert work.packed is not None
    return settle.Written(work.place, work.packed.part, work.packed.fd)


def _by_device(works: list[Work]) -> list[list[Work]]:
    """The works grouped by filesystem."""
    groups: dict[int, list[Work]] = {}
    for work in works:
        key = work.entries[0].key
        assert key is not None
        groups.setdefault(key[0], []).append(work)
    return list(groups.values())
