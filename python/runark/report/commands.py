"""The commands that do what a report shows, and undo it, as a shell takes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from runark.archive.filters import Filters
from runark.archive.guard import check_roots
from runark.errors import RunarkError

__all__ = ["Commands", "commands_for", "shell_word"]

_PLAIN = re.compile(rb"[A-Za-z0-9_@%+=:,./-]+")


class Commands(NamedTuple):
    """`archive` prints the plan, with ` --execute` it carries it out; the option with the age comes between."""

    archive: str
    undo: str
    """Brings back everything that is archived below the roots."""
    undo_one: str
    """Brings one session back; NAME stands for it."""
    refused: str
    """Not empty: why `runark archive` does not take these roots."""

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


def commands_for(
    roots: Sequence[bytes], filters: Filters, layouts: Sequence[str] = (), config: bytes | None = None
) -> Commands:
    """filters   without an age"""
    words = [b"runark", b"archive", *roots, *_filter_words(filters)]
    for layout in layouts:
        words += [b"--layout", layout.encode()]
    if config is not None:
        words += [b"--config", config]
    try:
        check_roots(tuple(roots), changing=True)
        refused = ""
    except RunarkError as error:
        refused = str(error)
    undo = _line([b"runark", b"restore", *roots, b"--execute", b"--remove-archive"])
    return Commands(_line(words), undo, _line([b"runark", b"undo", roots[0], b"NAME", b"--execute"]), refused)


def shell_word(word: bytes) -> str:
    """The word in printable ASCII, quoted for bash, zsh and ksh where it has to be."""
    if word and _PLAIN.fullmatch(word):
        return word.decode()
    if all(32 <= byte < 127 and byte != ord("'") for byte in word):
        return f"'{word.decode()}'"
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\{byte:03o}"
        for byte in word
    )  # fmt: skip
    return f"$'{plain}'"


def _line(words: Sequence[bytes]) -> str:
    return " ".join(map(shell_word, words))


def _filter_words(filters: Filters) -> list[bytes]:
    """The options that stand for these filters."""
    default, words = Filters(), []
    for field in fields(Filters):
        value = getattr(filters, field.name)
        if value == getattr(default, field.name):
            continue
        option = "--" + field.name.replace("_", "-")
        if field.name == "one_file_system":
            words.append(b"--cross-file-systems")
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [f"{option}={one}".encode("utf-8", "surrogateescape")]
    return words
