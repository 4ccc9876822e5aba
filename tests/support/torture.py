"""How much is tried, and what is written down for the table in docs/durability.md (`tools/torture_table.py`).

RUNARK_TORTURE=full      every point instead of a spread of them (`make torture`)
RUNARK_TORTURE_RECORD    file to which each test appends a JSON line
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

__all__ = ["FULL", "filesystem_of", "record", "some"]

T = TypeVar("T")

FULL = os.environ.get("RUNARK_TORTURE") == "full"


def some(points: Sequence[T], count: int) -> list[T]:
    """All points if asked for all, else about `count` of them, spread evenly, first and last included."""
    if FULL or len(points) <= count:
        return list(points)
    return [points[round(i * (len(points) - 1) / (count - 1))] for i in range(count)]


def record(fault: str, points: int, engine: str, where: str, outcome: str = "nothing lost, converged") -> None:
    """Write down that `points` points of a fault were tried on a filesystem and came out like this."""
    path = os.environ.get("RUNARK_TORTURE_RECORD")
    if path:
        line = {"fault": fault, "points": points, "engine": engine, "filesystem": where, "outcome": outcome}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def filesystem_of(path: Path) -> str:
    """The type of the filesystem, as the kernel calls it."""
    done = subprocess.run(("stat", "-f", "-c", "%T", path), capture_output=True, text=True, check=True)
    return {"ext2/ext3": "ext4"}.get(done.stdout.strip(), done.stdout.strip())
