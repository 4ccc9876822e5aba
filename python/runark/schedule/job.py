"""What is to be run, and when."""

from __future__ import annotations

import re
from typing import NamedTuple

from runark.errors import InvalidArgument
from runark.names import escape

__all__ = ["At", "Job", "parse_at"]

_AT = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


class At(NamedTuple):
    """A time of day, local."""

    hour: int
    minute: int

    def __str__(self) -> str:
        return f"{self.hour:02}:{self.minute:02}"


class Job(NamedTuple):
    """A command and its time.

    Words are text; bytes that are none stand in it as surrogates, as `os.fsdecode` has them.
    """

    words: tuple[str, ...]
    at: At
    minutes: int
    """How long it works at most, by its own budget."""
    name: str = "runark-nightly"

    def check(self) -> None:
        """Raises `InvalidArgument` for words that a line of text cannot hold."""
        for word in self.words:
            if any(char < " " or char == "\x7f" for char in word):
                raise InvalidArgument(f"{escape(word)}: no schedule can hold a path with line breaks; rename it")


def parse_at(text: str) -> At:
    """`HH:MM`. Raises `InvalidArgument` for anything else."""
    found = _AT.fullmatch(text.strip())
    if found is None:
        raise InvalidArgument(f"at: cannot read {text!r}; write a time of day as 02:30")
    return At(int(found[1]), int(found[2]))
