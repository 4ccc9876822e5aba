"""The policy in `runark.yaml`: every key below `nightly` is a flag of `runark nightly` without its dashes.

    nightly:
      roots: [/scratch/lab/out, $SCRATCH/runs]
      older-than: 30d
      status: [success, error]
      time-budget: 3h

A flag on the command line goes before the file. A key that is no flag, or a value the flag would not take, is an error
that names file, line and key. What only makes sense for one call (`--execute`, `--config`, `--json`) is no key.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from runark import configuration, patterns
from runark.archive.caps import parse_growth
from runark.archive.guard import cwd
from runark.archive.owners import parse_owner
from runark.archive.sizes import parse_bytes, parse_size
from runark.archive.timespec import parse_age, parse_time
from runark.archive.watch import Budget
from runark.configuration import Document
from runark.errors import InvalidArgument

if TYPE_CHECKING:
    from yaml import Node

__all__ = ["Setting", "config_option", "read_policy", "settings_of"]

_ONCE = frozenset(("help", "config", "execute", "as_json"))
_TAG = "tag:yaml.org,2002:"


def _now() -> int:
    return time.time_ns()


_CHECKS: dict[str, Callable[[str], object]] = {
    "older-than": lambda text: parse_age(text, _now()),
    "newer-than": lambda text: parse_age(text, _now()),
    "keep-within": lambda text: parse_age(text, _now()),
    "changed-before": lambda text: parse_time(text, _now()),
    "changed-within": lambda text: parse_time(text, _now()),
    "size": parse_size,
    "max-bytes": parse_bytes,
    "max-bytes-per-s": parse_bytes,
    "owner": parse_owner,
    "glob": patterns.glob,
    "exclude": patterns.glob,
    "keep-tag": patterns.glob,
    "regex": patterns.regex,
    "time-budget": lambda text: Budget.of(span=text),
    "max-growth": parse_growth,
    "until": lambda text: Budget.of(until=text),
}
"""Grammars that the flags themselves take as text; they raise `InvalidArgument`."""


class Setting:
    """A key: the flag it stands for."""

    def __init__(self, option: click.Option) -> None:
        self.option = option
        longest = max((name for name in option.opts if name.startswith("--")), key=len)
        self.key = longest.removeprefix("--")

    def read(self, document: Document, node: Node, ctx: click.Context) -> Any:
        """The value of the node, as the flag would have it. Raises `ConfigError`."""
        where = f"nightly.{self.key}"
        if self.option.multiple:
            single = node.tag != f"{_TAG}seq"
            nodes = [node] if single else document.sequence(node, where)
            return [self._one(document, one, where, ctx) for one in nodes]
        return self._one(document, node, where, ctx)

    def _one(self, document: Document, node: Node, where: str, ctx: click.Context) -> Any:
        kind = self.option.type
        text = document.text(node, where)
        wanted = ""
        if self.option.is_flag:
            wanted = "" if node.tag == f"{_TAG}bool" else "true or false"
        elif isinstance(kind, click.types.IntParamType):
            wanted = "" if node.tag == f"{_TAG}int" else "a whole number"
        elif isinstance(kind, click.types.FloatParamType):
            wanted = "" if node.tag in (f"{_TAG}int", f"{_TAG}float") else "a number"
        if wanted:
            raise document.complaint(node, where, f"must be {wanted}, not {text!r}")
        try:
            if self.key in _CHECKS:
                _CHECKS[self.key](text)
            return kind.convert(text, self.option, ctx)
        except InvalidArgument as error:
            raise document.complaint(node, where, str(error)) from error
        except click.BadParameter as error:
            raise document.complaint(node, where, error.message) from error


def settings_of(command: click.Command) -> dict[str, Setting]:
    """The keys of a command."""
    options = (param for param in command.params if isinstance(param, click.Option) and param.name not in _ONCE)
    return {setting.key: setting for setting in map(Setting, options)}


def read_policy(path: bytes, ctx: click.Context) -> dict[str, Any]:
    """The values of a file by the names of the command's parameters; `root` holds the roots. Raises `ConfigError`."""
    document = configuration.load(path)
    node = document.nodes.get("nightly")
    if node is None:
        return {}
    settings = settings_of(ctx.command)
    found: dict[str, Any] = {}
    for key, value in document.mapping(node, "nightly", {*settings, "roots"}).items():
        if key == "roots":
            found["root"] = [_root(document, one) for one in document.sequence(value, "nightly.roots")]
        else:
            name = settings[key].option.name
            assert name is not None
            found[name] = settings[key].read(document, value, ctx)
    return found


def _root(document: Document, node: Node) -> bytes:
    """A root, its variables replaced; an empty one would make another path of it."""
    text = document.text(node, "nightly.roots")
    for name in _variables(text):
        if not os.environ.get(name):
            raise document.complaint(node, "nightly.roots", f"{text!r}: the variable {name} is not set, or empty")
    path = os.fsencode(os.path.expanduser(os.path.expandvars(text)))
    if not os.path.isabs(path):
        raise document.complaint(node, "nightly.roots", f"{text!r} is no absolute path; the run may begin anywhere")
    return path


def _variables(text: str) -> list[str]:
    return [one or other for one, other in re.findall(r"\$(?:(\w+)|\{(\w+)\})", text)]


def config_option(command: Any) -> Any:
    """`--config`, read before every other flag: what the file says holds where the command line says nothing."""
    return click.option(
        "--config",
        type=click.Path(path_type=bytes),
        metavar="FILE",
        is_eager=True,
        callback=_use,
        help="The policy; by default ./runark.yaml.",
    )(command)


def _use(ctx: click.Context, _option: click.Parameter, given: bytes | None) -> bytes | None:
    path = given
    if path is None:
        here = cwd()
        path = None if here is None else configuration.find(here, here)
    if path is not None and not ctx.resilient_parsing:
        ctx.default_map = {**(ctx.default_map or {}), **read_policy(path, ctx)}
    return path
