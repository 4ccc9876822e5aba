"""The rows of a report as CSV (RFC 4180, UTF-8, a line of names first).

Names are escaped as everywhere runark prints them, so a cell never holds a line break. A text that a spreadsheet would
take for a formula (`=`, `+`, `-`, `@` first) gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
from typing import BinaryIO

from runark.names import escape
from runark.report.figures import Report
from runark.report.table import Line, lines_of

__all__ = ["write_csv"]

_FORMULA = ("=", "+", "-", "@")


def write_csv(report: Report, stream: BinaryIO) -> None:
    """Write all rows."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(Line._fields)
    writer.writerows([_cell(value) for value in line] for line in lines_of(report))
    text.detach()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if not isinstance(value, (bytes, str)):
        return value
    text = escape(value)
    return "'" + text if text.startswith(_FORMULA) else text
