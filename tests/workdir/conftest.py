from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings from outside; afterwards the root logger is as it was."""
    for name in list(os.environ):
        if "SESSION_DIR_" in name or "SESSION_LOG_" in name:
            monkeypatch.delenv(name)
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    yield
    assert (root.level, list(root.handlers)) == before


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Where sessions are made."""
    return tmp_path / "sessions"
