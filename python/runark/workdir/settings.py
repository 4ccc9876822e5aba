"""The settings: the environment variables, their types, defaults and descriptions.

A value is looked for in this order: the constructor's argument, the variable, the variable in `env_file`, the default.
Fields are called as the variables are, without the `env_prefix`; docs/workdir.md gets its tables from them. Nothing is
written to the environment.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from dotenv.parser import parse_stream
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from runark.errors import InvalidArgument
from runark.names import PathLike, escape

__all__ = ["Level", "LogVariables", "SessionDirVariables", "resolve"]

Level = Literal["debug", "info", "warning", "error", "critical"]

_LONGEST_NAME = 219
"""Bytes of a session's name; an archive of a longer one could not be made (docs/durability.md)."""


def _part_of_name(text: str) -> str:
    if "/" in text or "\0" in text:
        raise ValueError("cannot be part of a name: no '/'")
    return text


def _prefix(text: str) -> str:
    if text.startswith("."):
        raise ValueError("names that begin with '.' are for what is under way")
    if len(os.fsencode(text)) > _LONGEST_NAME // 2:
        raise ValueError(f"longer than {_LONGEST_NAME // 2} bytes")
    return _part_of_name(text)


def _timestamp_format(text: str) -> str:
    import time

    made = time.strftime(text, time.localtime(0))
    if not made or made.startswith("."):
        raise ValueError("makes a name that is empty or begins with '.'")
    if len(os.fsencode(made)) > _LONGEST_NAME // 3:
        raise ValueError(f"makes more than {_LONGEST_NAME // 3} bytes")
    _part_of_name(made)
    return text


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _message_format(text: str | None) -> str | None:
    if text is not None:
        record = logging.LogRecord("name", logging.INFO, "path", 1, "message", None, None, "function")
        try:
            logging.Formatter(text).format(record)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not a format of logging: {error}") from None
    return text


class _Variables(BaseSettings):
    model_config = SettingsConfigDict(case_sensitive=True, extra="ignore", env_file_encoding="utf-8-sig")


class SessionDirVariables(_Variables):
    """What `SessionDir` reads."""

    SESSION_DIR_PREFIX: Annotated[str, AfterValidator(_prefix)] = Field(
        "session_", description="Prefix for session directory names"
    )
    SESSION_DIR_TIMESTAMP_FORMAT: Annotated[str, AfterValidator(_timestamp_format)] = Field(
        "%Y-%m-%d-%H-%M-%S", description="strftime format for directory timestamp"
    )
    SESSION_DIR_MAX_SESSION_DIRS: int = Field(
        20, ge=-1, description="Maximum session directories to keep (-1 = unlimited)"
    )
    SESSION_DIR_MAX_AGE_DAYS: int = Field(10, ge=-1, description="Maximum age in days before deletion (-1 = unlimited)")


class LogVariables(_Variables):
    """What `LogConfig` reads."""

    SESSION_LOG_FILE_PATH: Annotated[Path | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="Log file path (relative or absolute). None disables file logging"
    )
    SESSION_LOG_LEVEL: Annotated[Level, BeforeValidator(_lower)] = Field(
        "warning", description="Minimum log level (debug/info/warning/error/critical)"
    )
    SESSION_LOG_CONSOLE_ENABLED: bool = Field(False, description="Duplicate logs to stderr (true/false)")
    SESSION_LOG_COLOR_ENABLED: bool = Field(False, description="ANSI color codes in console output (true/false)")
    SESSION_LOG_MESSAGE_FORMAT: Annotated[
        str | None, BeforeValidator(_none_if_empty), AfterValidator(_message_format)
    ] = Field(None, description="Custom log message format string, as for logging.Formatter")


_V = TypeVar("_V", bound=_Variables)


def resolve(
    kind: type[_V],
    arguments: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    env_prefix: str,
    env_file: PathLike | None,
) -> _V:
    """The settings of `kind`. `arguments` and `defaults`: variable -> value, None for one that is not given.

    A missing `env_file` is as an empty one. Raises `InvalidArgument` naming the variable (the argument, if the value
    comes from there) and what it may be.
    """
    file = _checked(env_file, [env_prefix + name for name in kind.model_fields])
    given = {name: value for name, value in arguments.items() if value is not None}
    fallback: dict[str, Any] = {}
    values: dict[str, Any] = {"_env_prefix": env_prefix, "_env_file": file}
    try:
        found = kind(**values, **given)
        for name, value in (defaults or {}).items():
            if value is not None and name not in found.model_fields_set:
                fallback[name] = value
        return kind(**values, **given, **fallback) if fallback else found
    except ValidationError as error:
        raise InvalidArgument(_told(kind, error, given, fallback, env_prefix)) from None


def _checked(env_file: PathLike | None, variables: Collection[str]) -> Path | None:
    """The file, if it is there. A line with one of the variables that dotenv would pass over is an error."""
    if env_file is None:
        return None
    file = Path(os.fsdecode(env_file))
    shown = escape(os.fsencode(file))
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidArgument(f"env_file {shown}: {error.strerror}; name a readable file") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"env_file {shown}: {error}; it has to be UTF-8") from error
    for line in parse_stream(io.StringIO(text)):
        source = line.original.string.strip()
        if line.error and any(name in source for name in variables):
            raise InvalidArgument(f"env_file {shown}: {source!r} does not parse; write NAME=value, quotes in pairs")
        if line.value is None and line.key in variables:
            raise InvalidArgument(f"env_file {shown}: {source!r} has no value; write NAME=value")
    return file


def _told(
    kind: type[_Variables],
    error: ValidationError,
    given: Mapping[str, Any],
    fallback: Mapping[str, Any],
    env_prefix: str,
) -> str:
    first = error.errors()[0]
    variable = str(first["loc"][0])
    argument = variable.removeprefix("SESSION_DIR_").removeprefix("SESSION_LOG_").lower()
    name = argument if variable in given else f"default_{argument}" if variable in fallback else env_prefix + variable
    why = first["msg"].removeprefix("Value error, ")
    return f"{name}={first['input']!r}: {why[:1].lower()}{why[1:]} ({kind.model_fields[variable].description})"
