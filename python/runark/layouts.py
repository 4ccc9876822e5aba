"""Layouts: what a session directory looks like, and when it was started.

A layout recognises a session by its name, if need be by its parent's name and by a marker that must lie in it.
Built in are those below; others come from `runark.yaml`:

    layouts:
      - name: sweep
        pattern: 'trial-(?P<time>[0-9]{8}T[0-9]{6})-.*'   # the whole name
        parent: 'sweep_.*'                                 # optional: the whole name of the directory above
        marker: done.flag                                  # optional: a relative path that must exist in it
        time: '%Y%m%dT%H%M%S'                              # optional: as strptime reads it

The file is looked for in the root, then in the working directory, unless it is named. User layouts are tried before
the built-in ones. Patterns are regular expressions in the form of `runark.patterns`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from runark.engine.protocol import Rule
from runark.errors import ConfigError, InvalidArgument
from runark.names import escape
from runark.patterns import regex
from runark.record import MARKER

if TYPE_CHECKING:
    from yaml import Node

__all__ = ["BUILT_IN", "CONFIG_NAME", "Layout", "choose", "find_config", "load_config", "rules_of", "started"]

CONFIG_NAME = "runark.yaml"
_MAX_CONFIG = 1 << 20


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
        raise InvalidArgument(f"no layout is called {min(unknown)!r}; known are {known} (see {CONFIG_NAME})")
    return tuple(layout for layout in layouts if not names or layout.name in names)


def rules_of(layouts: Sequence[Layout]) -> tuple[Rule, ...]:
    """The rules, in order, as the engine wants them."""
    return tuple(layout.rule for layout in layouts)


def started(layout: Layout, path: bytes) -> datetime | None:
    """When the session began, by its name: local time without a zone. None if the name tells no (possible) time."""
    if not layout.time:
        return None
    parent, _, name = path.rpartition(b"/")
    parts: list[str] = []
    for pattern, text in ((layout.rule.parent, parent.rpartition(b"/")[2]), (layout.rule.pattern, name)):
        found = re.fullmatch(pattern, text) if pattern is not None else None
        if found is not None and "time" in found.re.groupindex and found["time"] is not None:
            parts.append(found["time"].decode("latin-1"))
    try:
        return datetime.strptime(" ".join(parts), layout.time)
    except ValueError:  # 2026-13-45 has the shape of a date and is none
        return None


# ------------------------------------------------------------------------------------------------ runark.yaml


def find_config(root: bytes, cwd: bytes) -> bytes | None:
    """The configuration that holds for `root`: the one in it, else the one in the working directory.

    A file that belongs to somebody else than the user and root is refused with `ConfigError`: it decides what is
    archived, and whoever can write into a shared root could put one there.
    """
    for directory in (root, cwd):
        path = os.path.join(directory, CONFIG_NAME.encode())
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ConfigError(f"{escape(path)}: {error.strerror}; make it readable or remove it") from error
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
            raise ConfigError(
                f"{escape(path)} belongs to another user or can be written by everybody;"
                f" name it with --config (config= in Python) to trust it, or remove it"
            )
        return path
    return None


def load_config(path: bytes) -> tuple[Layout, ...]:
    """The layouts of a `runark.yaml`. Raises `ConfigError` naming file, line and key."""
    import yaml

    shown = escape(path)
    try:
        with open(path, "rb") as stream:
            text = stream.read(_MAX_CONFIG + 1)
    except OSError as error:
        raise ConfigError(f"{shown}: {error.strerror}; name a readable file with --config") from error
    if len(text) > _MAX_CONFIG:
        raise ConfigError(f"{shown}: larger than {_MAX_CONFIG} bytes; is it the right file?")
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{shown}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: not UTF-8 at byte {error.start}") from error
    if document is None:
        return ()
    return _Config(shown).layouts(document)


class _Config:
    """Reads the nodes of the YAML document, so that every complaint can name its line."""

    def __init__(self, shown: str) -> None:
        import yaml

        self.shown, self._yaml = shown, yaml

    def complaint(self, node: Node, key: str, why: str) -> ConfigError:
        return ConfigError(f"{self.shown}, line {node.start_mark.line + 1}, {key}: {why}")

    def layouts(self, document: Node) -> tuple[Layout, ...]:
        top = self._mapping(document, "(top)", {"layouts"})
        entries = top.get("layouts")
        if entries is None or entries.tag == "tag:yaml.org,2002:null":
            return ()
        if not isinstance(entries, self._yaml.SequenceNode):
            raise self.complaint(entries, "layouts", "must be a list")
        found: dict[str, Layout] = {}
        for number, entry in enumerate(entries.value, 1):
            key = f"layouts[{number}]"
            layout = self._layout(entry, key)
            if layout.name in found or any(layout.name == known.name for known in BUILT_IN):
                raise self.complaint(entry, f"{key}.name", f"there is a layout called {layout.name!r} already")
            found[layout.name] = layout
        return tuple(found.values())

    def _layout(self, entry: Node, key: str) -> Layout:
        nodes = self._mapping(entry, key, {"name", "pattern", "parent", "marker", "time"})
        texts = {name: self._text(node, f"{key}.{name}") for name, node in nodes.items()}
        for needed in ("name", "pattern"):
            if needed not in texts:
                raise self.complaint(entry, key, f"{needed!r} is missing")
        name = texts["name"]
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise self.complaint(nodes["name"], f"{key}.name", "may hold letters, digits, '_', '.' and '-' only")
        patterns: dict[str, bytes] = {}
        for part in ("pattern", "parent"):
            if part in texts:
                try:
                    patterns[part] = regex(texts[part], f"the {part} of layout {name!r}")
                except InvalidArgument as error:
                    raise self.complaint(nodes[part], f"{key}.{part}", str(error)) from error
        if re.fullmatch(patterns["pattern"], b"") or re.fullmatch(patterns["pattern"], b".runark"):
            raise self.complaint(nodes["pattern"], f"{key}.pattern", "matches any name; say what sessions are called")
        marker = texts.get("marker")
        if marker is not None and (
            marker.startswith("/") or "\0" in marker or any(part in ("", ".", "..") for part in marker.split("/"))
        ):
            raise self.complaint(nodes["marker"], f"{key}.marker", f"{marker!r} is not a plain relative path")
        time = texts.get("time", "")
        if time:
            self._check_time(nodes["time"], f"{key}.time", time, texts)
        rule = Rule(name, patterns["pattern"], patterns.get("parent"), marker.encode() if marker else None)
        return Layout(rule, time, self.shown)

    def _check_time(self, node: Node, key: str, time: str, texts: dict[str, str]) -> None:
        try:
            datetime.strptime(datetime(2026, 2, 13, 14, 30, 15).strftime(time), time)
        except ValueError as error:
            raise self.complaint(node, key, f"{time!r} is not a format strptime reads: {error}") from error
        if not any("(?P<time>" in texts.get(part, "") for part in ("pattern", "parent")):
            raise self.complaint(node, key, "mark where the time stands in the pattern: (?P<time>...)")

    def _mapping(self, node: Node, key: str, allowed: set[str]) -> dict[str, Node]:
        if not isinstance(node, self._yaml.MappingNode):
            raise self.complaint(node, key, f"must be a mapping with {', '.join(sorted(allowed))}")
        entries: dict[str, Node] = {}
        for name, value in node.value:
            if name.value not in allowed:
                raise self.complaint(name, f"{key}.{name.value}", f"unknown key; known: {', '.join(sorted(allowed))}")
            if name.value in entries:
                raise self.complaint(name, f"{key}.{name.value}", "stands here twice")
            entries[name.value] = value
        return entries

    def _text(self, node: Node, key: str) -> str:
        if not isinstance(node, self._yaml.ScalarNode) or not node.value or node.tag == "tag:yaml.org,2002:null":
            raise self.complaint(node, key, "must be a text")
        return str(node.value)
