"""Flags that several verbs share, and how they become one frozen value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, NamedTuple, TypeVar, cast

import click

from runark.archive.archive import MAX_FAILURES
from runark.archive.filters import Filters
from runark.archive.sizes import parse_bytes
from runark.engine import ENGINES
from runark.engine.protocol import FORMATS, STATUSES, Limits

__all__ = [
    "Common",
    "common_options",
    "common_options_with",
    "events_option",
    "filter_options",
    "json_option",
    "limit_option",
    "limits_options",
    "load_options",
    "pack_options",
    "paths_argument",
    "with_flags",
]

F = TypeVar("F", bound=Callable[..., Any])


class Common(NamedTuple):
    """What every verb takes."""

    engine: str
    jobs: int | None
    layouts: tuple[str, ...]
    config: bytes | None
    quiet: bool


def paths_argument(name: str, *, required: bool = True) -> Callable[[F], F]:
    """One or more paths, as bytes, unchecked: the verbs say more than click could."""
    shown = f"{name}..." if required else f"[{name}]..."
    return click.argument(name.lower(), metavar=shown, nargs=-1, required=required, type=click.Path(path_type=bytes))


def common_options(command: F) -> F:
    """The flags of `Common`; the command gets them as `common`."""
    return common_options_with(
        click.option("--config", type=click.Path(path_type=bytes), metavar="FILE", help="Instead of ROOT/runark.yaml.")
    )(command)


def common_options_with(config: Callable[[Any], Any]) -> Callable[[F], F]:
    """The flags of `Common`, with a `--config` of one's own."""

    def decorate(command: F) -> F:
        return _common_options(command, config)

    return decorate


def _common_options(command: F, config: Callable[[Any], Any]) -> F:

    def wrapped(*args: Any, **values: Any) -> Any:
        context = click.get_current_context()
        common = Common(
            engine=values.pop("engine") or (context.obj or {}).get("engine") or "auto",
            jobs=values.pop("jobs"),
            layouts=values.pop("layout"),
            config=values.pop("config"),
            quiet=values.pop("quiet"),
        )
        return command(*args, common=common, **values)

    flags = (
        click.option(
            "--engine", type=click.Choice(ENGINES), help="The engine; `auto`: native if installed, else pure."
        ),
        click.option(
            "--jobs", "-j", type=click.IntRange(1), metavar="N", help="Workers. Default: by cores and filesystem."
        ),
        click.option("--layout", multiple=True, metavar="NAME", help="Only sessions of this layout (repeatable)."),
        config,
        click.option("--quiet", "-q", is_flag=True, help="No progress and no summary; errors only."),
    )
    return _apply(flags, command, wrapped)


def filter_options(command: F) -> F:
    """The flags of `Filters`; the command gets them as `filters`."""

    def wrapped(*args: Any, **values: Any) -> Any:
        fields = {name: values.pop(name) for name in Filters.__dataclass_fields__}
        return command(*args, filters=Filters(**fields), **values)

    statuses = tuple(status for status in STATUSES if status != "running")
    flags = (
        click.option(
            "--glob", "-g", multiple=True, metavar="GLOB", help="Sessions with such a name (repeatable, any of them)."
        ),
        click.option("--regex", multiple=True, metavar="REGEX", help="... in whose name this is found."),
        click.option("--fixed", "-F", multiple=True, metavar="TEXT", help="... in whose name this text stands."),
        click.option("--exclude", "-E", multiple=True, metavar="GLOB", help="Neither take nor enter such directories."),
        click.option(
            "--older-than", metavar="AGE", help="Nothing in them changed since: 30 (days), 36h, 2weeks, 2026-01-31."
        ),
        click.option("--newer-than", metavar="AGE", help="Something in them changed since."),
        click.option(
            "--changed-before", metavar="TIME", help="The directory itself changed before: 30d, 2026-01-31, @unix."
        ),
        click.option("--changed-within", metavar="TIME", help="The directory itself changed after."),
        click.option("--size", "-S", multiple=True, metavar="SIZE", help="+1M at least, -10k at most (repeatable)."),
        click.option("--owner", "-o", metavar="OWNER", help="[!]user|uid[:[!]group|gid]."),
        click.option("--status", multiple=True, type=click.Choice(statuses), help="Only such sessions (repeatable)."),
        click.option(
            "--min-depth",
            type=click.IntRange(0),
            default=0,
            metavar="N",
            help="Less deep ones are left out; ROOT is 0.",
        ),
        click.option("--max-depth", type=click.IntRange(0), metavar="N", help="Deeper directories are not looked at."),
        click.option(
            "--one-file-system/--cross-file-systems", default=True, help="Stay on ROOT's filesystem (default) or not."
        ),
    )
    return _apply(flags, command, wrapped)


