"""LogConfig: what of a session's log goes where.

From a record to the file: the logger of `logger_name` (root, unless named) gets a handler while sessions run, which
gives each record to the session it belongs to (`runark.workdir.routing`).
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from runark.errors import OperationFailed
from runark.names import escape
from runark.workdir.settings import Level, LogVariables, resolve

__all__ = ["DEFAULT_FORMAT", "LogConfig"]

DEFAULT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_NUMBERS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_RESET = "\x1b[0m"
_COLORS = {"DEBUG": "\x1b[2m", "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m"}


class LogConfig:
    """Logging of a session, to a file, to the console, to both, or (the default) to neither."""

    def __init__(
        self,
        file_path: str | os.PathLike[str] | None = None,
        level: str | None = None,
        console_enabled: bool | None = None,
        color_enabled: bool | None = None,
        message_format: str | None = None,
        *,
        default_file_path: str | os.PathLike[str] | None = None,
        default_level: str | None = None,
        default_console_enabled: bool | None = None,
        default_color_enabled: bool | None = None,
        default_message_format: str | None = None,
        logger_name: str = "",
        env_prefix: str = "",
        env_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Settings that are not given come from the environment, then from `default_...` (docs/workdir.md).

        file_path        relative: in the session's directory, parents are made
        level            debug, info, warning, error or critical: the least that is logged
        console_enabled  standard error as well
        color_enabled    colours there; never in the file
        message_format   as for `logging.Formatter`
        logger_name      only this logger's records and those below it; empty: all
        env_prefix       put before the names of the environment variables
        env_file         file with variables; those of the environment have precedence

        Raises `InvalidArgument` for a value that does not parse, naming argument or variable.
        """
        found = resolve(
            LogVariables,
            {
                "SESSION_LOG_FILE_PATH": file_path,
                "SESSION_LOG_LEVEL": level,
                "SESSION_LOG_CONSOLE_ENABLED": console_enabled,
                "SESSION_LOG_COLOR_ENABLED": color_enabled,
                "SESSION_LOG_MESSAGE_FORMAT": message_format,
            },
            defaults={
                "SESSION_LOG_FILE_PATH": default_file_path,
                "SESSION_LOG_LEVEL": default_level,
                "SESSION_LOG_CONSOLE_ENABLED": default_console_enabled,
                "SESSION_LOG_COLOR_ENABLED": default_color_enabled,
                "SESSION_LOG_MESSAGE_FORMAT": default_message_format,
            },
            env_prefix=env_prefix,
            env_file=env_file,
        )
        self.file_path: Path | None = found.SESSION_LOG_FILE_PATH
        self.level: Level = found.SESSION_LOG_LEVEL
        self.console_enabled: bool = found.SESSION_LOG_CONSOLE_ENABLED
        self.color_enabled: bool = found.SESSION_LOG_COLOR_ENABLED
        self.message_format: str | None = found.SESSION_LOG_MESSAGE_FORMAT
        self.logger_name = logger_name

    @property
    def level_number(self) -> int:
        """The level as `logging` counts it."""
        return _NUMBERS[self.level]

    def handlers(self, directory: Path) -> list[logging.Handler]:
        """Handlers, open, for a session in this directory; none if nothing is to be logged.

        Raises `OperationFailed` if the file cannot be opened.
        """
        made: list[logging.Handler] = []
        text = self.message_format or DEFAULT_FORMAT
        if self.file_path is not None:
            file = _opened(directory / self.file_path)
            file.setFormatter(logging.Formatter(text))
            made.append(file)
        if self.console_enabled:
            console = logging.StreamHandler(sys.stderr)
            console.setFormatter(_Colored(text) if self.color_enabled else logging.Formatter(text))
            made.append(console)
        for handler in made:
            handler.setLevel(self.level_number)
        return made


class _Colored(logging.Formatter):
    """A line in the colour of its level."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        color = _COLORS.get(record.levelname)
        return f"{color}{text}{_RESET}" if color else text


def _opened(path: Path) -> logging.FileHandler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OperationFailed(
            f"{escape(os.fsencode(path))}: cannot open the log file: {error.strerror}; name another file_path"
        ) from error
