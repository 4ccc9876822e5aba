from __future__ import annotations

from pathlib import Path

import pytest

from support import surveyed


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of `support.surveyed`; nobody changes it."""
    root = tmp_path_factory.mktemp("surveyed") / "tree"
    surveyed.build(root)
    return root
