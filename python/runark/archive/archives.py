"""Finding archives: those named by their path, and those below a directory, at any depth."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from runark.archive.control import Control
from runark.archive.filters import Filters
from runark.archive.guard import check_root
from runark.archive.scan import Scan, scan_checked
from runark.engine.protocol import KINDS, Fault
from runark.errors import InvalidArgument, NotADirectory, SourceMissing, UnsafePath
from runark.names import PathLike, escape, to_bytes

__all__ = ["Found", "find_archives"]


@dataclass(frozen=True)
class Found:
    """Archives, sorted and each once, and where they were looked for."""

    paths: tuple[bytes, ...]
    bases: dict[bytes, bytes]
    """Archive -> the directory that was named; not for archives that were named themselves."""
    scans: tuple[Scan, ...]
    directories: tuple[bytes, ...]
    """The directories that were named."""
    stopped: str

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What could not be listed."""
        return tuple(fault for scan in self.scans for fault in scan.faults)


def find_archives(
    paths: Sequence[PathLike],
    *,
    filters: Filters,
    layouts: Sequence[str],
    config: PathLike | None,
    jobs: int | None,
    engine: str,
    control: Control,
    kinds: Sequence[str] = ("archive",),
    changing: bool = False,
) -> Found:
    """The archives that `paths` name: a file is taken as it is, a directory is searched for names of archived sessions.

    Raises `SourceMissing` for a path that does not exist, `UnsafePath` for a symlink, `InvalidArgument` for no path.
    """
    if not paths:
        raise InvalidArgument("no path given; name archives, or directories that hold some")
    found: dict[bytes, bytes | None] = {}
    scans: list[Scan] = []
    directories: list[bytes] = []
    for path in paths:
        file = _as_file(path)
        if file is not None:
            found.setdefault(file, None)
            continue
        root = check_root(path, changing=changing)
        directories.append(root)
        scan = scan_checked(
            (root,),
            filters=filters,
            layouts=layouts,
            config=config,
            measure=False,
            kinds=kinds,
            keep_skipped=False,
            jobs=jobs,
            engine=engine,
            control=control,
        )
        scans.append(scan)
        archive = KINDS.index("archive")
        found.update((scan.path(row), root) for row, kind in enumerate(scan.columns.kind) if kind == archive)
    return Found(
        paths=tuple(sorted(found)),
        bases={path: base for path, base in found.items() if base is not None},
        scans=tuple(scans),
        directories=tuple(directories),
        stopped=control.stopped,
    )


def _as_file(path: PathLike) -> bytes | None:
    """The absolute path of a file, None for a directory."""
    raw = to_bytes(path)
    if not raw:
        raise UnsafePath("an empty path; is a variable unset?")
    try:
        status = os.lstat(raw)
    except FileNotFoundError as error:
        raise SourceMissing(f"{escape(raw)} does not exist; check the path") from error
    except NotADirectoryError as error:
        raise NotADirectory(f"{escape(raw)}: something above it is not a directory; check the path") from error
    if stat.S_ISDIR(status.st_mode):
        return None
    if stat.S_ISLNK(status.st_mode):
        raise UnsafePath(f"{escape(raw)} is a symlink; give the archive itself: {escape(os.path.realpath(raw))}")
    if not stat.S_ISREG(status.st_mode):
        raise InvalidArgument(f"{escape(raw)} is neither a file nor a directory; name archives or directories")
    return os.path.join(os.path.realpath(os.path.dirname(raw) or b"."), os.path.basename(raw))
