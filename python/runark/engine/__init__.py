"""Choosing the engine: `native` (Rust) or `pure` (Python). Same verbs, same results; see `protocol.py`.

Both are imported only when asked for. Which one `auto` means is decided once a process.
"""

from __future__ import annotations

from typing import NamedTuple

from runark.engine.protocol import Engine
from runark.errors import EngineUnavailable, InvalidArgument

__all__ = ["ENGINES", "Choice", "choose", "load"]

ENGINES: tuple[str, ...] = ("auto", "native", "pure")


class Choice(NamedTuple):
    """An engine and why it is this one."""

    engine: Engine
    reason: str


_choices: dict[str, Choice] = {}


def load(name: str = "auto") -> Engine:
    """The engine called `name`; the same object each time.

    `auto` is the native engine if it is installed and works, else the pure one.

    Raises `EngineUnavailable` if the native engine is asked for by name and is missing or out of date,
    `InvalidArgument` for an unknown name.
    """
    return choose(name).engine


def choose(name: str = "auto") -> Choice:
    """As `load`, with the reason in words (`runark --version` prints it)."""
    known = _choices.get(name)
    if known is None:
        if name not in ENGINES:
            raise InvalidArgument(f"unknown engine {name!r}; choose one of {', '.join(ENGINES)}")
        known = _choices[name] = {"auto": _auto, "native": _native, "pure": _pure}[name]()
    return known


def _native() -> Choice:
    try:
        from runark.engine.native import NativeEngine
    except ImportError as error:
        raise EngineUnavailable(f"the native engine cannot be used: {_why_not(error)}") from error
    return Choice(NativeEngine(), "asked for by name")


def _pure() -> Choice:
    from runark.engine.pure import PureEngine

    return Choice(PureEngine(), "asked for by name")


def _auto() -> Choice:
    try:
        from runark.engine.native import NativeEngine
    except ImportError as error:
        if not _missing():
            # It is there and does not load: the user believes to have it, so going on without a word would be wrong.
            import warnings

            warnings.warn(
                f"the native engine is installed but cannot be used, going on with the pure one: {error}",
                RuntimeWarning,
                stacklevel=3,
            )
        return Choice(choose("pure").engine, _why_not(error))
    return Choice(NativeEngine(), "the native engine is installed")


def _missing() -> bool:
    """Whether there is no native module at all, as against one that does not load."""
    from importlib.util import find_spec

    return find_spec("runark._native") is None


def _why_not(error: ImportError) -> str:
    if not _missing():
        return f"{error}; reinstall runark"
    return _built() or "runark._native is not installed"


def _built() -> str:
    """What the build said about itself (`_built.txt`, written by the build backend into wheels without native code)."""
    from importlib.resources import files

    note = files("runark").joinpath("_built.txt")
    return note.read_text(encoding="utf-8").strip() if note.is_file() else ""
