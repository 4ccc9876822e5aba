"""The rows of a report as ncdu reads them (`ncdu -f FILE`): JSON of version 1.2.

A session is a directory with the size of everything in it, an archive a file. Names are written as ncdu writes them:
the bytes as they are, in UTF-8 or not, with control characters escaped.
"""

from __future__ import annotations

import json
import os
import re
from typing import BinaryIO

from runark import __version__
from runark.archive.scan import Row
from runark.report.figures import Report

__all__ = ["write_ncdu"]

_ESCAPED = re.compile(rb'[\x00-\x1f\x7f"\\]')
_FILES = frozenset(("archive", "part", "aside"))


def write_ncdu(report: Report, stream: BinaryIO) -> None:
    """Write all rows as a tree, from the directory that holds all roots."""
    scan = report.plan.scan
    top = os.path.commonpath(scan.roots)
    if len(scan) and scan.path(0) == top:  # the root is a session itself
        top = os.path.dirname(top)
    about = {"progname": "runark", "progver": __version__, "timestamp": scan.now_ns // 1_000_000_000}
    stream.write(b"[1,2," + json.dumps(about).encode() + b",\n[{" + _name(top) + b"}")
    open_: list[bytes] = []
    base = top.rstrip(b"/") + b"/"
    # Sorted by their bytes, all paths below one directory stand together.
    for row in scan:
        *above, name = row.path[len(base) :].split(b"/")
        same = 0
        while same < min(len(open_), len(above)) and open_[same] == above[same]:
            same += 1
        stream.write(b"]" * (len(open_) - same))
        stream.write(b"".join(b",\n[{" + _name(part) + b"}" for part in above[same:]))
        open_ = above
        entry = b"{" + _name(name) + _numbers(row) + b"}"
        stream.write(b",\n" + (entry if row.kind in _FILES else b"[" + entry + b"]"))
    stream.write(b"]" * len(open_) + b"]]\n")


def _name(name: bytes) -> bytes:
    return b'"name":"' + _ESCAPED.sub(lambda found: b"\\u%04x" % found[0][0], name) + b'"'


def _numbers(row: Row) -> bytes:
    seconds = max(0, row.newest_ns // 1_000_000_000)
    return b',"asize":%d,"dsize":%d,"uid":%d,"mtime":%d' % (row.size, row.allocated, row.uid, seconds)