def limits_options(command: F) -> F:
    """The flags of `Limits`; the command gets them as `limits`."""
    default = Limits()

    def wrapped(*args: Any, **values: Any) -> Any:
        fields = {name: values.pop(name) for name in ("max_entries", "max_bytes", "max_ratio")}
        return command(*args, limits=Limits(**fields), **values)

    helps = {
        "max_entries": "Refuse archives with more members.",
        "max_bytes": "Refuse archives with more content.",
        "max_ratio": "Refuse archives without a seal that grow more than so many times.",
    }
    flags = tuple(
        click.option(
            "--" + name.replace("_", "-"),
            type=click.IntRange(1),
            default=getattr(default, name),
            show_default=True,
            metavar="N",
            help=text,
        )
        for name, text in helps.items()
    )
    return _apply(flags, command, wrapped)


def pack_options(command: F) -> F:
    """How archives are made, and when to stop; the command gets `format_`, `level`, `verify`, `max_failures`."""
    return with_flags(
        click.option(
            "--format",
            "format_",
            type=click.Choice(FORMATS),
            default="tar.gz",
            show_default=True,
            help="Of the archives.",
        ),
        click.option("--level", type=int, metavar="N", help="gz 1-9 (default 1), zst 1-19 (3), xz 0-9 (6)."),
        click.option(
            "--verify",
            type=click.Choice(("hash", "compare")),
            default="hash",
            show_default=True,
            help="Read each archive again and hash it, or compare it with its session as well.",
        ),
        click.option(
            "--max-failures",
            type=click.IntRange(0),
            default=MAX_FAILURES,
            metavar="N",
            show_default=True,
            help="Stop when more have failed; exit 4.",
        ),
    )(command)


def json_option(command: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(command)


def limit_option(default: int) -> Callable[[F], F]:
    """`--limit`."""
    return click.option(
        "--limit",
        type=click.IntRange(0),
        default=default,
        metavar="N",
        help="Rows of a table; 0: all.",
        show_default=True,
    )


class _Rate(click.Option):
    """An option that is also called `.../s`: click alone would take the slash for "on/off"."""

    def __init__(self, decls: Sequence[str], **attributes: Any) -> None:
        super().__init__(decls, **attributes)
        self.opts[:0] = [name.removesuffix("-per-s") + "/s" for name in self.opts if name.endswith("-per-s")]


def _bytes(_ctx: click.Context, _option: click.Parameter, text: str) -> int:
    return parse_bytes(text)


def load_options(*, back_off: bool) -> Callable[[F], F]:
    """`--max-ops/s`, `--max-bytes/s`, `--back-off`; the command gets `max_ops`, `max_bytes_s`, `back_off`.

    `back_off`: its default.
    """
    flags = (
        click.option(
            "--max-ops-per-s",
            "max_ops",
            cls=_Rate,
            type=click.FloatRange(0),
            default=0.0,
            metavar="N",
            help="At most so many filesystem operations a second, of all workers together.",
        ),
        click.option(
            "--max-bytes-per-s",
            "max_bytes_s",
            cls=_Rate,
            callback=_bytes,
            default="0b",
            metavar="SIZE",
            help="Read at most so much of the sessions a second: 50M.",
        ),
        click.option(
            "--back-off/--no-back-off",
            default=back_off,
            show_default=True,
            help="Fewer workers while the filesystem is slow to answer.",
        ),
    )
    return with_flags(*flags)


def events_option(command: F) -> F:
    """`--events`."""
    return click.option(
        "--events", type=click.Path(path_type=bytes), metavar="FILE", help="Add a JSON line to FILE for each session."
    )(command)


def with_flags(*flags: Callable[[Any], Any]) -> Callable[[F], F]:
    """These flags, in this order, in one decorator."""

    def decorate(command: F) -> F:
        for flag in reversed(flags):
            command = flag(command)
        return command

    return decorate


def _apply(flags: tuple[Callable[[Any], Any], ...], command: F, wrapped: Callable[..., Any]) -> F:
    """Let `wrapped` stand for `command`, with these flags besides those it has; click keeps them in an attribute."""
    return with_flags(*flags)(cast(F, update_wrapper(wrapped, command)))
