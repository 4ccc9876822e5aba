"""Layouts: what a session directory looks like, and when it was started.

A layout recognises a session by its name, if need be by its parent's name and by a marker that must lie in it.
Built in are those below; others come from `runark.yaml`:

    layouts:
      - name: sweep
        pattern: 'trial-(?P<time>[0-9]{8}T[0-9]{6})-.*'   # the whole name
        parent: 'sweep_.*'                                 # optional: the whole name of the directory above
        marker: done.flag                                  # optional: a relative path that must exist in it
        time: '%Y%m%dT%H%M%S'                              # optional: as strptime reads it

User layouts are tried before the built-in ones. Patterns are regular expressions in the form of `runark.patterns`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from runark import configuration
from runark.configuration import Document
from runark.engine.protocol import Rule
from runark.errors import InvalidArgument
from runark.patterns import regex
from runark.record import MARKER

if TYPE_CHECKING:
    from yaml import Node

__all__ = ["BUILT_IN", "Layout", "choose", "load_config", "rules_of", "started", "time_text"]


@dataclass(frozen=True)
class Layout:
    """A rule, and how the start of a session is read from its name."""

    rule: Rule
    time: str = ""
    """As `strptime` reads it; empty: the name tells no time. The text is the group `time` of the parent's pattern and
    of the name's pattern, joined by a space if both have one."""
    origin: str = "built in"

    @property
    def name(self) -> str:
        return self.rule.name


def _built_in(name: str, pattern: str, time: str, parent: str | None = None, marker: bytes | None = None) -> Layout:
    return Layout(Rule(name, regex(pattern), regex(parent) if parent else None, marker), time)


# A suffix is any text, line breaks too, as the names of functions and datasets end up in it.
_REST = r"[\x00-\xff]+"
_ANY = r"[\x00-\xff]*"

BUILT_IN: tuple[Layout, ...] = (
    _built_in(
        "scitex",
        rf"(?:DEBUG_)?(?P<time>\d{{4}}Y-\d{{2}}M-\d{{2}}D-\d{{2}}h\d{{2}}m\d{{2}}s)_[0-9A-Za-z]{{4}}(?:-{_REST})?",
        "%YY-%mM-%dD-%Hh%Mm%Ss",
    ),
    _built_in(
        "workdir",
        # Whatever their prefix: the marker says whose they are.
        rf"(?:[^.]{_ANY})?(?P<time>\d{{4}}-\d{{2}}-\d{{2}}-\d{{2}}-\d{{2}}-\d{{2}})(?:[-_]{_REST})?",
        "%Y-%m-%d-%H-%M-%S",
        marker=MARKER,
    ),
    _built_in(
        "hydra",
        r"(?P<time>\d{2}-\d{2}-\d{2})",
        "%Y-%m-%d %H-%M-%S",
        parent=r"(?P<time>\d{4}-\d{2}-\d{2})",
        marker=b".hydra",
    ),
    _built_in("wandb", r"(?:offline-)?run-(?P<time>\d{8}_\d{6})-[0-9A-Za-z_-]+", "%Y%m%d_%H%M%S"),
)


def choose(names: Sequence[str] = (), user: Sequence[Layout] = ()) -> tuple[Layout, ...]:
    """The layouts called `names` (all, if empty), those of the user first.

    Raises `InvalidArgument` for a name no layout has.
    """
    layouts = (*user, *BUILT_IN)
    unknown = set(names) - {layout.name for layout in layouts}
    if unknown:
        known = ", ".join(layout.name for layout in layouts)
        raise InvalidArgument(f"no layout is called {min(unknown)!r}; known are {known} (see {configuration.NAME})")
    return tuple(layout for layout in layouts if not names or layout.name in names)


def rules_of(layouts: Sequence[Layout]) -> tuple[Rule, ...]:
    """The rules, in order, as the engine wants them."""
    return tuple(layout.rule for layout in layouts)


