"""Sizes as text, as fd's `--size` has them: `+1M` (at least), `-10k` (at most), `500b` (exactly).

Units: `b`; `k`, `m`, `g`, `t` are powers of 1000, with `i` (`ki`, `mi`, ...) of 1024; a final `b` and the case do not
matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from runark.errors import InvalidArgument

__all__ = ["parse_bytes", "parse_size", "size_range"]

_SIZE = re.compile(r"([+-]?)([0-9]+)(?:b|([kmgt])(i?)b?)", re.IGNORECASE)
_POWER = {"k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> tuple[int | None, int | None]:
    """Least and most number of bytes, None where it does not matter. Raises `InvalidArgument`."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidArgument(
            f"size {text!r}: write +1M (at least), -10k (at most) or 500b (exactly); units b, k, M, G, T, Ki, ..."
        )
    value = _bytes(found)
    return (None if found[1] == "-" else value), (None if found[1] == "+" else value)


def parse_bytes(text: str) -> int:
    """A number of bytes, without a sign. Raises `InvalidArgument`."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[1]:
        raise InvalidArgument(f"size {text!r}: write a number and a unit, as in 50M; units b, k, M, G, T, Ki, ...")
    return _bytes(found)


def _bytes(found: re.Match[str]) -> int:
    _, digits, unit, binary = found.groups()
    value = int(digits) * ((1024 if binary else 1000) ** _POWER[unit.lower()] if unit else 1)
    if value >= 1 << 63:
        raise InvalidArgument(f"size {found[0]!r} is larger than any file")
    return value


def size_range(texts: Iterable[str]) -> tuple[int | None, int | None]:
    """All of them at once: the largest of the least, the smallest of the most."""
    least: int | None = None
    most: int | None = None
    for text in texts:
        low, high = parse_size(text)
        if low is not None:
            least = low if least is None else max(least, low)
        if high is not None:
            most = high if most is None else min(most, high)
    if least is not None and most is not None and least > most:
        raise InvalidArgument(f"no size is at least {least} and at most {most} bytes")
    return least, most
