"""Libraries that are extras, imported when a format asks for them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from runark.errors import FormatUnavailable
from runark.session.directory import shown

__all__ = ["library"]


def library(name: str, path: Path) -> Any:
    """The module. Raises `FormatUnavailable` naming the file it was for."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise FormatUnavailable(f"{shown(path)}: needs {package}: pip install {package}") from error
