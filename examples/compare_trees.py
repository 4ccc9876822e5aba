"""Whether two trees hold the same, down to the nanosecond. Shares no code with runark, on purpose.

    python examples/compare_trees.py ONE OTHER

For every path below the two directories, the directories themselves included: kind, mode with setuid, setgid and
sticky, owner, group, modification time, size, content byte by byte, target of a symbolic link, extended attributes
(POSIX ACLs are among them), which names are hard links of each other, and whether a sparse file is still sparse.
Change and access times are not compared: no program can restore the first, reading changes the second.

Exits 0 if equal, 1 with a line a difference.
"""

from __future__ import annotations

import argparse
import errno
import os
import stat
import sys
from collections.abc import Iterator

__all__ = ["compare"]

CHUNK = 1 << 20


def _walk(top: bytes) -> dict[bytes, os.stat_result]:
    """Path below `top` (empty for itself) -> lstat. An unreadable directory raises OSError."""
    found = {b"": os.lstat(top)}
    pending = [b""]
    while pending:
        at = pending.pop()
        with os.scandir(os.path.join(top, at)) as entries:
            for entry in entries:
                path = os.path.join(at, entry.name)
                found[path] = os.lstat(os.path.join(top, path))
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
    return found


def _links(tree: dict[bytes, os.stat_result]) -> dict[bytes, frozenset[bytes]]:
    """For each name of a file with several, all its names."""
    names: dict[tuple[int, int], set[bytes]] = {}
    for path, status in tree.items():
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            names.setdefault((status.st_dev, status.st_ino), set()).add(path)
    return {path: frozenset(group) for group in names.values() for path in group}


def _attributes(path: bytes) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _same_content(one: bytes, other: bytes) -> bool:
    with open(one, "rb") as left, open(other, "rb") as right:
        while True:
            chunk = left.read(CHUNK)
            if chunk != right.read(CHUNK):
                return False
            if not chunk:
                return True


def _entry(one: bytes, other: bytes, left: os.stat_result, right: os.stat_result) -> Iterator[str]:
    if stat.S_IFMT(left.st_mode) != stat.S_IFMT(right.st_mode):
        yield f"kind {stat.filemode(left.st_mode)} / {stat.filemode(right.st_mode)}"
        return
    if stat.S_IMODE(left.st_mode) != stat.S_IMODE(right.st_mode):
        yield f"mode {stat.S_IMODE(left.st_mode):04o} / {stat.S_IMODE(right.st_mode):04o}"
    if (left.st_uid, left.st_gid) != (right.st_uid, right.st_gid):
        yield f"owner {left.st_uid}:{left.st_gid} / {right.st_uid}:{right.st_gid}"
    if left.st_mtime_ns != right.st_mtime_ns:
        yield f"mtime {left.st_mtime_ns} / {right.st_mtime_ns}"
    if stat.S_ISLNK(left.st_mode):
        if os.readlink(one) != os.readlink(other):
            yield f"link {os.readlink(one)!r} / {os.readlink(other)!r}"
        return
    if stat.S_ISREG(left.st_mode):
        if left.st_size != right.st_size:
            yield f"size {left.st_size} / {right.st_size}"
        elif not _same_content(one, other):
            yield "content"
        if left.st_blocks * 512 < left.st_size <= right.st_blocks * 512:
            yield "no longer sparse"
    if _attributes(one) != _attributes(other):
        yield "extended attributes"


def compare(one: bytes, other: bytes) -> list[str]:
    """Differences between two directories, one line each, names escaped; empty if there are none.

    Raises OSError if something cannot be read.
    """
    left, right = _walk(one), _walk(other)
    differences = [f"{path!r}: only in the first" for path in sorted(left.keys() - right.keys())]
    differences += [f"{path!r}: only in the second" for path in sorted(right.keys() - left.keys())]
    left_links, right_links = _links(left), _links(right)
    for path in sorted(left.keys() & right.keys()):
        paths = (os.path.join(one, path), os.path.join(other, path)) if path else (one, other)
        differences += [f"{path!r}: {what}" for what in _entry(*paths, left[path], right[path])]
        if left_links.get(path) != right_links.get(path):
            differences.append(f"{path!r}: hard links")
    return differences


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare two trees, metadata included.")
    parser.add_argument("one")
    parser.add_argument("other")
    arguments = parser.parse_args()
    differences = compare(os.fsencode(arguments.one), os.fsencode(arguments.other))
    for line in differences:
        print(line)
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
