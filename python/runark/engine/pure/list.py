"""Reading without restoring: the seals of many archives, the members of one."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from runark.engine.protocol import Fault, Limits, Member, Seal
from runark.engine.pure.ends import Control, Damaged, Failure, escape
from runark.engine.pure.verify import Archive
from runark.errors import ArchiveDamaged, SourceMissing

__all__ = ["members", "seals"]

_WORTH_THREADS = 256  # archives; below, starting threads costs more than waiting


def seals(paths: Sequence[bytes], jobs: int) -> list[Seal | Fault | None]:
    """For each archive its seal, None if it has none, or the fault that kept it from being read.

    Only the first or last bytes of each file are read, so several threads help where opening a file means waiting.
    """
    if jobs == 1 or len(paths) < _WORTH_THREADS:
        return [_seal(path) for path in paths]
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        return list(pool.map(_seal, paths))


def _seal(path: bytes) -> Seal | Fault | None:
    try:
        with Archive(path, path) as archive:
            return None if archive.claim is None else Seal(*archive.claim, archive.size)
    except Failure as cause:
        return cause.fault


def members(path: bytes, limits: Limits) -> list[Member]:
    """The members in order, after the whole archive was read and found sound.

    Raises `ArchiveDamaged`, `SourceMissing`, `FormatUnavailable`, and `OSError` for an archive that cannot be read.
    """
    try:
        with Archive(path, path) as archive:
            return [
                Member(
                    item.path,
                    item.kind,
                    item.mode,
                    item.uid,
                    item.gid,
                    item.uname,
                    item.gname,
                    item.size,
                    item.mtime_ns,
                    item.link,
                )
                for item, _ in archive.read(limits, Control())
            ]
    except Damaged as cause:
        raise ArchiveDamaged(f"{escape(path)}: {cause}") from None
    except Failure as cause:
        number, message = cause.fault.errno, cause.fault.message
        if number == errno.ENOENT:
            raise SourceMissing(number, message, escape(path)) from None
        if number:
            raise OSError(number, message, escape(path)) from None
        raise ArchiveDamaged(f"{escape(path)}: {message}") from None
