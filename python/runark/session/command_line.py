"""What a function's parameters are on a command line: an option each, with a type.

    def main(data_path: Path, threshold=0.5, verbose: bool = False, CONFIG=INJECTED): ...
    --data-path, -d   required          also as --data_path
    --threshold, -t   float, default 0.5
    --verbose, -v / --no-verbose

The type comes from the hint, else from the default. A hint that no text can be turned into is an error when the
function is decorated, not when somebody runs the script.
"""

from __future__ import annotations

import enum
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple

from runark.errors import InvalidArgument
from runark.session.injected import is_injected

__all__ = ["INJECTABLE", "CommandLine", "Kind", "Option", "Refused", "inspect_function"]

INJECTABLE = ("CONFIG", "plt", "COLORS", "rngg", "rng", "logger")

_SIMPLE = ((numbers.Integral, "INT"), (numbers.Real, "FLOAT"), (numbers.Complex, "COMPLEX"), (str, "TEXT"))
_SEQUENCES = (list, tuple, set, frozenset)
_MISSING: Any = inspect.Parameter.empty


class Kind(NamedTuple):
    """How text becomes a value."""

    convert: Callable[[str], Any]
    name: str
    """What --help calls it."""
    nargs: int | str | None = None
    collect: Callable[[list[Any]], Any] | None = None
    """What makes the value from several."""
    is_bool: bool = False


class _Unparsable(Exception):
    """A hint no text can be turned into."""


class Refused(ValueError):
    """A text that is no such value; says why."""


class Option(NamedTuple):
    name: str
    kind: Kind
    default: Any

    @property
    def required(self) -> bool:
        return self.default is _MISSING


