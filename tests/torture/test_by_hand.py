"""Without runark: the line the documents give brings the tree back, with nothing but what every system has."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from runark.engine.protocol import FORMATS, Engine
from support.drive import archive_one
from support.sessions import NAME, everything
from support.torture import filesystem_of, record
from support.trees import assert_same, make, snapshot

DOCS = Path(__file__).resolve().parents[2] / "docs" / "restore.md"


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_line_of_the_documents(engine: Engine, tmp_path: Path, fmt: str) -> None:
    line = re.search(r"`(tar [^`]* ARCHIVE)`", DOCS.read_text())
    assert line is not None
    root = tmp_path / "r"
    root.mkdir()
    session = Path(os.fsdecode(make(root / NAME, everything(tmp_path))))
    before = snapshot(session)
    assert archive_one(engine, session, format=fmt).action == "archived"
    subprocess.run(line[1].replace("ARCHIVE", f"{NAME}.{fmt}"), shell=True, check=True, cwd=root)
    assert_same(before, snapshot(session))
    record(f"restored by tar, {fmt}", 1, engine.name, filesystem_of(tmp_path), "the same tree")
