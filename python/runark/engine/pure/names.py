"""What a name says: that of a session, of something runark left beside one, or of neither."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from runark.engine.protocol import ASIDE, FORMATS, KINDS, STATUSES, Rule, ScanSpec
from runark.errors import InvalidArgument

__all__ = ["KIND", "MARKS", "NO_ARCHIVE", "OWN_DIRECTORY", "STATUS", "Names", "Pattern", "leftover", "status_below"]

KIND = {name: number for number, name in enumerate(KINDS)}
STATUS = {name: number for number, name in enumerate(STATUSES)}

OWN_DIRECTORY = b".runark"  # a root's locks and reserve files: never entered
NO_ARCHIVE = b".noarchive"  # a file that keeps its directory, and the sessions below it, from being archived
MARKS = frozenset((NO_ARCHIVE, b".keep"))  # files that keep the session they are in from being archived

_STATUS_DIRS = {
    b"RUNNING": STATUS["running"],
    b"FINISHED_SUCCESS": STATUS["success"],
    b"FINISHED_ERROR": STATUS["error"],
    b"FINISHED": STATUS["finished"],
}
_RANDOM = rb"[0-9a-f]{16}"
_SUFFIX = rb"\.(?:" + b"|".join(re.escape(name.encode("ascii")) for name in FORMATS) + rb")"
_ASIDE = "|".join(ASIDE).encode("ascii")
_file = re.compile(
    rb"(?P<archive>.+?)" + _SUFFIX + rb"|\.(?P<part>.+?)" + _SUFFIX + rb"\." + _RANDOM + rb"\.part"
    rb"|\.(?P<aside>.+?)" + _SUFFIX + rb"\.(?:" + _ASIDE + rb")-" + _RANDOM,
    re.DOTALL,
).fullmatch
_directory = re.compile(
    rb"\.(?:(?P<tombstone>.+)\.removing|(?P<staging>.+)\.restoring|(?P<discard>.+)\.discarding)-" + _RANDOM, re.DOTALL
).fullmatch

Match = Callable[[bytes], "re.Match[bytes] | None"]


class Pattern(NamedTuple):
    """A layout rule, compiled."""

    name: Match
    parent: Match | None
    marker: bytes | None


def leftover(name: bytes, *, directory: bool) -> tuple[int, bytes] | None:
    """The kind (index into KINDS) that a file's or directory's name may say, and the session it is of."""
    match = _directory(name) if directory else _file(name)
    if match is None or match.lastgroup is None:
        return None
    return KIND[match.lastgroup], match[match.lastgroup]


def status_below(above: int, name: bytes) -> int:
    """The status (index into STATUSES) of what is in a directory of this name; `above` is the directory's own."""
    return above if above == STATUS["running"] else _STATUS_DIRS.get(name, above)


class Names:
    """The patterns of a scan. Making it raises `InvalidArgument` for one that does not compile."""

    def __init__(self, spec: ScanSpec) -> None:
        if len(spec.rules) > 255:
            raise InvalidArgument(f"{len(spec.rules)} layouts; at most 255 can be told apart")
        self.rules = [_compiled(rule) for rule in spec.rules]
        self._include = [_compile(pattern, "an include pattern").search for pattern in spec.include]
        self._exclude = [_compile(pattern, "an exclude pattern").search for pattern in spec.exclude]

    def rules_below(self, parent: bytes) -> list[tuple[int, Pattern]]:
        """The rules whose parent pattern fits a directory of this name, with their numbers."""
        return [(n, rule) for n, rule in enumerate(self.rules) if rule.parent is None or rule.parent(parent)]

    def is_telling(self, name: bytes) -> bool:
        """Whether a directory of this name may be a session or a leftover somewhere."""
        return leftover(name, directory=True) is not None or any(rule.name(name) for rule in self.rules)

    def included(self, name: bytes) -> bool:
        return not self._include or any(search(name) for search in self._include)

    def excluded(self, name: bytes) -> bool:
        return bool(self._exclude) and any(search(name) for search in self._exclude)


def _dollar(pattern: bytes) -> bytes:
    """`$` means the very end, as in other engines; in Python it would also match before a last newline."""
    return re.sub(rb"\\.|\$", lambda match: rb"\Z" if match[0] == b"$" else match[0], pattern, flags=re.DOTALL)


def _compile(pattern: bytes, what: str) -> re.Pattern[bytes]:
    try:
        return re.compile(_dollar(pattern), re.DOTALL)
    except re.error as cause:
        raise InvalidArgument(f"{what} is not a regular expression: {cause}") from None


def _compiled(rule: Rule) -> Pattern:
    what = f"the pattern of layout '{rule.name}'"
    parent = None if rule.parent is None else _compile(rule.parent, what).fullmatch
    return Pattern(_compile(rule.pattern, what).fullmatch, parent, rule.marker)
