"""Names runark gives to what is under way, and how to read them back (docs/durability.md, "Names on disk")."""

from __future__ import annotations

import re

from runark.engine.protocol import FORMATS

__all__ = ["archived_name", "session_of_leftover"]

_FORMAT = b"(?:" + b"|".join(re.escape(name.encode()) for name in FORMATS) + b")"
_LEFTOVER = re.compile(
    rb"\.(?P<session>.+)(?:\." + _FORMAT + rb"\.[0-9a-f]{16}\.part|\.(?:removing|restoring|discarding)-[0-9a-f]{16})",
    re.DOTALL,
)


def session_of_leftover(name: bytes) -> bytes | None:
    """The session's name from that of its part file, tombstone, staging directory or rest; None for any other name."""
    found = _LEFTOVER.fullmatch(name)
    return found["session"] if found is not None else None


def archived_name(name: bytes) -> bytes | None:
    """The session's name from that of its archive; None if the name is not an archive's."""
    for suffix in FORMATS:
        end = b"." + suffix.encode()
        if name.endswith(end) and name[: -len(end)] not in (b"", b".", b".."):
            return name[: -len(end)]
    return None
