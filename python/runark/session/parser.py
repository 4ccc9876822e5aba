"""The command line itself: argparse, from the options of a function."""

from __future__ import annotations

import argparse
import enum
import re
from collections.abc import Callable, Sequence
from typing import Any

from runark.session.command_line import Option, Refused
from runark.session.docstring import parse as parse_docstring

__all__ = ["parse"]

# Python before 3.14 takes -1e-3 for an option.
_NEGATIVE = re.compile(r"-(?:(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[jJ]?|inf|nan)\Z")


def parse(function: Callable[..., Any], options: Sequence[Option], argv: Sequence[str]) -> dict[str, Any]:
    """Values by parameter. A usage error or `--help` ends the process (2, 0)."""
    parser, names = _parser(function, options)
    found = vars(parser.parse_args(_with_hyphens(argv, names)))
    values = {}
    for option in options:
        value = found[option.name]
        if option.kind.collect is not None and isinstance(value, list) and value is not option.default:
            value = option.kind.collect(value)
        values[option.name] = value
    return values


def _parser(function: Callable[..., Any], options: Sequence[Option]) -> tuple[argparse.ArgumentParser, set[str]]:
    description, texts = parse_docstring(function.__doc__, [option.name for option in options])
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser._negative_number_matcher = _NEGATIVE
    taken, longs = {"h"}, {"--help"}
    own = {f"--{option.name.replace('_', '-')}" for option in options}
    for option in options:
        long = _long(option.name, longs)
        longs.add(long)
        free = (f"-{char}" for char in option.name if char.isalpha() and char.isascii() and char not in taken)
        short = next(free, None)
        if short is not None:
            taken.add(short[1])
        _add(parser, option, [*([short] if short else []), long], texts.get(option.name, ""), own)
    return parser, longs


def _add(parser: argparse.ArgumentParser, option: Option, flags: list[str], text: str, own: set[str]) -> None:
    kind = option.kind
    note = "required" if option.required else f"default: {_shown(option.default)}"
    settings: dict[str, Any] = {
        "dest": option.name,
        "help": f"{text} ({note})".strip().replace("%", "%%"),
        "required": option.required,
    }
    if not option.required:
        settings["default"] = option.default
    if kind.is_bool:
        settings.update(action=_Flag, taken=own)
    else:
        several = isinstance(kind.nargs, int)
        settings["metavar"] = (kind.name,) * int(kind.nargs or 0) if several else kind.name
        settings.update(type=_converter(kind.convert), nargs=kind.nargs)
    parser.add_argument(*flags, **settings)


def _converter(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def converter(text: str) -> Any:
        try:
            return convert(text)
        except Refused as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        except ArithmeticError:
            raise ValueError(text) from None

    converter.__name__ = getattr(convert, "__name__", "value")  # argparse says: invalid int value
    return converter


class _Flag(argparse.Action):
    """`--flag` and, unless a parameter has that name, `--no-flag`; a short form, if there is one, switches it on."""

    def __init__(self, option_strings: Sequence[str], dest: str, taken: set[str], **more: Any) -> None:
        off = [f"--no-{flag[2:]}" for flag in option_strings if flag.startswith("--")]
        self._off = [flag for flag in off if flag not in taken]
        super().__init__([*option_strings, *self._off], dest, nargs=0, **more)

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, option_string not in self._off)

    def format_usage(self) -> str:
        return " | ".join(flag for flag in self.option_strings if flag.startswith("--"))


def _long(name: str, taken: set[str]) -> str:
    """`--data-path` for `data_path`; a parameter called `help` is `--help-value`."""
    long = "--" + (name.strip("_").replace("_", "-") or name)
    if long in taken:
        long = f"{long}-value" if long == "--help" else f"--{name}"
    return long


def _with_hyphens(argv: Sequence[str], names: set[str]) -> list[str]:
    """`--data_path` is `--data-path`."""
    result, plain = [], False
    for word in argv:
        plain = plain or word == "--"
        flag, equals, value = word.partition("=")
        if not plain and flag.startswith("--") and "_" in flag:
            hyphened = flag.replace("_", "-")
            if hyphened in names or hyphened.replace("--no-", "--", 1) in names:
                word = f"{hyphened}{equals}{value}"
        result.append(word)
    return result


def _shown(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return value.name
    return str(value) if not isinstance(value, str) or value else "''"
