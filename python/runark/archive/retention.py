"""Which live sessions stay as they are although every filter lets them through: the newest ones, and those with a tag.

Sessions of one script belong together: those whose directory, `RUNNING` and `FINISHED*` left away, is the same. A
session begins when its name says, else when its directory was last changed. Its tags are the words of its name behind
the time, split at `-` (`2026Y-02M-13D-14h30m15s_Z5MR-paper` has `paper`). What holds a file `.keep` stays in any case,
which the engine sees.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from runark.archive.scan import Scan
from runark.archive.timespec import Age, parse_age
from runark.errors import InvalidArgument
from runark.layouts import Layout, started
from runark.patterns import compile_name, glob

__all__ = ["Keep", "kept", "script_of"]

_STATES = frozenset((b"RUNNING", b"FINISHED", b"FINISHED_SUCCESS", b"FINISHED_ERROR"))
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Keep:
    """What stays live. Wrong values raise `InvalidArgument` when they are used."""

    last: int = 0
    """The newest so many of each script."""
    within: Age | None = None
    """Those begun since then."""
    tag: tuple[str, ...] = ()
    """Globs; those with such a tag."""

    def __bool__(self) -> bool:
        return bool(self.last or self.within is not None or self.tag)


def kept(scan: Scan, rows: Sequence[int], keep: Keep) -> dict[int, str]:
    """Of these rows those that stay, with the reason (`keep-last`, `keep-within`, `keep-tag`).

    The newest are looked for among all sessions of the scan: one that a filter holds back is a newest one too.
    """
    if keep.last < 0:
        raise InvalidArgument(f"keep-last is {keep.last}; give 0 or more")
    since = None if keep.within is None else parse_age(keep.within, scan.now_ns, "--keep-within")
    tags = [compile_name(glob(text)) for text in keep.tag]
    if not keep:
        return {}
    found: dict[int, str] = {}
    for row in rows:
        if since is not None and _begun(scan, row) >= since:
            found[row] = "keep-within"
        elif tags and any(tag.search(word) for word in _tags(scan, row) for tag in tags):
            found[row] = "keep-tag"
    if keep.last:
        newest = _newest(scan, keep.last)
        found.update((row, "keep-last") for row in rows if row in newest and row not in found)
    return found


def script_of(path: bytes) -> bytes:
    """What the sessions of one script have in common: the directory they are in, however they ended."""
    above = path.rpartition(b"/")[0]
    while above.rpartition(b"/")[2] in _STATES:
        above = above.rpartition(b"/")[0]
    return above


def _newest(scan: Scan, number: int) -> set[int]:
    scripts: dict[bytes, list[int]] = {}
    for row, kind in enumerate(scan.columns.kind):
        if kind == 0:
            scripts.setdefault(script_of(scan.path(row)), []).append(row)
    newest: set[int] = set()
    for rows in scripts.values():
        if len(rows) > number:
            # In one second the names decide: without that, how a session ended would.
            rows = sorted(rows, key=lambda row: (_begun(scan, row), os.path.basename(scan.path(row))))[-number:]
        newest.update(rows)
    return newest


def _begun(scan: Scan, row: int) -> int:
    """In nanoseconds since 1970."""
    when = started(_layout(scan, row), scan.path(row))
    if when is not None:
        with contextlib.suppress(ValueError, OverflowError):  # the year 1 in some zones
            return int(when.timestamp()) * _SECOND
    return scan.column("mtime_ns")[row]


def _tags(scan: Scan, row: int) -> list[bytes]:
    name = scan.path(row).rpartition(b"/")[2]
    rule = _layout(scan, row).rule
    found = re.fullmatch(rule.pattern, name)
    if found is not None and "time" in found.re.groupindex and found["time"] is not None:
        name = name[found.end("time") :]
    return name.split(b"-")[1:]


def _layout(scan: Scan, row: int) -> Layout:
    return scan.layouts[scan.columns.layout[row]]
