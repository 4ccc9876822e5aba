"""Bringing archives to stable storage: step 2 of the gate.

Local filesystems: one `syncfs` for a batch of more than eight, else `fdatasync` each. Others (network, FUSE, unknown):
`fsync` each, several at a time, because each is a round trip. In memory (tmpfs, ramfs): nothing, and the outcome says
so.

After a failed sync nothing written before it can be trusted, whatever a second sync says: the caller drops every part
file of the batch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from runark.engine.pure import sys
from runark.engine.pure.ends import failure
from runark.engine.pure.place import Place

__all__ = ["HONEST_SYNCFS", "Written", "in_order", "settle", "settle_existing", "settle_names"]

_MANY = 8  # from here on one syncfs is cheaper than a sync of each
_AT_ONCE = 8
HONEST_SYNCFS = (5, 8)  # first kernel whose syncfs reports failed writes


class Written(NamedTuple):
    """A part file that was written: where it is, and the handle it was written through."""

    place: Place
    name: bytes
    fd: int


def settle(files: Sequence[Written], how: str) -> str:
    """Bring the files, all on one filesystem, to stable storage. `how` is `ArchiveOptions.sync`.

    The places' handles must have been opened before the first write: from then on the kernel remembers failed writes
    for them. Returns "syncfs", "fsync" or "volatile". Raises `Failure`.
    """
    place = files[0].place
    storage = place.storage
    if storage == "volatile":
        return "volatile"
    honest = sys.kernel() >= HONEST_SYNCFS
    if honest and (how == "syncfs" or (how == "auto" and storage == "local" and len(files) > _MANY)):
        try:
            if sys.syncfs(place.fd):
                return "syncfs"
        except OSError as cause:
            raise failure("sync", place.path, cause) from cause
    sync = sys.datasync if storage == "local" and how == "auto" else sys.fullsync

    def one(file: Written) -> None:
        try:
            sync(file.fd)
        except OSError as cause:
            raise failure("sync", file.place.join(file.name), cause) from cause

    if storage == "local" or len(files) == 1:
        for file in files:
            one(file)
    else:
        from concurrent.futures import ThreadPoolExecutor  # every worker would wait for it at its start

        with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(files))) as pool:
            for _ in pool.map(one, files):  # map raises the first failure
                pass
    return "fsync"


def in_order(place: Place, how: str) -> bool:
    """Whether names become durable in the order in which they were changed: journals do that, servers promise nothing.

    Raises `Failure`.
    """
    return place.volatile or (place.storage == "local" and how != "fsync")


def settle_names(place: Place) -> None:
    """Make the names in a directory durable. Raises `Failure`."""
    if place.volatile:
        return
    try:
        sys.fullsync(place.fd)
    except OSError as cause:
        raise failure("sync", place.path, cause) from cause


def settle_existing(place: Place, name: bytes) -> str:
    """The same for an archive an earlier run left: whether that one came to its sync cannot be seen.

    Raises `Failure`.
    """
    if place.volatile:
        return "volatile"
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
        try:
            sys.fullsync(fd)
        finally:
            os.close(fd)
    except OSError as cause:
        raise failure("sync", place.join(name), cause) from cause
    settle_names(place)
    return "fsync"
