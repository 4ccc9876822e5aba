"""What is read of a file, and its sum.

In memory (tmpfs, ramfs) a store through a mapping changes no time, so that no record tells of one that came and went.
There what was read is summed up (CRC-32), and summed up again before it is removed.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable

from runark.engine.pure.tar import sparse

__all__ = ["content_sum", "regions_of"]

_PIECE = 1 << 20


def regions_of(fd: int, status: os.stat_result) -> list[sparse.Region] | None:
    """Where a file with holes has data; None if it is read as a whole. Leaves the position at its beginning."""
    if status.st_blocks * 512 >= status.st_size:
        return None
    regions = sparse.data_regions(fd, status.st_size)
    os.lseek(fd, 0, os.SEEK_SET)
    return regions


def content_sum(fd: int, status: os.stat_result, pay: Callable[[int], None] | None = None) -> int:
    """The sum of what is read of the file; `pay` is told of what is about to be read. Raises `OSError`."""
    found = 0
    for offset, length in regions_of(fd, status) or [(0, status.st_size)]:
        at, end = offset, offset + length
        while at < end:
            step = min(_PIECE, end - at)
            if pay is not None:
                pay(step)
            data = os.pread(fd, step, at)
            if not data:
                break  # it shrank: another sum
            found = zlib.crc32(data, found)
            at += len(data)
    return found
