"""Writing a file whole or not at all: readers see the old one or the new one, and nothing is left of an attempt."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import BinaryIO

from runark.names import unique_hex

__all__ = ["write_whole"]


def write_whole(path: bytes, write: Callable[[BinaryIO], object], mode: int = 0o644) -> None:
    """Let `write` write a new file beside `path`, and rename it there. Raises `OSError`, and what `write` raises.

    The file beside it has a name nobody can foresee and is made exclusively, so that nobody's link is written through.
    """
    directory, name = os.path.split(path)
    part = os.path.join(directory, b".%b.%b.new" % (name[:200], unique_hex(8).encode()))
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
