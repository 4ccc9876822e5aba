"""list: what archives hold, by their seals, without decoding them; or their members, read through. Read only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from runark.archive.archives import find_archives
from runark.archive.control import Control
from runark.archive.filters import Filters
from runark.archive.scan import fault_json
from runark.archive.workers import default_jobs
from runark.engine import load
from runark.engine.protocol import Fault, Limits, Member, Seal
from runark.names import PathLike, json_path, to_bytes

__all__ = ["ArchiveList", "Listed", "list_archive", "list_members", "member_json"]

SCHEMA = 1
SLICE = 16_384


class Listed(NamedTuple):
    """One archive: its seal, None if it has none, or the fault that kept it from being read."""

    path: bytes
    seal: Seal | Fault | None

    def to_json(self) -> dict[str, Any]:
        seal = self.seal
        values: dict[str, Any] = {"path": json_path(self.path), "sealed": isinstance(seal, Seal), "fault": None}
        if isinstance(seal, Seal):
            values.update(seal._asdict())
        elif seal is not None:
            values["fault"] = fault_json(seal)
        return values


@dataclass(frozen=True)
class ArchiveList:
    """Archives, sorted by path. Their seals are claims, read when the list is gone through: `verify` proves them."""

    paths: tuple[bytes, ...]
    faults: tuple[Fault, ...]
    """What could not be listed while looking for archives."""
    engine: str
    jobs: int

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Listed]:
        worker = load(self.engine)
        for at in range(0, len(self.paths), SLICE):
            some = self.paths[at : at + SLICE]
            yield from map(Listed, some, worker.seals(some, self.jobs))

    def head_json(self) -> dict[str, Any]:
        """The document without its archives."""
        return {
            "schema": SCHEMA,
            "what": "list",
            "engine": self.engine,
            "archives": len(self.paths),
            "faults": [fault_json(fault) for fault in self.faults],
        }

    def to_json(self) -> dict[str, Any]:
        """A document that `json.dumps` takes; paths as `runark.names.JsonPath`."""
        return {**self.head_json(), "rows": [listed.to_json() for listed in self]}


def list_archive(
    *paths: PathLike,
    filters: Filters | None = None,
    layouts: Sequence[str] = (),
    config: PathLike | None = None,
    jobs: int | None = None,
    engine: str = "auto",
    control: Control | None = None,
) -> ArchiveList:
    """The archives that `paths` name: files, or directories searched for archived sessions at any depth.

    Raises `SourceMissing`, `UnsafePath`, `InvalidArgument` for paths that cannot be used.
    """
    found = find_archives(
        paths,
        filters=filters or Filters(),
        layouts=layouts,
        config=config,
        jobs=jobs,
        engine=engine,
        control=control or Control(),
    )
    workers = jobs or default_jobs(found.paths[0] if found.paths else b"/")
    return ArchiveList(found.paths, found.faults, load(engine).name, workers)


def list_members(path: PathLike, *, limits: Limits | None = None, engine: str = "auto") -> list[Member]:
    """The members of one archive, in order. Raises `ArchiveDamaged` or `SourceMissing`."""
    return load(engine).members(os.path.abspath(to_bytes(path)), limits or Limits())


def member_json(member: Member) -> dict[str, Any]:
    """A member for a JSON document."""
    return {
        "path": json_path(member.path),
        "kind": member.kind,
        "mode": member.mode,
        "uid": member.uid,
        "gid": member.gid,
        "uname": json_path(member.uname),
        "gname": json_path(member.gname),
        "size": member.size,
        "mtime_ns": member.mtime_ns,
        "link": json_path(member.link),
    }
