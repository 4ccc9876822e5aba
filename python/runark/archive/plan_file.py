"""A plan on paper: written by `archive --plan-out`, looked at, and then carried out exactly by `apply`.

The file is one JSON document. It holds the roots, how to archive, and of each session the path and what it was like:
newest change, inodes, bytes. Its SHA-256, over the document without it in canonical form, tells whether it was edited.

Carrying it out begins with a plan of its own, so every reason to leave a session alone counts again; of that plan only
what stands in the file and is as it was then is archived. What is not is told, session by session.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from runark.archive.archive import archive, check_options
from runark.archive.control import Control
from runark.archive.filters import Filters
from runark.archive.plan import Plan, plan
from runark.archive.result import Result, with_outcomes
from runark.engine.protocol import FORMATS, Outcome
from runark.errors import ConfigError, InvalidArgument, OperationFailed, SourceMissing
from runark.names import PathLike, escape, from_json_path, json_path, to_bytes

__all__ = ["PlanFile", "apply_plan", "read_plan", "write_plan"]

SCHEMA = 1
_FINGERPRINT = ("newest_ns", "inodes", "size")


@dataclass(frozen=True)
class PlanFile:
    """What a plan file says."""

    roots: tuple[bytes, ...]
    layouts: tuple[str, ...]
    config: bytes | None
    older_than_ns: int | None
    one_file_system: bool
    format: str
    level: int | None
    keep_source: bool
    verify: Literal["hash", "compare"]
    sessions: dict[bytes, tuple[int, ...]]
    """Path -> newest change, inodes, bytes; -1 each for one of which only a tombstone is left."""
    sha256: str


def write_plan(
    path: PathLike,
    todo: Plan,
    *,
    layouts: Sequence[str] = (),
    config: PathLike | None = None,
    format: str = "tar.gz",
    level: int | None = None,
    keep_source: bool = False,
    verify: Literal["hash", "compare"] = "hash",
) -> str:
    """Write the plan to a file, and give its SHA-256. The plan must be measured.

    `layouts` and `config` are those the plan was made with. Raises `InvalidArgument` for a plan without sizes or one
    that was interrupted, `OperationFailed` if the file cannot be written or is there already.
    """
    if not todo.scan.measured or todo.scan.stopped:
        raise InvalidArgument("a plan on paper needs sizes and all sessions: make it with measure, and to its end")
    check_options(format, level, 1, keep_source, verify)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "what": "plan-file",
        "roots": [json_path(root) for root in todo.roots],
        "layouts": list(layouts),
        "config": None if config is None else json_path(os.path.abspath(to_bytes(config))),
        "made_ns": todo.scan.now_ns,
        "older_than_ns": todo.scan.older_than_ns,
        "one_file_system": todo.scan.filters.one_file_system,
        "format": format,
        "level": level,
        "keep_source": keep_source,
        "verify": verify,
        "sessions": [[json_path(name), *values] for name, values in _fingerprints(todo)],
    }
    document["sha256"] = _digest(document)
    name = to_bytes(path)
    try:
        with open(name, "x", encoding="ascii") as stream:
            json.dump(document, stream, separators=(",", ":"))
            stream.write("\n")
    except FileExistsError as error:
        raise OperationFailed(f"{escape(name)} is there already; remove it or name another file") from error
    except OSError as error:
        raise OperationFailed(f"cannot write the plan to {escape(name)}: {error.strerror}") from error
    return str(document["sha256"])


def read_plan(path: PathLike) -> PlanFile:
    """Read a plan file. Raises `SourceMissing`, `OperationFailed`, and `ConfigError` for one that is none or was
    edited."""
    name = to_bytes(path)
    try:
        with open(name, "rb") as stream:
            document = json.load(stream)
    except FileNotFoundError as error:
        raise SourceMissing(f"{escape(name)} does not exist; make it with runark archive ROOT --plan-out") from error
    except OSError as error:
        raise OperationFailed(f"cannot read {escape(name)}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{escape(name)} is no plan file: {error}") from error
    if not isinstance(document, dict) or document.get("what") != "plan-file" or document.get("schema") != SCHEMA:
        raise ConfigError(
            f"{escape(name)} is no plan file of this version; make it anew with runark archive --plan-out"
        )
    if document.get("sha256") != _digest(document):
        raise ConfigError(f"{escape(name)} has been edited since it was made; make it anew, nothing was touched")
    try:
        return _parsed(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{escape(name)} is no plan file of this version: {error!r}; make it anew") from error


def _parsed(document: dict[str, Any]) -> PlanFile:
    return PlanFile(
        roots=tuple(from_json_path(root) for root in document["roots"]),
        layouts=tuple(document["layouts"]),
        config=None if document["config"] is None else from_json_path(document["config"]),
        older_than_ns=document["older_than_ns"],
        one_file_system=document.get("one_file_system", True),
        format=document["format"],
        level=document["level"],
        keep_source=document["keep_source"],
        verify=document["verify"],
        sessions={from_json_path(name): tuple(values) for name, *values in document["sessions"]},
        sha256=document["sha256"],
    )


def apply_plan(
    path: PathLike | PlanFile,
    *,
    jobs: int | None = None,
    engine: str = "auto",
    keep_outcomes: bool = False,
    control: Control | None = None,
) -> Result:
    """Do exactly what a plan file says, with every session that is as it was.

    The others are outcomes of the result: `changed`, or `skipped` for one that is archived by now or gone. Raises as
    `read_plan`, `plan` and `archive`.
    """
    paper = path if isinstance(path, PlanFile) else read_plan(path)
    control = control or Control()
    since = None if paper.older_than_ns is None else f"@{paper.older_than_ns // 10**9}.{paper.older_than_ns % 10**9:09}"
    found = plan(
        *paper.roots,
        filters=Filters(older_than=since, one_file_system=paper.one_file_system),
        layouts=paper.layouts,
        config=paper.config,
        jobs=jobs,
        engine=engine,
        control=control,
    )
    rows, others = _still(found, paper.sessions)
    todo = replace(found, jobs=found.jobs.only(rows))
    result = archive(
        todo,
        format=paper.format,
        level=paper.level,
        keep_source=paper.keep_source,
        verify=paper.verify,
        jobs=jobs,
        keep_outcomes=keep_outcomes,
        control=control,
    )
    if others and not result.stopped:
        control.outcomes(others)
        result = with_outcomes(result, others, keep_outcomes)
    return result


def _fingerprints(todo: Plan) -> list[tuple[bytes, tuple[int, ...]]]:
    columns = [todo.scan.column(name) for name in _FINGERPRINT]
    return [(todo.jobs.path(at), _of_row(columns, row)) for at, row in enumerate(todo.jobs.rows)]


def _of_row(columns: Sequence[memoryview[int]], row: int) -> tuple[int, ...]:
    return tuple(column[row] if row >= 0 else -1 for column in columns)


def _still(found: Plan, sessions: dict[bytes, tuple[int, ...]]) -> tuple[array[int], list[Outcome]]:
    """The rows of what is as it was, and outcomes for what is not."""
    rows: array[int] = array("q")
    others: list[Outcome] = []
    seen: set[bytes] = set()
    for (path, values), row in zip(_fingerprints(found), found.jobs.rows, strict=True):
        before = sessions.get(path)
        if before is None:
            continue
        seen.add(path)
        if values == before:
            rows.append(row)
        else:
            others.append(Outcome(path, "changed", "changed since the plan was made"))
    skipped = {skip.path: skip.reason for skip in found.skips()} if len(seen) < len(sessions) else {}
    for path in sorted(sessions.keys() - seen):
        if path in skipped:
            others.append(Outcome(path, "changed", f"not to be archived any more: {skipped[path]}"))
        elif any(os.path.lexists(path + b"." + ending.encode()) for ending in FORMATS):
            others.append(Outcome(path, "skipped", "archived since the plan was made"))
        else:
            others.append(Outcome(path, "changed", "gone since the plan was made"))
    return rows, others


def _digest(document: dict[str, Any]) -> str:
    rest = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