class CommandLine(NamedTuple):
    """The options of a function and the names it wants injected."""

    function: Callable[..., Any]
    options: tuple[Option, ...]
    injected: tuple[str, ...]

    def parse(self, argv: Sequence[str] | None) -> dict[str, Any]:
        """Values by parameter. `None`: there is no command line (a notebook, a test): the defaults.

        A usage error or `--help` ends the process (2, 0), as argparse does. Raises `InvalidArgument` without a command
        line if a value is needed.
        """
        if argv is None:
            for option in self.options:
                if option.required:
                    raise InvalidArgument(f"{self._shown} needs {option.name!r}: call it with {option.name}=...")
        elif argv or any(option.required for option in self.options):
            from runark.session.parser import parse  # argparse; not needed where there is nothing to parse

            return parse(self.function, self.options, argv)
        return {option.name: option.default for option in self.options}

    def call(self, values: dict[str, Any], injected: dict[str, Any]) -> Any:
        """Calls the function. Positional-only parameters get their values by place."""
        everything = {**values, **injected}
        places = [
            everything.pop(parameter.name)
            for parameter in inspect.signature(self.function).parameters.values()
            if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name in everything
        ]
        return self.function(*places, **everything)

    @property
    def _shown(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


def inspect_function(function: Callable[..., Any]) -> CommandLine:
    """Reads the signature. Raises `InvalidArgument` naming the parameter that cannot be an option."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function) or isinstance(function, type):
        raise InvalidArgument(f"@session is for functions that run and return; {function!r} is a class or a generator")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"@session is for functions; {function!r} is none") from error
    shown = getattr(function, "__name__", repr(function))
    options, injected = [], []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if is_injected(parameter.default):
            if parameter.name not in INJECTABLE:
                raise InvalidArgument(
                    f"{shown}: parameter {parameter.name!r} is INJECTED, but only {', '.join(INJECTABLE)} can be"
                )
            injected.append(parameter.name)
            continue
        try:
            kind = _kind(_resolve(parameter.annotation, function), parameter.default)
        except _Unparsable as error:
            raise InvalidArgument(f"{shown}: parameter {parameter.name!r}: {error}") from None
        options.append(Option(parameter.name, kind, _converted(kind, parameter.default)))
    return CommandLine(function, tuple(options), tuple(injected))


def _converted(kind: Kind, default: Any) -> Any:
    """A default that is text as the hint has it: `path: Path = "a.csv"` gives a Path, as the command line would."""
    if not isinstance(default, str) or kind.nargs is not None or kind.is_bool:
        return default
    try:
        return kind.convert(default)
    except (ValueError, TypeError, ArithmeticError):
        return default


# ------------------------------------------------------------------------------------------------- kinds


def _resolve(hint: Any, function: Callable[..., Any]) -> Any:
    """The hint itself, where annotations are text."""
    if hint is _MISSING:
        return hint
    holder = types.SimpleNamespace(__annotations__={"it": hint})
    try:
        return typing.get_type_hints(holder, globalns=inspect.unwrap(function).__globals__)["it"]
    except Exception as error:  # noqa: BLE001 - a hint is any expression
        raise _Unparsable(f"its hint {hint!r} cannot be read: {error}") from None


def _kind(hint: Any, default: Any) -> Kind:
    if hint is _MISSING or hint is Any or hint is object:
        return _kind_of_default(default)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _kind(arguments[0], default)
    if origin is typing.Union or origin is types.UnionType:
        return _union(arguments, default)
    if origin is typing.Literal:
        return _choice({str(value): value for value in arguments})
    if hint in _SEQUENCES or origin in _SEQUENCES or _is_abstract_sequence(origin if origin is not None else hint):
        return _sequence(origin if origin is not None else hint, arguments)
    if isinstance(hint, type):
        return _plain(hint)
    if isinstance(hint, typing.NewType):
        return _kind(hint.__supertype__, default)
    raise _cannot(hint)


def _cannot(hint: Any) -> _Unparsable:
    name = hint.__name__ if isinstance(hint, type) else str(hint)
    return _Unparsable(f"no text can be turned into {name}; give it another hint or another default")


def _kind_of_default(default: Any) -> Kind:
    if default is _MISSING or default is None:
        return Kind(str, "TEXT")
    if isinstance(default, _SEQUENCES):
        items = {type(item) for item in default}
        any_number = (Ellipsis,) if isinstance(default, tuple) else ()
        return _sequence(type(default), (items.pop(), *any_number) if len(items) == 1 else any_number)
    return _plain(type(default))


def _plain(kind: type) -> Kind:
    if kind is bool:
        return Kind(_to_bool, "BOOL", is_bool=True)
    if issubclass(kind, enum.Enum):
        by_value = {str(member.value): member for member in kind}
        return _choice({name: kind[name] for name in kind.__members__}, by_value)
    if issubclass(kind, Path):
        return Kind(kind, "PATH")
    if f"{kind.__module__}.{kind.__name__}" in ("decimal.Decimal", "fractions.Fraction"):
        return Kind(kind, "NUMBER")
    for simple, name in _SIMPLE:
        if issubclass(kind, simple):  # numpy's numbers too
            return Kind(_named(kind, kind.__name__), name)
    for moment in (datetime, date, time):
        if kind is moment:
            return Kind(_named(moment.fromisoformat, moment.__name__), moment.__name__.upper())
    if kind is bytes:
        return Kind(_named(str.encode, "bytes"), "TEXT")
    if kind is type(None):
        return Kind(_to_none, "NONE")
    raise _cannot(kind)


def _union(arguments: Iterable[Any], default: Any) -> Kind:
    members = [member for member in arguments if member is not type(None)]
    optional = len(members) < len(list(arguments))
    kinds = [_kind(member, _MISSING) for member in members]
    if len(kinds) == 1:
        only = kinds[0]
        if not optional or only.is_bool or only.nargs is not None or members[0] is str:
            return only
        return Kind(_first_of([only, Kind(_to_none, "None")]), only.name)
    if any(kind.nargs is not None for kind in kinds):
        raise _Unparsable("a list is one of several things it may be; a command line cannot tell which is meant")
    order = sorted(zip(members, kinds, strict=True), key=lambda pair: pair[0] is str)  # text fits always, so last
    tried = [Kind(_to_bool, "BOOL") if kind.is_bool else kind for _, kind in order]
    if optional and str not in members:
        tried.append(Kind(_to_none, "None"))
    return Kind(_first_of(tried), "|".join(dict.fromkeys(kind.name for kind in tried)))


def _sequence(kind: Any, arguments: tuple[Any, ...]) -> Kind:
    build: Callable[[list[Any]], Any] = kind if kind in _SEQUENCES else list
    fixed = build is tuple and arguments and arguments[-1] is not Ellipsis
    inner = [argument for argument in arguments if argument is not Ellipsis]
    if fixed and len(set(map(repr, inner))) > 1:
        raise _Unparsable("a tuple of different types cannot come from a command line")
    item = _kind(inner[0], _MISSING) if inner else Kind(str, "TEXT")
    if item.nargs is not None:
        raise _Unparsable("a list of lists cannot come from a command line")
    convert = _to_bool if item.is_bool else item.convert
    return Kind(convert, item.name, len(inner) if fixed else "*", build)


def _is_abstract_sequence(kind: Any) -> bool:
    return getattr(kind, "__module__", "") == "collections.abc" and kind.__name__ in (
        "Sequence", "Iterable", "Collection", "MutableSequence", "Set",
    )  # fmt: skip


def _choice(values: dict[str, Any], others: dict[str, Any] | None = None) -> Kind:
    def convert(text: str) -> Any:
        if text in values:
            return values[text]
        if others is not None and text in others:
            return others[text]
        raise Refused(f"{text!r} is none of {', '.join(values)}")

    return Kind(convert, "{" + ",".join(values) + "}")


def _named(convert: Callable[[str], Any], name: str) -> Callable[[str], Any]:
    """So that argparse's complaint names the type: `invalid int value: 'x'`."""

    def converter(text: str) -> Any:
        return convert(text)

    converter.__name__ = name
    return converter


def _first_of(kinds: list[Kind]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        for kind in kinds:
            try:
                return kind.convert(text)
            except (ValueError, TypeError, ArithmeticError, Refused):
                continue
        raise Refused(f"{text!r} is none of {', '.join(kind.name for kind in kinds)}")

    return convert


def _to_none(text: str) -> None:
    if text.lower() != "none":
        raise ValueError(text)


def _to_bool(text: str) -> bool:
    values = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    if text.lower() not in values:
        raise Refused(f"{text!r} is neither true nor false")
    return values[text.lower()]
