"""Numbers and documents for people and programs."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runark.archive.result import outcome_json, outcome_text
from runark.engine.protocol import Fault, Outcome
from runark.report.json import write_document
from runark.report.units import counted, human_age, human_bytes, human_seconds

S = 1_000_000_000


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1234, "1.2 kB"), (9_960, "10 kB"), (999_499, "999 kB"),
     (999_500, "1.0 MB"), (12_345_678, "12 MB"), (5 * 10**21, "5000 EB")],
)  # fmt: skip
def test_bytes(number: int, text: str) -> None:
    assert human_bytes(number) == text


def test_spans_and_ages() -> None:
    assert [human_seconds(s) for s in (0.341, 12, 300, 12_345, 1e6)] == ["0.34 s", "12 s", "5 min", "3.4 h", "12 d"]
    assert [human_age(s * S) for s in (-5, 5, 720, 108_000, 4_000_000, 100_000_000)] == [
        "0s",
        "5s",
        "12m",
        "30h",
        "46d",
        "3.2y",
    ]


def test_counted() -> None:
    assert counted(1, "session") == "1 session" and counted(2000, "session") == "2,000 sessions"
    assert counted(0, "entry", "entries") == "0 entries"


@pytest.mark.parametrize("rows", [[], [{"a": 1}], [{"a": 1}, {"a": "\u202e"}]])
def test_a_document_written_row_by_row_is_the_whole_document(rows: list[dict[str, object]]) -> None:
    stream = io.StringIO()
    write_document(stream, {"schema": 1}, rows=iter(rows), more=iter(()))
    assert json.loads(stream.getvalue()) == {"schema": 1, "rows": rows, "more": []}
    assert stream.getvalue().isascii()


@given(
    st.builds(
        Outcome, st.binary(), st.sampled_from(("archived", "failed")), st.text(), st.binary(), st.integers(0),
        st.integers(), st.integers(0), st.integers(0), st.sampled_from(("", "ab" * 32)), st.floats(0, 1e9),
        st.sampled_from(("", "syncfs")),
        st.tuples() | st.tuples(st.text()),
        st.none() | st.builds(Fault, st.just("open"), st.binary(), st.integers(0, 200), st.text()),
    )
)  # fmt: skip
def test_a_line_of_events_is_the_outcome(outcome: Outcome) -> None:
    text = outcome_text(outcome)
    assert text.endswith("\n") and text.count("\n") == 1 and text.isascii()
    assert json.loads(text) == json.loads(json.dumps(outcome_json(outcome)))
    assert list(json.loads(text)) == list(outcome_json(outcome))
