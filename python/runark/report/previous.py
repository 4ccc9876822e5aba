"""The report before: a new one is compared with what stands in the file it replaces."""

from __future__ import annotations

import json
import os
from typing import Any

from runark.names import escape

__all__ = ["BEGIN", "END", "change_since", "read_previous"]

BEGIN = b'<script id="report" type="application/json">'
END = b"</script>"
_MOST = 64 << 20


def read_previous(path: bytes) -> dict[str, Any] | None:
    """The document of the report in this file, HTML or JSON. None if there is no file, or it is something else."""
    try:
        with open(path, "rb") as stream:
            text = stream.read(_MOST)
    except OSError:
        return None
    begin = text.find(BEGIN)
    if begin >= 0:
        begin += len(BEGIN)
        text = text[begin : text.find(END, begin)]
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) and document.get("what") == "report" else None


def change_since(before: dict[str, Any], now: dict[str, Any], path: bytes) -> dict[str, Any] | None:
    """What the scanned sums of two documents differ by; None if they are of other roots or another schema."""
    if before.get("schema") != now["schema"] or before.get("roots") != now["roots"]:
        return None
    try:
        changes = {key: now["scanned"][key] - int(before["scanned"][key]) for key in now["scanned"]}
        return {"report": escape(os.path.basename(path)), "now_ns": int(before["now_ns"]), "changes": changes}
    except (KeyError, TypeError, ValueError):  # edited by hand
        return None
