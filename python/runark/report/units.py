"""Numbers for people."""

from __future__ import annotations

__all__ = ["counted", "human_age", "human_bytes", "human_seconds"]

_BYTES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def human_bytes(number: int) -> str:
    """Three digits and a unit, powers of 1000: `999 B`, `1.2 kB`, `345 MB`."""
    value, unit = float(number), 0
    # 999.5 kB would be shown as 1000 kB.
    while abs(value) >= (999.5 if unit else 1000) and unit + 1 < len(_BYTES):
        value, unit = value / 1000, unit + 1
    if unit == 0:
        return f"{number} B"
    return f"{value:.1f} {_BYTES[unit]}" if abs(value) < 9.95 else f"{value:.0f} {_BYTES[unit]}"


def human_seconds(seconds: float) -> str:
    """A span, in one unit: `0.34 s`, `12 s`, `5 min`, `3.4 h`, `12 d`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.0f} d"


def human_age(nanoseconds: int) -> str:
    """An age, short enough for a table: `5s`, `12m`, `30h`, `45d`, `3.1y`; `0s` for what lies in the future."""
    seconds = max(0, nanoseconds) // 1_000_000_000
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 7200:
        return f"{seconds // 60}m"
    if seconds < 172_800:
        return f"{seconds // 3600}h"
    days = seconds // 86_400
    return f"{days}d" if days < 730 else f"{days / 365.25:.1f}y"


def counted(number: int, one: str, many: str = "") -> str:
    """`1 session`, `2,000 sessions`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