def started(layout: Layout, path: bytes) -> datetime | None:
    """When the session began, by its name: local time without a zone. None if the name tells no (possible) time."""
    text = time_text(layout, path)
    if text is None:
        return None
    try:
        return datetime.strptime(text, layout.time)
    except ValueError:  # 2026-13-45 has the shape of a date and is none
        return None


def time_text(layout: Layout, path: bytes) -> str | None:
    """What the names say about the start, as `layout.time` reads it. None if the layout tells no time."""
    if not layout.time:
        return None
    parent, _, name = path.rpartition(b"/")
    parts: list[str] = []
    for pattern, text in ((layout.rule.parent, parent.rpartition(b"/")[2]), (layout.rule.pattern, name)):
        found = re.fullmatch(pattern, text) if pattern is not None else None
        if found is not None and "time" in found.re.groupindex and found["time"] is not None:
            parts.append(found["time"].decode("latin-1"))
    return " ".join(parts)


# ------------------------------------------------------------------------------------------------ runark.yaml


def load_config(path: bytes) -> tuple[Layout, ...]:
    """The layouts of a `runark.yaml`. Raises `ConfigError` naming file, line and key."""
    return _Reader(configuration.load(path)).layouts()


class _Reader:
    """Reads layouts from the nodes of a document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._complaint = document.complaint

    def layouts(self) -> tuple[Layout, ...]:
        entries = self._document.nodes.get("layouts")
        if entries is None:
            return ()
        found: dict[str, Layout] = {}
        for number, entry in enumerate(self._document.sequence(entries, "layouts"), 1):
            key = f"layouts[{number}]"
            layout = self._layout(entry, key)
            if layout.name in found or any(layout.name == known.name for known in BUILT_IN):
                raise self._complaint(entry, f"{key}.name", f"there is a layout called {layout.name!r} already")
            found[layout.name] = layout
        return tuple(found.values())

    def _layout(self, entry: Node, key: str) -> Layout:
        nodes = self._document.mapping(entry, key, {"name", "pattern", "parent", "marker", "time"})
        texts = {name: self._document.text(node, f"{key}.{name}") for name, node in nodes.items()}
        for needed in ("name", "pattern"):
            if needed not in texts:
                raise self._complaint(entry, key, f"{needed!r} is missing")
        name = texts["name"]
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise self._complaint(nodes["name"], f"{key}.name", "may hold letters, digits, '_', '.' and '-' only")
        patterns: dict[str, bytes] = {}
        for part in ("pattern", "parent"):
            if part in texts:
                try:
                    patterns[part] = regex(texts[part], f"the {part} of layout {name!r}")
                except InvalidArgument as error:
                    raise self._complaint(nodes[part], f"{key}.{part}", str(error)) from error
        if re.fullmatch(patterns["pattern"], b"") or re.fullmatch(patterns["pattern"], b".runark"):
            raise self._complaint(nodes["pattern"], f"{key}.pattern", "matches any name; say what sessions are called")
        marker = texts.get("marker")
        if marker is not None and (
            marker.startswith("/") or "\0" in marker or any(part in ("", ".", "..") for part in marker.split("/"))
        ):
            raise self._complaint(nodes["marker"], f"{key}.marker", f"{marker!r} is not a plain relative path")
        time = texts.get("time", "")
        if time:
            self._check_time(nodes["time"], f"{key}.time", time, texts)
        rule = Rule(name, patterns["pattern"], patterns.get("parent"), marker.encode() if marker else None)
        return Layout(rule, time, self._document.shown)

    def _check_time(self, node: Node, key: str, time: str, texts: dict[str, str]) -> None:
        try:
            datetime.strptime(datetime(2026, 2, 13, 14, 30, 15).strftime(time), time)
        except ValueError as error:
            raise self._complaint(node, key, f"{time!r} is not a format strptime reads: {error}") from error
        if not any("(?P<time>" in texts.get(part, "") for part in ("pattern", "parent")):
            raise self._complaint(node, key, "mark where the time stands in the pattern: (?P<time>...)")
