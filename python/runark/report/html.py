"""The report as one page: HTML, style, script and data in one file that asks nothing of any network.

The data is the JSON document of the report. Nothing in it can end the element it stands in, and the page only ever
puts it into text and attributes, never into markup. The content security policy names the style and the script by their
digests and forbids everything else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import BinaryIO

from runark.report.figures import Report
from runark.report.previous import BEGIN, END

__all__ = ["write_html"]

_SCRIPTS = ("parts.js", "treemap.js", "page.js")
_UNSAFE = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def write_html(report: Report, stream: BinaryIO) -> None:
    """Write the page."""
    style, script = _part("page.css"), "\n".join(map(_part, _SCRIPTS))
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'"
    page = _part("page.html").replace("{policy}", policy).replace("{style}", style)
    head, tail = page.split("{data}")
    tail = tail.replace("{script}", script)
    # In ASCII: neither an encoding nor a line separator can be mistaken.
    data = json.dumps(report.to_json(), separators=(",", ":")).translate(_UNSAFE)
    stream.write(head.encode() + BEGIN + data.encode() + END + tail.encode())


def _part(name: str) -> str:
    return files("runark.report").joinpath("page").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
