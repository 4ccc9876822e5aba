"""YAML in and out: `./config/*.yaml` in, the record of the session out.

In, scalars are read as YAML 1.2's core schema has them: `1e-3` is a number; `no`, `12:30:00` and `2026-02-13` are
text. Out, whatever a YAML 1.1 or 1.2 reader could take for something else is quoted, so that both read the same.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from runark.errors import ConfigError
from runark.session.config import Config

__all__ = ["dump", "load_configs", "load_yaml"]

_SCALARS = (
    ("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), "tTfF"),
    ("tag:yaml.org,2002:int", re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        "-+0123456789.",
    ),
    ("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), "~nN\0"),
    ("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), "<"),
)

_MOST = 1_000_000
"""Values of a file with aliases."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _resolvers() -> dict[str | None, list[tuple[str, re.Pattern[str]]]]:
    table: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first in _SCALARS:
        for letter in first:
            table.setdefault("" if letter == "\0" else letter, []).append((tag, pattern))
    return table


class _Loader(_Base):  # type: ignore[misc]
    yaml_implicit_resolvers = _resolvers()

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return self.construct_document(node)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def construct_unique(self, node: yaml.MappingNode) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} stands here twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return self.construct_yaml_map(node)


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """How many values it stands for, aliases written out. Raises `yaml.YAMLError` if nobody could hold them."""
    known = counts.get(id(node))
    if known == 0:
        raise yaml.constructor.ConstructorError(None, None, "an alias stands for what it is part of", node.start_mark)
    if known is not None:
        return known
    counts[id(node)] = 0
    total = 1
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        total += sum(_count(part, counts) for part in (child if isinstance(child, tuple) else (child,)))
    if total > _MOST and total > 10 * len(counts):
        problem = f"aliases make it {total:,} values"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    counts[id(node)] = total
    return total


def _float(loader: Any, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_unique)


class _Dumper(_BaseDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


# What either version would read as something else than text gets quotes.
for _tag, _pattern, _first in _SCALARS:
    if _tag != "tag:yaml.org,2002:merge":
        _Dumper.add_implicit_resolver(_tag, _pattern, list(_first.replace("\0", "")))


def dump(values: dict[str, Any]) -> bytes:
    """A mapping of plain values (text, numbers, bools, None, lists, dicts) as a YAML document, in their order."""
    text: str = yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1 << 20
    )
    return text.encode("utf-8", "surrogatepass")


def load_yaml(path: Path) -> Any:
    """What a YAML file says. Raises `ConfigError` naming file and line."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; make it readable or remove it") from error
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}{line}: {getattr(error, 'problem', None) or error}; mend it or remove it") from error
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}; mend it or remove it") from error


def load_configs(directory: Path) -> Config:
    """`directory/*.yaml` and `*.yml`, sorted; the stem of a file is the name of its part. Empty files are left out.

    A file with a mapping of one key that has the file's own name (`IS_DEBUG.yaml`: `IS_DEBUG: true`) is that value.
    No directory: an empty Config. Raises `ConfigError` naming file and line, also for two files of one name.
    """
    found = Config()
    origin: dict[str, Path] = {}
    try:
        files = sorted(path for path in directory.iterdir() if path.suffix in (".yaml", ".yml"))
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}; make it readable or remove it") from error
    for path in files:
        if path.name.startswith(".") or not path.is_file():
            continue
        value = load_yaml(path)
        if value is None:
            continue
        other = origin.setdefault(path.stem.casefold(), path)
        if other != path:
            raise ConfigError(f"{path}: {other.name} gives the same name, {path.stem!r}; rename one of them")
        if isinstance(value, dict) and len(value) == 1 and next(iter(value)) == path.stem and path.stem == "IS_DEBUG":
            value = value[path.stem]
        dict.__setitem__(found, path.stem, Config(value) if isinstance(value, dict) else value)
    return found
