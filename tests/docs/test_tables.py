"""The tables of settings in the pages are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

import settings_table

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", settings_table.TABLES)
def test_the_tables_of_the_page_are_made_from_the_code(name: str) -> None:
    page = DOCS / name
    text = page.read_text(encoding="utf-8")
    assert settings_table.updated(page) == text, f"run python tools/settings_table.py docs/{name}"
