"""CONFIG: nested settings, by item or by attribute, in upper or lower case.

    CONFIG["MODEL"]["hidden_size"] == CONFIG.MODEL.hidden_size == CONFIG.model.HIDDEN_SIZE

A key is found as it is written; failing that, in any case, if only one key fits. A key that has the name of a method
of `dict` (`keys`, `items`, ...) is reached by item only. Mappings put in become `Config`, also within lists.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

__all__ = ["Config", "SessionConfig", "use_debug_values"]


_DEEPEST = 50  # lists within lists that are looked into; one that holds itself has no bottom


class Config(dict[str, Any]):
    """A dict whose items are attributes too. Pickles, copies, compares and prints as a dict does."""

    _aliases: ClassVar[Mapping[str, str]] = {}
    """Older names of keys. Only for reading; the key itself, if somebody sets it, goes first."""

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: Any) -> None:
        super().__init__()
        self.update(values, **more)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(self._name(key, key), _wrapped(value))

    def __getitem__(self, key: str) -> Any:
        name = self._name(key)
        if name is None:
            raise KeyError(key)
        return self._read(key, name)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(self._name(key, key))

    def __contains__(self, key: object) -> bool:
        return self._name(key) is not None

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):  # what copy, pickle and IPython ask of any object
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"CONFIG has no {key!r}; it has {', '.join(map(str, self)) or 'nothing'}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __delattr__(self, key: str) -> None:
        try:
            del self[key]
        except KeyError:
            raise AttributeError(f"CONFIG has no {key!r}") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(key for key in self if isinstance(key, str) and key.isidentifier())]

    def __or__(self, other: Mapping[str, Any]) -> Config:  # type: ignore[override]
        both = self.copy()
        both.update(other)
        return both

    def __ior__(self, other: Any) -> Config:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        twin = type(self)()
        memo[id(self)] = twin
        for key, value in self.items():
            dict.__setitem__(twin, key, copy.deepcopy(value, memo))
        return twin

    def __reduce__(self) -> Any:
        return (type(self), (dict(self),))

    def _name(self, key: Any, otherwise: Any = None) -> Any:
        """The key under which `key` is found: as written, an alias, or in another case if that is unambiguous."""
        if super().__contains__(key):
            return key
        if not isinstance(key, str):
            return otherwise
        alias = self._aliases.get(key.upper())
        if alias is not None and super().__contains__(alias):
            return alias
        folded = key.casefold()
        fitting = [name for name in self if isinstance(name, str) and name.casefold() == folded]
        return fitting[0] if len(fitting) == 1 else otherwise

    def _read(self, key: Any, name: Any) -> Any:
        return super().__getitem__(name)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401 - it is what get is made of

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, *default: Any) -> Any:
        return super().pop(self._name(key, key), *default)

    def update(self, values: Any = (), /, **more: Any) -> None:
        """As a dict does: each key as it is written, beside others that differ in case."""
        for key, value in dict(values, **more).items():
            super().__setitem__(key, _wrapped(value))

    def copy(self) -> Config:
        """A copy one level deep."""
        return type(self)(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists all the way down; other values as they are."""
        return {key: _plain(value) for key, value in self.items()}


class SessionConfig(Config):
    """The CONFIG of a session, which also answers to the names older scripts use."""

    _aliases: ClassVar[Mapping[str, str]] = {
        "SDIR": "SDIR_RUN",
        "SDIR_PATH": "SDIR_RUN",
        "START_TIME": "START_DATETIME",
        "END_TIME": "END_DATETIME",
        "RUN_TIME": "RUN_DURATION",
        "FILE_PATH": "FILE",
    }

    def _read(self, key: Any, name: Any) -> Any:
        value = super()._read(key, name)
        if name == "SDIR_RUN" and isinstance(key, str) and key.upper() == "SDIR":
            return f"{value}/"  # as ever: text with a slash at its end, so that scripts may write CONFIG.SDIR + "a.csv"
        return value


def _wrapped(value: Any, depth: int = 0) -> Any:
    if isinstance(value, Config):
        return value
    if type(value) is dict:
        return Config(value)
    if type(value) is list and depth < _DEEPEST:
        return [_wrapped(item, depth + 1) for item in value]
    return value


def _plain(value: Any, depth: int = 0) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if type(value) is list and depth < _DEEPEST:
        return [_plain(item, depth + 1) for item in value]
    return value


def use_debug_values(config: Config) -> None:
    """Replaces, at every depth, the value of X by that of DEBUG_X, in place. DEBUG_X itself stays."""
    for key in list(config):
        value = config[key]
        for inner in value if isinstance(value, list) else (value,):
            if isinstance(inner, Config):
                use_debug_values(inner)
        if isinstance(key, str) and key.upper().startswith("DEBUG_") and len(key) > 6:
            config[key[6:]] = copy.deepcopy(value)
