"""One session on its way through the gate: where it is, what was recorded of it, and how it ends."""

from __future__ import annotations

import time
from typing import NamedTuple

from runark.engine.protocol import ArchiveJob, Fault, Outcome
from runark.engine.pure import pack, publish
from runark.engine.pure.ends import Cancelled, Changed, Failure, Skipped
from runark.engine.pure.place import Place
from runark.engine.pure.walk import Entry, Handles

__all__ = ["Proven", "Work"]


class Proven(NamedTuple):
    """What an outcome says about an archive."""

    members: int
    content: int
    sha256: str
    size: int


class Work:
    """One session on its way."""

    __slots__ = (
        "archive",
        "begun",
        "displaced",
        "entries",
        "handles",
        "inode",
        "job",
        "members",
        "name",
        "notes",
        "packed",
        "place",
        "settled",
        "spent",
        "tombstone",
    )

    def __init__(self, job: ArchiveJob) -> None:
        self.job = job
        self.begun = time.perf_counter()
        self.spent = 0.0
        self.notes: list[str] = []
        # archives that stand in the way: name, inode, and the word for what they are
        self.displaced: list[tuple[bytes, publish.Inode, str]] = []
        self.inode: publish.Inode | None = None  # of the archive that was proven
        self.packed: pack.Packed | None = None
        self.handles: Handles | None = None  # the session directory, locked as long as it is open
        self.entries: list[Entry] = []
        self.members: Proven | None = None
        self.tombstone = b""
        self.archive = b""  # the archive's name
        self.settled = ""
        self.place: Place
        self.name: bytes

    def session_inode(self) -> publish.Inode:
        """The session directory that was packed or compared."""
        key = self.entries[0].key
        assert key is not None
        return publish.Inode(*key[:2])

    def close(self) -> None:
        """Close what was kept open."""
        if self.handles is not None:
            self.handles.close()
            self.handles = None

    def pause(self) -> None:
        self.spent += time.perf_counter() - self.begun

    def resume(self) -> None:
        self.begun = time.perf_counter()

    def ended(self, cause: Exception) -> Outcome:
        """The outcome of a session whose source is whole."""
        if isinstance(cause, Skipped):
            return self.outcome("skipped", str(cause))
        if isinstance(cause, Changed):
            return self.outcome("changed", str(cause))
        if isinstance(cause, Cancelled):
            return self.outcome("cancelled")
        if isinstance(cause, Failure):
            return self.outcome("failed", cause.fault.message, cause.fault)
        return self.outcome("failed", str(cause), Fault("decode", self.job.path, 0, str(cause)))

    def outcome(
        self,
        action: str,
        reason: str = "",
        fault: Fault | None = None,
        *,
        freed: int = 0,
        kept: bool = False,
    ) -> Outcome:
        """The outcome now. `freed`: inodes; `kept`: the archive stands, so the outcome tells about it."""
        spent = (self.spent + time.perf_counter() - self.begun) * 1000
        archive = self.members if kept or action in ("archived", "kept") else None
        if archive is None:
            return Outcome(
                self.job.path,
                action,
                reason,
                inodes_freed=freed,
                milliseconds=spent,
                notes=tuple(self.notes),
                fault=fault,
            )
        return Outcome(
            self.job.path,
            action,
            reason,
            self.place.join(self.archive),
            archive.members,
            freed,
            archive.content,
            archive.size,
            archive.sha256,
            spent,
            self.settled,
            tuple(self.notes),
            fault,
        )
