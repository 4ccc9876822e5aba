"""The filesystems that sessions lie on: what they have and what is used, as statvfs tells. Quotas of users, groups and
projects are not asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from runark.names import json_path

__all__ = ["Disk", "disks_of"]


class Disk(NamedTuple):
    """One filesystem. Sizes in bytes. `inodes` is 0 where the filesystem has no fixed number of them."""

    path: bytes
    """The first root on it."""
    size: int
    used: int
    free: int
    """What a user who is not root may still take."""
    inodes: int
    inodes_used: int
    inodes_free: int

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "path": json_path(self.path)}


def disks_of(roots: Sequence[bytes]) -> tuple[Disk, ...]:
    """Each filesystem once. One that does not answer is left out."""
    found: dict[int, Disk] = {}
    for root in roots:
        try:
            device, told = os.stat(root).st_dev, os.statvfs(root)
        except OSError:  # the scan has a fault for a root that is gone
            continue
        found.setdefault(
            device,
            Disk(
                path=root,
                size=told.f_blocks * told.f_frsize,
                used=(told.f_blocks - told.f_bfree) * told.f_frsize,
                free=told.f_bavail * told.f_frsize,
                inodes=told.f_files,
                inodes_used=told.f_files - told.f_ffree,
                inodes_free=told.f_favail,
            ),
        )
    return tuple(found.values())
