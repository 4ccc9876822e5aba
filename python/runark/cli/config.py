"""`runark config`: look at `runark.yaml` before the night does."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import click

from runark import configuration
from runark.archive.archive import check_options
from runark.archive.filters import Filters
from runark.archive.guard import cwd
from runark.cli import exit_codes
from runark.cli.nightly import nightly
from runark.cli.policy import read_policy, settings_of
from runark.errors import ConfigError, InvalidArgument
from runark.layouts import Layout, choose, load_config
from runark.names import escape

__all__ = ["config"]


@click.group()
def config() -> None:
    """Check runark.yaml, or show what it comes to."""


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=bytes))
def check(file: bytes | None) -> None:
    """Say whether FILE (by default ./runark.yaml) can be used, and whether its roots are there."""
    path = _path(file)
    layouts = load_config(path)
    values = _values(path)
    _together(path, values, layouts)
    missing = [root for root in values.get("root", ()) if not os.path.isdir(root)]
    for root in missing:
        print(f"{escape(path)}: the root {escape(root)} is not there", file=sys.stderr)
    number = len(values.get("root", ()))
    print(f"{escape(path)}: {number} roots, {len(layouts)} layouts, {len(values) - bool(number)} settings")
    sys.exit(exit_codes.NO_ROOT if missing else exit_codes.OK)


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=bytes))
def show(file: bytes | None) -> None:
    """Print the policy in force, as YAML: what FILE (by default ./runark.yaml) says, and the defaults as comments."""
    path = _path(file)
    values = _values(path)
    print("nightly:")
    print(f"  roots: {_yaml([escape(root) for root in values.get('root', ())])}")
    for key, setting in settings_of(nightly).items():
        name = setting.option.name
        assert name is not None
        if name in values:
            print(f"  {key}: {_yaml(_plain(values[name]))}")
        else:
            print(f"  # {key}: {_yaml(_default(setting.option))}")


def _together(path: bytes, values: dict[str, Any], layouts: tuple[Layout, ...]) -> None:
    """What each flag takes by itself may still make no sense together. Raises `ConfigError`."""
    fields = {name: values[name] for name in Filters.__dataclass_fields__ if name in values}
    try:
        check_options(values.get("format_", "tar.gz"), values.get("level"), 1, False, "hash")
        Filters(**fields).spec((), (), now_ns=time.time_ns(), jobs=1, measure=False)
        choose(values.get("layout", ()), layouts)
    except InvalidArgument as error:
        raise ConfigError(f"{escape(path)}, nightly: {error}") from error


def _path(file: bytes | None) -> bytes:
    here = cwd() or b"/"
    path = file or configuration.find(here, here)
    if path is None:
        raise ConfigError(f"there is no {configuration.NAME} in {escape(here)}; name a file")
    return path


def _values(path: bytes) -> dict[str, Any]:
    return read_policy(path, click.Context(nightly))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return escape(value)
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value


def _default(option: click.Option) -> Any:
    if option.multiple:
        return []
    if option.is_flag:
        return option.default is True
    return option.default if isinstance(option.default, str | int | float) else None  # newer click: not None either


def _yaml(value: Any) -> str:
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()
