"""Names: escaped for people, exact for programs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runark.names import escape, from_json_path, json_path


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain name", "plain name"),
        ("é漢🙂".encode(), "é漢🙂"),
        (b"a\nb\tc", r"a\nb\tc"),
        (b"\x1b[31m", r"\x1b[31m"),
        (b"\xff", r"\xff"),
        ("\u202egnp".encode(), r"\u202egnp"),
        ("\u2028".encode(), r"\u2028"),
        ("\x85".encode(), r"\x85"),
        (b"a\\nb", r"a\\nb"),
        (b"", ""),
    ],
)
def test_escape(name: bytes, shown: str) -> None:
    assert escape(name) == shown


@given(st.binary())
def test_escaped_names_are_one_printable_line(name: bytes) -> None:
    assert escape(name).isprintable()


@given(st.binary())
def test_json_paths_come_back(path: bytes) -> None:
    assert from_json_path(json.loads(json.dumps(json_path(path)))) == path
