"""INJECTED: the default that asks the session for a value."""

from __future__ import annotations

from typing import Any

__all__ = ["INJECTED", "is_injected"]


class _Injected:
    """Known by its type, so that copies and pickles of it count too."""

    def __repr__(self) -> str:
        return "<INJECTED>"

    def __reduce__(self) -> str:
        return "INJECTED"


INJECTED: Any = _Injected()
"""As the default of a parameter called CONFIG, plt, COLORS, rngg, rng or logger: the session fills it in."""


def is_injected(value: object) -> bool:
    return isinstance(value, _Injected)
