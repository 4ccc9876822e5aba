"""Room to restore into for a moment: a directory of one's own, made where there is room and taken away afterwards."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from types import TracebackType

from runark.archive.archives import Found
from runark.archive.control import Control
from runark.engine.protocol import Seal
from runark.errors import NotADirectory, SourceMissing, UnsafePath
from runark.names import PathLike, escape, to_bytes

__all__ = ["Scratch", "scratch_place"]

_PIECE = 1 << 20
_BLOCK = 4096  # what an entry takes at most besides its content, roughly


def scratch_place(scratch: PathLike | None, found: Found) -> bytes:
    """The directory to make scratch directories in: `scratch`, or the one for temporary files. Absolute.

    Raises `SourceMissing`, `NotADirectory`, and `UnsafePath` for a directory in which the archives were looked for: the
    next run would take what is restored there for sessions.
    """
    raw = os.fsencode(tempfile.gettempdir()) if scratch is None else to_bytes(scratch)
    if not raw or not os.path.lexists(raw):
        raise SourceMissing(f"scratch: {escape(raw) or 'an empty path'} does not exist; make it, or name another one")
    place = os.path.realpath(raw)
    if not os.path.isdir(place):
        raise NotADirectory(f"scratch: {escape(raw)} is not a directory; name a directory with room for a session")
    for root in found.directories:
        if (place + b"/").startswith(os.path.realpath(root).rstrip(b"/") + b"/"):
            raise UnsafePath(f"scratch: {escape(raw)} lies in {escape(root)}, among the sessions; name one outside")
    for path in found.paths:
        if path not in found.bases and os.path.dirname(path) == place:
            raise UnsafePath(f"scratch: {escape(raw)} is where {escape(path)} lies; name another directory")
    return place


class Scratch:
    """A fresh directory below `place`, mode 0700; at the end it is taken away with all that is in it.

    Raises `OSError` if it cannot be made or taken away.
    """

    def __init__(self, place: bytes) -> None:
        self._place = place
        self.path = b""

    def __enter__(self) -> Scratch:
        self.path = tempfile.mkdtemp(prefix=b"runark-drill-", dir=self._place)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _open_up(self.path)
        shutil.rmtree(self.path)

    def lack(self, seal: Seal | None, size: int) -> str:
        """Empty, or what there is no room for: the copy of an archive of `size` bytes, packing it anew if it differs,
        and its content, as far as a seal says how much that is."""
        status = os.statvfs(self.path)
        content, entries = (min(seal.content, seal.stream), seal.entries) if seal is not None else (0, 0)
        needed, free = 2 * size + content + entries * _BLOCK, status.f_bavail * status.f_frsize
        if needed > free:
            return f"no room in {escape(self._place)}: it takes {needed} bytes, {free} are free"
        if status.f_files and entries + 2 > status.f_favail:
            return f"no room in {escape(self._place)}: it takes {entries + 2} inodes, {status.f_favail} are free"
        return ""

    def copy(self, archive: bytes, control: Control) -> bytes:
        """The copy of the archive in here; cut short if the control was stopped. Raises `OSError`."""
        copy = os.path.join(self.path, os.path.basename(archive))
        source = os.open(archive, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(source, "rb", buffering=0) as reader, open(copy, "xb", buffering=0) as writer:
            while not control.stopped and (piece := reader.read(_PIECE)):
                view = memoryview(piece)
                while view:
                    view = view[writer.write(view) :]
        return copy


def _open_up(top: bytes) -> None:
    """Let the owner list and empty every directory below; symlinks are not followed."""
    for _, names, _, handle in os.fwalk(top):
        for name in names:
            mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
                os.chmod(name, stat.S_IRWXU, dir_fd=handle)
