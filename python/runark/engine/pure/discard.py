"""Discarding: remove a session that nobody wants to keep, without an archive.

What is removed was chosen by policy and looked at before, so the question here is not whether it is kept elsewhere but
whether it is the one that is meant. In order: open it by handle, never through a symlink, and see that it is the
directory that was looked at; claim it; record every entry; see that nothing changed and that all can be removed; rename
it to `.S.discarding-X`, so that nobody finds half a session under its name; unlink exactly the recorded entries.

Guarantees: no symlink is followed, no other filesystem entered, nothing removed that was not recorded. What stops
before the first unlink gives the session its name back; later, what is left stays under its hidden name, from which
another discard goes on. Nothing is synced: after a power cut it may be there again.
"""

from __future__ import annotations

import time

from runark.engine.protocol import DiscardJob, Outcome
from runark.engine.pure.ends import Cancelled, Changed, Control, Failure, Skipped, escape
from runark.engine.pure.names import KIND, leftover
from runark.engine.pure.place import Place, Places, split_path
from runark.engine.pure.remove import Stopped, entomb, recheck, remove, rename_back
from runark.engine.pure.walk import record_session

__all__ = ["discard"]

_WORD = b"discarding"


def discard(job: DiscardJob, control: Control) -> Outcome:
    """Remove one session. Raises nothing: what goes wrong is the outcome's."""
    begun = time.perf_counter()
    outcome = _outcome(job, control)
    return outcome._replace(milliseconds=(time.perf_counter() - begun) * 1000)


def _outcome(job: DiscardJob, control: Control) -> Outcome:
    places = Places(control)
    try:
        control.check()
        parent, name = split_path(job.path)
        place = places.get(parent)
        places.refuse_mounts(place, name)
        entries, freed = _discard(place, name, job, control)
    except Cancelled:
        return Outcome(job.path, "cancelled")
    except Skipped as cause:
        return Outcome(job.path, "skipped", str(cause))
    except Changed as cause:
        return Outcome(job.path, "changed", str(cause))
    except Failure as cause:
        return Outcome(job.path, "failed", cause.fault.message, fault=cause.fault)
    except _Left as left:
        fault = left.cause.fault if isinstance(left.cause, Failure) else None
        action, reason = ("changed", str(left.cause)) if fault is None else ("failed", fault.message)
        return Outcome(job.path, action, reason, target=left.target, notes=(left.note,), fault=fault)
    finally:
        places.close()
    control.entries += entries
    return Outcome(job.path, "discarded", entries=entries, inodes_freed=freed)


class _Left(Exception):
    """Something of the session is left at `target`."""

    def __init__(self, cause: Changed | Failure, target: bytes, note: str) -> None:
        super().__init__(note)
        self.cause, self.target, self.note = cause, target, note


def _discard(place: Place, name: bytes, job: DiscardJob, control: Control) -> tuple[int, int]:
    """The number of entries removed, and of inodes. Raises `Skipped`, `Changed`, `Failure`, `_Left`."""
    path = job.path
    entries, handles = record_session(place.fd, name, path, None, control, examine=True, claim=True, odd=True)
    try:
        key = entries[0].key
        assert key is not None
        if key[:2] != (job.device, job.inode):
            raise Changed("it is another directory than the one that was looked at")
        recheck(place, name, entries, handles, control)
        said = leftover(name, directory=True)
        begun = said is not None and said[0] == KIND["discard"]
        hidden = name if begun else entomb(place, entries[0], _WORD)
        try:
            freed = remove(place, hidden, entries, handles, control, heed_writers=False)
        except Stopped as stop:
            if begun or stop.removed:
                note = f"{stop.removed} entries are gone; what is left is in {escape(hidden)}, to be discarded again"
                raise _Left(stop.cause, place.join(hidden), note) from stop
            rename_back(place, hidden, name)
            raise stop.cause from stop
        return len(entries), freed
    finally:
        handles.close()
