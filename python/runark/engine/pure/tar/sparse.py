"""Sparse files in GNU format 1.0: the map of regions in front of the data.

The map is text: the number of regions, then offset and length of each, one number a line, padded with zeros to a block.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

from runark.engine.pure.ends import Damaged
from runark.engine.pure.tar.header import BLOCK, pad

__all__ = ["MAX_REGIONS", "Region", "build_map", "data_regions", "parse_map"]

Region = tuple[int, int]  # offset, length

MAX_REGIONS = 1_000_000
"""A file with more regions is packed as a plain file; a map with more is refused."""

_number = re.compile(rb"0|[1-9][0-9]{0,18}").fullmatch


def data_regions(fd: int, size: int) -> list[Region] | None:
    """Where the file has data, cut at `size`; None if it has no hole (or the filesystem cannot tell).

    A file that ends in a hole gets a last region of no length at its end, so that every reader restores the size.
    """
    regions: list[Region] = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as cause:
            if cause.errno == errno.ENXIO:  # no data behind position
                break
            if cause.errno in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
                return None
            raise
        if start >= size:
            break
        stop = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if stop <= start:  # the file shrank; the caller's second fstat will tell
            break
        regions.append((start, stop - start))
        position = stop
        if len(regions) > MAX_REGIONS:
            return None
    if regions == [(0, size)]:
        return None
    if not regions or sum(regions[-1]) < size:
        regions.append((size, 0))
    return regions


def build_map(regions: list[Region]) -> bytes:
    """The padded map."""
    text = b"%d\n" % len(regions) + b"".join([b"%d\n%d\n" % region for region in regions])
    return text + pad(len(text))


def parse_map(take: Callable[[int], bytes], stored: int, real: int, member: bytes) -> tuple[list[Region], int]:
    """Read the map from the data of a member: `take(n)` gives its next n bytes, `stored` is the member's size.

    Returns the regions and the number of bytes of the data that follow the map. Raises `Damaged` for a map that is
    malformed, not in order, beyond the real size, or not as long as the data.
    """
    text = b""
    used = 0

    def line() -> int:
        nonlocal text, used
        while True:
            number, newline, rest = text.partition(b"\n")
            if newline:
                text = rest
                if _number(number) is None:
                    raise Damaged("its sparse map holds something that is not a number", member)
                return int(number)
            if len(text) > 20 or used + BLOCK > stored:
                raise Damaged("its sparse map is cut off", member)
            text += take(BLOCK)
            used += BLOCK

    count = line()
    if count > MAX_REGIONS + 1 or count * 4 > stored:  # one more marks a hole at the end
        raise Damaged(f"its sparse map has {count} regions, more than can be", member)
    regions: list[Region] = []
    position = total = 0
    for _ in range(count):
        offset, length = line(), line()
        if offset < position or offset + length > real:
            raise Damaged("its sparse map has regions out of order or beyond the file's end", member)
        regions.append((offset, length))
        position = offset + length
        total += length
    if text.strip(b"\0"):
        raise Damaged("its sparse map is not padded with zeros", member)
    if used + total != stored:
        raise Damaged("its sparse map does not agree with its size", member)
    return regions, total
