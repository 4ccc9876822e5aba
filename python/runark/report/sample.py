"""What archives will take, estimated from a sample: sessions drawn at random are read and really compressed, in memory.

1. Draw sessions, each as likely as the length of its tar stream, with repetition (Hansen and Hurwitz): the mean of
   archive size / stream length over the draws is then an unbiased estimate of the same ratio for all of them.
2. Make of each what an archive holds, headers and content, and compress it with zlib at level 1. Of a large file some
   chunks stand for the rest. An archive takes whole blocks of the filesystem.
3. The interval is the middle 95 % of the means of draws from the draws (bootstrap).

It stops at `BYTES` or `SECONDS`, whichever comes first. Only reads; what cannot be read is counted and left out.
"""

from __future__ import annotations

import os
import random
import stat
import tarfile
import time
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from runark.archive.scan import Scan
from runark.report.cube import stream_bytes

__all__ = ["Interval", "Sample", "take_sample"]

DRAWS = 256
BYTES = 32 << 20
SECONDS = 3.0
_RESAMPLES = 400
_CHUNK = 128 << 10
_CHUNKS = 4
"""Of a file larger than so many chunks this number, evenly spread, stands for the whole."""


class Interval(NamedTuple):
    """An estimate, and the bounds of its 95 % interval."""

    low: float
    likely: float
    high: float


class Sample(NamedTuple):
    """What the sample says. Everything per byte of tar stream."""

    ratio: Interval
    """Bytes of archive on disk."""
    seconds: float
    """Of one worker that reads and compresses, and does nothing else."""
    draws: int
    sessions: int
    """Different ones."""
    read: int
    """Bytes."""
    unreadable: int
    """Sessions that were drawn and could not be read."""
    block: int
    """Bytes; an archive takes whole ones."""


class _Packed(NamedTuple):
    archive: float
    seconds: float
    read: int


def take_sample(scan: Scan, rows: Sequence[int], seed: int = 1) -> Sample | None:
    """A sample of these rows of a scan that has measured; None if there are none, or none could be read.

    seed   the same seed draws the same sessions from the same tree
    """
    columns = [scan.column(name) for name in ("inodes", "size", "allocated")]
    streams = [stream_bytes(*(column[row] for column in columns)) for row in rows]
    ends = list(accumulate(streams))
    if not ends or not ends[-1]:
        return None
    rng = random.Random(seed)
    block = _block(scan.path(rows[0]))
    known: dict[int, _Packed | None] = {}
    ratios: list[float] = []
    seconds = 0.0
    read, began = 0, time.perf_counter()
    for _ in range(DRAWS):
        at = bisect_right(ends, rng.randrange(ends[-1]))
        row = rows[at]
        if row not in known:
            known[row] = packed = _pack(scan.path(row))
            read += packed.read if packed else 0
        packed = known[row]
        if packed is not None:
            ratios.append(-(-packed.archive // block) * block / streams[at])
            seconds += packed.seconds / streams[at]
        if read >= BYTES or time.perf_counter() - began >= SECONDS:
            break
    if not ratios:
        return None
    unreadable = sum(packed is None for packed in known.values())
    return Sample(
        _interval(ratios, rng), seconds / len(ratios), len(ratios), len(known) - unreadable, read, unreadable, block
    )


def _interval(values: Sequence[float], rng: random.Random) -> Interval:
    count = len(values)
    means = sorted(sum(rng.choices(values, k=count)) / count for _ in range(_RESAMPLES))
    edge = _RESAMPLES // 40
    return Interval(means[edge], sum(values) / count, means[-1 - edge])


def _block(path: bytes) -> int:
    try:
        return os.statvfs(path).f_frsize or 4096
    except OSError:
        return 4096


def _pack(session: bytes) -> _Packed | None:
    """What the archive of the session would take. None if it, or something in it, cannot be read."""
    began = time.perf_counter()
    encoder = zlib.compressobj(1, wbits=31)
    size = read = 0
    large, large_seconds = 0.0, 0.0
    try:
        for path, status in _entries(session):
            size += len(encoder.compress(_header(path[len(session) :], status)))
            if not stat.S_ISREG(status.st_mode):
                continue
            if status.st_size > _CHUNKS * _CHUNK:
                before = time.perf_counter()
                piece = _pack_large(path, status.st_size)
                spent = time.perf_counter() - before
                began += spent
                share = status.st_size / max(piece.read, 1)
                large += piece.archive * share
                large_seconds += spent * share
                read += piece.read
            else:
                content = _read(path, 0, status.st_size)
                read += len(content)
                size += len(encoder.compress(content)) + len(encoder.compress(bytes(-len(content) % 512)))
        size += len(encoder.flush())
    except OSError:
        return None
    return _Packed(size + large, time.perf_counter() - began + large_seconds, read)


def _pack_large(path: bytes, size: int) -> _Packed:
    """Some chunks of a large file."""
    archive = read = 0
    for number in range(_CHUNKS):
        content = _read(path, (size - _CHUNK) * number // (_CHUNKS - 1), _CHUNK)
        archive += len(zlib.compress(content, 1))
        read += len(content)
    return _Packed(archive, 0.0, read)


def _entries(directory: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Everything in a session, itself first. Raises `OSError`. No link is followed."""
    yield directory, os.stat(directory, follow_symlinks=False)
    waiting = [directory]
    while waiting:
        with os.scandir(waiting.pop()) as listing:
            for entry in sorted(listing, key=lambda entry: entry.name):
                status = entry.stat(follow_symlinks=False)
                yield entry.path, status
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(entry.path)


def _header(name: bytes, status: os.stat_result) -> bytes:
    """The header of an entry, with its time to the nanosecond."""
    member = tarfile.TarInfo("s" + os.fsdecode(name))
    member.mode, member.uid, member.gid = status.st_mode & 0o7777, status.st_uid, status.st_gid
    member.mtime = status.st_mtime_ns / 1_000_000_000
    if stat.S_ISREG(status.st_mode):
        member.size = status.st_size
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _read(path: bytes, at: int, size: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.pread(handle, size, at)
    finally:
        os.close(handle)
