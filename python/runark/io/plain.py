"""Values for JSON and YAML: plain ones, with nothing left out. What has no plain form is refused, not told as text."""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Mapping
from datetime import date, time, timedelta
from typing import Any

__all__ = ["listed", "plain"]

_PLAIN = frozenset({type(None), bool, int, float, str})


def plain(value: Any) -> Any:
    """The value in None, bool, int, float, str, list and dict. Sets are sorted, dates and paths become text.

    Raises `TypeError` for what has no such form, `ValueError` for two keys that read alike and for what holds itself.
    """
    try:
        return _plain(value)
    except RecursionError as error:
        raise ValueError("it holds itself, or is nested too deeply") from error


def _plain(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _PLAIN else _plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return _sorted([_plain(item) for item in value])
    scalar = _scalar(value)
    if type(scalar) in _PLAIN:
        return scalar
    if hasattr(value, "tolist"):
        return _plain(listed(value))
    if hasattr(value, "to_dict"):  # a frame
        if not all(getattr(getattr(value, axis, None), "is_unique", True) for axis in ("columns", "index")):
            raise ValueError("a frame whose columns or rows share a name has no plain form; csv and parquet keep them")
        return _plain(value.to_dict())
    raise TypeError(f"a {type(value).__name__} has no plain form: {value!r:.80}")


def _sorted(values: list[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:  # numbers and text
        return sorted(values, key=repr)


def _mapping(value: Mapping[Any, Any]) -> dict[Any, Any]:
    found = {_key(key): item if type(item) in _PLAIN else _plain(item) for key, item in value.items()}
    if len({key if type(key) is str else json.dumps(key) for key in found}) != len(value):
        raise ValueError(f"two keys of a dict read alike: {sorted(map(repr, value))!r:.80}")
    return found


def _key(key: Any) -> Any:
    scalar = key if type(key) in _PLAIN else _scalar(key)
    if type(scalar) not in _PLAIN:
        raise TypeError(f"a {type(key).__name__} cannot be a key: {key!r:.80}")
    return scalar


def _scalar(value: Any) -> Any:
    """One value in a plain type; as it is if it has no plain form."""
    if isinstance(value, str):  # a subclass of it, as numpy's; an enumeration has a str() of its own
        return str.__str__(value)
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if hasattr(value, "tolist") and getattr(value, "ndim", None) == 0:
        found = listed(value)
        return found if type(found) in _PLAIN or hasattr(found, "tolist") else _scalar(found)
    return value


def listed(values: Any) -> Any:
    """The numbers of an array as Python has them, its dates as text: nanoseconds since 1970 would be numbers."""
    if getattr(getattr(values, "dtype", None), "kind", "") == "M":
        values = values.astype(str)
    return values.tolist() if hasattr(values, "tolist") else values
