"""Equality of trees: what must have come back before any time counts."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
from pathlib import Path

__all__ = ["Unequal", "picture", "same", "streams"]

Picture = dict[bytes, tuple[object, ...]]


class Unequal(Exception):
    """Two trees differ; the text names the first path that does and how."""


def content(path: bytes) -> str:
    with open(path, "rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file.read())
        )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def picture(root: Path, everything: bool = True) -> Picture:
    """Path below `root` -> kind and content; with `everything` also mode, owner, mtime to the nanosecond.

    `root` itself does not count: archiving below it changes its time.
    """
    found: Picture = {}
    pending = [os.fsencode(root)]
    base = len(pending[0]) + 1
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                kind = stat.S_IFMT(status.st_mode)
                value: tuple[object, ...]
                if kind == stat.S_IFDIR:
                    pending.append(entry.path)
                    value = (kind,)
                elif kind == stat.S_IFREG:
                    value = (kind, status.st_size, content(entry.path))
                elif kind == stat.S_IFLNK:
                    value = (kind, os.readlink(entry.path))
                else:
                    value = (kind,)
                if everything:
                    value += (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)
                found[entry.path[base:]] = value
    return found


def same(left: Picture, right: Picture, what: str) -> None:
    """Raises `Unequal` if the pictures differ."""
    if left == right:
        return
    for path in sorted(left.keys() | right.keys()):
        if left.get(path) != right.get(path):
            raise Unequal(f"{what}: {path!r}: {left.get(path, 'missing')} != {right.get(path, 'missing')}")


def streams(root: Path) -> Picture:
    """Name of each `.tar.gz` directly below `root` -> digest of what it decodes to."""
    return {
        os.fsencode(entry.name): (_digest(gzip.decompress(Path(entry.path).read_bytes())),)
        for entry in os.scandir(root)
        if entry.name.endswith(".tar.gz")
    }
