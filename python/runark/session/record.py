"""The record of a session: `CONFIGS/CONFIG.yaml`, for people and for runark, and `CONFIG.pkl`, for Python.

Written when the session starts and completed when it ends, each time whole or not at all: a temporary file, renamed.
Whatever somebody puts into CONFIG, the record can be written: what YAML has no form for is told as text, what cannot
be pickled likewise. `runark.record` reads it, to tell a session that runs from one that was killed.
"""

from __future__ import annotations

import contextlib
import enum
import os
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from runark.errors import OperationFailed
from runark.session.config import Config
from runark.session.directory import shown

__all__ = ["CONFIGS", "OUTPUTS", "duration_text", "for_yaml", "read_outputs", "write_file", "write_record"]

CONFIGS = "CONFIGS"
OUTPUTS = "outputs.jsonl"
"""In CONFIGS/ while the session runs: a line for each file `runark.io.save` wrote, by whichever of its processes."""

_LONGEST_ARRAY = 1000
_DEEPEST = 50


def write_record(run: Path, config: Config) -> None:
    """Raises `OperationFailed` naming the file; the record there was before is whole then."""
    from runark.session.yaml_config import dump

    values = config.to_dict()
    write_file(run / CONFIGS / "CONFIG.yaml", dump(for_yaml(values)))
    write_file(run / CONFIGS / "CONFIG.pkl", _pickled(values))


def write_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all. Raises `OperationFailed`."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with open(part, "wb") as stream:
                stream.write(data)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
    except OSError as error:
        raise OperationFailed(f"{shown(path)}: cannot write the session's record: {error.strerror}") from error


def read_outputs(run: Path) -> list[dict[str, Any]]:
    """What `runark.io.save` has written in this session, each path once, as it was written last."""
    import json

    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(FileNotFoundError), open(run / CONFIGS / OUTPUTS, "rb") as stream:
        for line in stream:
            with contextlib.suppress(ValueError):  # cut off by a full disk
                entry = json.loads(line)
                found[str(entry.pop("path"))] = entry
    return [{"path": path, **entry} for path, entry in found.items()]


def duration_text(duration: timedelta) -> str:
    """`HH:MM:SS`, more than two digits of hours if it takes them."""
    seconds = max(int(duration.total_seconds()), 0)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


# ---------------------------------------------------------------------------------- values in YAML, in pickle


def for_yaml(value: Any, depth: int = 0) -> Any:
    """The value in what YAML has a form for; anything else as text."""
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is float:
        return value
    if kind is str:
        return _text(value)
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, dict):
        return {_key(key): for_yaml(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [for_yaml(item, depth + 1) for item in value]
    return _other(value, depth)


def _other(value: Any, depth: int) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, os.PathLike):
        return _text(os.fsdecode(value))
    if isinstance(value, datetime):
        return value.astimezone().isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, int | float | str):  # a subclass, whatever its own text says
        if isinstance(value, str):
            return _text("".join(value))
        return float(value) if isinstance(value, float) else int(value)
    if hasattr(value, "tolist") and getattr(value, "size", _LONGEST_ARRAY + 1) <= _LONGEST_ARRAY:  # numpy's
        plain = value.tolist()
        return for_yaml(plain, depth + 1) if type(plain) in (bool, int, float, str, list) else _text(repr(value))
    try:
        return _text(repr(value)[:1000])
    except Exception as error:  # noqa: BLE001 - somebody else's __repr__
        return f"<{type(value).__name__}: {type(error).__name__} in its repr>"


def _key(key: Any) -> Any:
    return key if type(key) in (int, bool, float) else _text(key if type(key) is str else str(key))


def _text(text: str) -> str:
    """Without what YAML cannot hold: bytes that are no text, as file names may have them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _pickled(values: dict[str, Any]) -> bytes:
    import pickle

    try:
        return pickle.dumps(values)
    except Exception:  # noqa: BLE001 - whatever somebody else's __reduce__ raises
        return pickle.dumps({key: _picklable(value) for key, value in values.items()})


def _picklable(value: Any) -> Any:
    import pickle

    if type(value) is dict:
        return {key: _picklable(item) for key, item in value.items()}
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - as above
        return for_yaml(value)
    return value
