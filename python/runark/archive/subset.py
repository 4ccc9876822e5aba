"""A part of many archives: `3/30` is the third of thirty, by a hash of each path below its root.

The hash does not depend on the machine, the root's own place or the other archives, so an archive stays in its part
for good, and thirty nights with thirty parts see every archive.
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import date
from typing import NamedTuple

from runark.errors import InvalidArgument
from runark.names import below

__all__ = ["ALL", "Subset", "parse_subset"]

_GRAMMAR = re.compile(r"(today|[0-9]{1,9})/([0-9]{1,9})")
_FIRST_DAY = date(1970, 1, 1)


class Subset(NamedTuple):
    """Part `part` (1 to `of`) of `of`."""

    part: int
    of: int

    def __str__(self) -> str:
        return f"{self.part}/{self.of}"

    def holds(self, path: bytes, base: bytes | None) -> bool:
        """Whether the archive belongs to the part; `base` is the root it was found below, None if it was named."""
        if self.of == 1:
            return True
        name = os.path.basename(path) if base is None else below(path, base)
        number = int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
        return number % self.of == self.part - 1


ALL = Subset(1, 1)


def parse_subset(text: str, today: date | None = None) -> Subset:
    """`I/N`, or `today/N`: the day's turn, by the number of days since 1970 in the local zone.

    Raises `InvalidArgument` for anything else.
    """
    found = _GRAMMAR.fullmatch(text.strip())
    of = int(found[2]) if found is not None else 0
    if found is None or of < 1:
        raise InvalidArgument(f"subset: cannot read {text!r}; write which part of how many, as 3/30 or today/30")
    if found[1] == "today":
        return Subset(((today or date.today()) - _FIRST_DAY).days % of + 1, of)
    part = int(found[1])
    if not 1 <= part <= of:
        raise InvalidArgument(f"subset: {text!r}: there is no part {part} of {of}; the first is 1/{of}")
    return Subset(part, of)
