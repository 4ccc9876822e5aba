"""JSON documents, written row by row, so that a million rows are never in memory at once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TextIO

__all__ = ["write_document"]

_COMPACT = (",", ":")


def write_document(stream: TextIO, head: dict[str, Any], **lists: Iterable[dict[str, Any]]) -> None:
    """Write `head` with these lists added, one row a line; the same document as `to_json()` gives."""
    stream.write(json.dumps(head, separators=_COMPACT)[:-1])
    for name, rows in lists.items():
        stream.write(f",{json.dumps(name)}:[")
        separator = "\n"
        for row in rows:
            stream.write(separator + json.dumps(row, separators=_COMPACT))
            separator = ",\n"
        stream.write("\n]")
    stream.write("}\n")
