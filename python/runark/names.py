"""Names of files: bytes inside, text only at the edges.

A name on Linux is any bytes but `/` and NUL, so it may hold line breaks, terminal escape codes, text that runs from
right to left or no valid text at all. Whoever prints one escapes it here; whoever writes JSON uses `json_path`.
"""

from __future__ import annotations

import os

__all__ = ["JsonPath", "PathLike", "below", "escape", "from_json_path", "json_path", "to_bytes", "unique_hex"]

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]

JsonPath = str | dict[str, str]
"""A path in JSON: a string if it is valid UTF-8, else `{"bytes": "<hex digits>"}`."""


def unique_hex(length: int) -> str:
    """`2 * length` hex digits that nobody else has. (`secrets` says the same and imports OpenSSL for it.)"""
    return os.urandom(length).hex()


def to_bytes(path: PathLike) -> bytes:
    """The path as the system has it."""
    return os.fsencode(path)


def below(path: bytes, base: bytes) -> bytes:
    """The path as seen from `base`, an absolute directory above it."""
    return path[len(base.rstrip(b"/")) + 1 :]


def escape(name: bytes | str) -> str:
    """The name in printable characters, one line, unambiguous: `\\xff` for bytes that are no text, `\\n`, `\\u202e`,
    `\\\\`."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if char == "\\":
        return "\\\\"
    if char.isprintable():
        return char
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no text, as surrogateescape has it
        return f"\\x{code - 0xDC00:02x}"
    # repr would write é as it is and \x85 for the control character; both are what is wanted here.
    return repr(char)[1:-1]


def json_path(path: bytes) -> JsonPath:
    """The path for a JSON document; see `JsonPath`."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return {"bytes": path.hex()}


def from_json_path(value: JsonPath) -> bytes:
    """The inverse of `json_path`."""
    return value.encode("utf-8") if isinstance(value, str) else bytes.fromhex(value["bytes"])
