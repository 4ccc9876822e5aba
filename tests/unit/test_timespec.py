"""The grammar of times and ages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from runark.archive.timespec import parse_age, parse_span, parse_time
from runark.errors import InvalidArgument

S = 1_000_000_000
H = 3600 * S
D = 24 * H
NOW = 1_780_000_000 * S + 123_456_789  # 2026-05-28 20:26:40.123456789 UTC


@pytest.fixture(autouse=True, params=["UTC", "Europe/Berlin"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("36h", 36 * H),
        ("1d 12h", 36 * H),
        ("1d12h", 36 * H),
        ("1 day, 12 hours", 36 * H),
        ("2weeks", 14 * D),
        ("2w", 14 * D),
        ("1.5h", 90 * 60 * S),
        ("1.5d", 36 * H),
        ("35min", 35 * 60 * S),
        ("35m", 35 * 60 * S),
        ("90s", 90 * S),
        ("250ms", S // 4),
        ("7us", 7000),
        ("7µs", 7000),
        ("9ns", 9),
        ("P1DT2H", 26 * H),
        ("p2w", 14 * D),
        ("PT1.5M", 90 * S),
        ("PT0,5S", S // 2),
        ("0s", 0),
        ("3 Days", 3 * D),
    ],
)
def test_spans(text: str, back: int) -> None:
    assert parse_time(text, NOW) == NOW - back


def test_months_and_years_follow_the_calendar() -> None:
    end_of_march = int(datetime(2024, 3, 31, 12).timestamp()) * S
    assert parse_time("1mo", end_of_march) == int(datetime(2024, 2, 29, 12).timestamp()) * S
    assert parse_time("1y 1mo", end_of_march) == int(datetime(2023, 2, 28, 12).timestamp()) * S
    assert parse_time("P1M", end_of_march) == parse_time("1 month", end_of_march)


def test_a_day_is_a_calendar_day(zone: str) -> None:
    after = int(datetime(2026, 3, 29, 12).timestamp()) * S  # clocks went forward this night in Berlin
    assert after - parse_time("1d", after) == (23 if zone == "Europe/Berlin" else 24) * H
    assert after - parse_time("24h", after) == 24 * H


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31)),
        ("2026-01-31 10:00", datetime(2026, 1, 31, 10)),
        ("2026-01-31 10:00:07", datetime(2026, 1, 31, 10, 0, 7)),
        ("2026-01-31T10:00:07", datetime(2026, 1, 31, 10, 0, 7)),
        ("2026-01-31T10:00:07Z", datetime(2026, 1, 31, 10, 0, 7, tzinfo=timezone.utc)),
        ("2026-01-31 10:00:07+02:00", datetime(2026, 1, 31, 8, 0, 7, tzinfo=timezone.utc)),
        ("2026-01-31T10:00:07-0530", datetime(2026, 1, 31, 15, 30, 7, tzinfo=timezone.utc)),
        ("1969-12-31T23:59:59Z", datetime(1969, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
    ],
)
def test_points(text: str, moment: datetime) -> None:
    assert parse_time(text, NOW) == int(moment.timestamp()) * S


def test_points_with_fractions() -> None:
    assert parse_time("2026-01-31T10:00:07.123456789Z", NOW) % S == 123_456_789
    assert parse_time("@1769853600", NOW) == 1_769_853_600 * S
    assert parse_time("@-1.5", NOW) == -1_500_000_000


def test_an_ambiguous_time_is_the_later_one(zone: str) -> None:
    if zone == "Europe/Berlin":
        assert parse_time("2026-10-25 02:30", NOW) == parse_time("2026-10-25T02:30:00+01:00", NOW)
    else:
        assert parse_time("2026-10-25 02:30", NOW) == parse_time("2026-10-25T02:30:00Z", NOW)


@pytest.mark.parametrize(
    "text",
    ["", " ", "5", "0.5", "h", "5x", "5M", "1h 2d", "1h 1h", "2026-13-01", "2026-02-30", "2026-1-1", "P", "PT", "P1H",
     "1.5y", "1.5mo", "@", "@x", "-3d", "yesterday", "1e3s", "999999999999y", "24:00"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--changed-before"):
        parse_time(text, NOW, "--changed-before")


def test_the_refusal_of_a_bare_number_says_what_to_write() -> None:
    with pytest.raises(InvalidArgument, match="write 30d for days"):
        parse_time("30", NOW)


@pytest.mark.parametrize("age", [30, 30.0, "30", " 30 ", timedelta(days=30)])
def test_ages_as_days(age: str | float | timedelta) -> None:
    assert parse_age(age, NOW) == NOW - 30 * D


def test_fractions_of_days_count() -> None:
    assert parse_age(0.5, NOW) == parse_age("0.5", NOW) == parse_age(".5", NOW) == NOW - 12 * H
    assert parse_age("1.9", NOW) == NOW - D * 19 // 10


def test_ages_as_text_and_points() -> None:
    assert parse_age("36h", NOW) == NOW - 36 * H
    assert parse_age(datetime(2026, 1, 31), NOW) == parse_time("2026-01-31", NOW)


@pytest.mark.parametrize("age", [-1, float("nan"), float("inf"), "-1", "x"])
def test_refused_ages(age: str | float) -> None:
    with pytest.raises(InvalidArgument):
        parse_age(age, NOW)


@pytest.mark.parametrize(
    ("text", "length"),
    [("3h", 3 * H), ("1h 30m", 90 * 60 * S), ("90s", 90 * S), ("PT2H", 2 * H), ("1.5d", 36 * H), ("1w", 7 * D)],
)
def test_lengths(text: str, length: int) -> None:
    assert parse_span(text) == length


@pytest.mark.parametrize("text", ["", "3", "2026-01-31", "@5", "1mo", "1y", "P1M", "0h", "30m 1h", "-1h", "soon"])
def test_no_lengths(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^max-duration: "):
        parse_span(text, "max-duration")
