"""Saving and loading results: `save(obj, "result.csv")` inside a session writes into the session's directory.

The extension says how; the work is done by the library everybody uses for that format, which is imported then. What
was saved is listed with its SHA-256 in the session's record. See docs/io.md.
"""

from __future__ import annotations

from runark.io.load import load
from runark.io.save import save

__all__ = ["load", "save"]
