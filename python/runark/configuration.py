"""`runark.yaml`: finding it, and reading its nodes so that every complaint can name file, line and key.

    layouts: [...]    what sessions are called      (runark.layouts)
    nightly: {...}    what `runark nightly` does    (runark.cli.policy)

The file is looked for in the root, then in the working directory, unless it is named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from typing import TYPE_CHECKING

from runark.errors import ConfigError
from runark.names import escape

if TYPE_CHECKING:
    from yaml import Node

__all__ = ["NAME", "Document", "find", "load"]

NAME = "runark.yaml"
_KEYS = ("layouts", "nightly")
_MAX = 1 << 20
_NULL = "tag:yaml.org,2002:null"


class Document:
    """The nodes of a file, and how to read them. Every method raises `ConfigError`."""

    def __init__(self, shown: str, nodes: dict[str, Node]) -> None:
        """`shown`: the file's name for people; `nodes`: those at the top, by key."""
        self.shown, self.nodes = shown, nodes

    def complaint(self, node: Node, key: str, why: str) -> ConfigError:
        return ConfigError(f"{self.shown}, line {node.start_mark.line + 1}, {key}: {why}")

    def mapping(self, node: Node, key: str, allowed: Collection[str]) -> dict[str, Node]:
        """The values of a mapping by key, each key known and there once."""
        import yaml

        if node.tag == _NULL:
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise self.complaint(node, key, f"must be a mapping with {', '.join(sorted(allowed))}")
        entries: dict[str, Node] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise self.complaint(name, key, "a key must be a text")
            if name.value not in allowed:
                raise self.complaint(name, f"{key}.{name.value}", f"unknown key; known: {', '.join(sorted(allowed))}")
            if name.value in entries:
                raise self.complaint(name, f"{key}.{name.value}", "stands here twice")
            entries[name.value] = value
        return entries

    def sequence(self, node: Node, key: str) -> list[Node]:
        """The values of a list."""
        import yaml

        if node.tag == _NULL:
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self.complaint(node, key, "must be a list")
        return list(node.value)

    def text(self, node: Node, key: str) -> str:
        """A scalar as it is written."""
        import yaml

        if not isinstance(node, yaml.ScalarNode) or not node.value or node.tag == _NULL:
            raise self.complaint(node, key, "must be a text")
        return str(node.value)


def find(root: bytes, cwd: bytes) -> bytes | None:
    """The configuration that holds for `root`: the one in it, else the one in the working directory.

    A file that belongs to somebody else than the user and root is refused with `ConfigError`: it decides what is
    archived, and whoever can write into a shared root could put one there.
    """
    for directory in (root, cwd):
        path = os.path.join(directory, NAME.encode())
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


def load(path: bytes) -> Document:
    """The file's nodes. Raises `ConfigError`."""
    import yaml

    shown = escape(path)
    try:
        with open(path, "rb") as stream:
            text = stream.read(_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{shown}: {error.strerror}; name a readable file with --config") from error
    if len(text) > _MAX:
        raise ConfigError(f"{shown}: larger than {_MAX} bytes; is it the right file?")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{shown}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError as error:
        raise ConfigError(f"{shown}: too deeply nested; is it the right file?") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: not UTF-8 at byte {error.start}") from error
    document = Document(shown, {})
    if node is not None:
        document.nodes = document.mapping(node, "(top)", _KEYS)
    return document
