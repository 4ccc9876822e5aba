from __future__ import annotations

from pathlib import Path

import pytest

from support.runs import Runner


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """Runs a script in a directory of its own."""
    directory = tmp_path / "work"
    directory.mkdir()
    return Runner(directory)
