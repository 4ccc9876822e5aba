"""Points in time as text: the grammar of fd's `--changed-before`, with bare numbers as days where that is usual.

Tried in this order, all relative to `now_ns`:

1. a span before now: `2weeks`, `36h`, `1d 12h`, `1 year, 2 months`, `1.5h`, `P1DT2H`. Years, months, weeks and days
   are taken from the calendar in the local zone (a day may have 23 hours), fractions of weeks and days are of 24 hours;
2. a timestamp with a zone: `2026-01-31T10:00:00Z`, `2026-01-31 10:00:00.5+02:00`;
3. a local date, at midnight, or date and time: `2026-01-31`, `2026-01-31 10:00`, `2026-01-31T10:00:00`. A time that
   comes twice when clocks go back is the later one;
4. `@1769853600`, seconds since 1970.

`M` alone is not a month: `mo` is, `m` and `min` are minutes.
"""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from runark.errors import InvalidArgument

if TYPE_CHECKING:
    from fractions import Fraction

__all__ = ["Age", "parse_age", "parse_span", "parse_time"]

Age = str | int | float | timedelta | datetime
"""What `older_than` and its kin take: text in the grammar above, days as a number, a span, or a point in time."""

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND

_UNITS: dict[str, str] = {
    word: unit
    for unit, words in {
        "year": "y yr yrs year years",
        "month": "mo mos month months",
        "week": "w wk wks week weeks",
        "day": "d day days",
        "hour": "h hr hrs hour hours",
        "minute": "m min mins minute minutes",
        "second": "s sec secs second seconds",
        "millisecond": "ms msec msecs milli millis millisecond milliseconds",
        "microsecond": "us µs usec usecs micro micros microsecond microseconds",
        "nanosecond": "ns nsec nsecs nano nanos nanosecond nanoseconds",
    }.items()
    for word in words.split()
}
_EXACT = {
    "hour": 3600 * _SECOND, "minute": 60 * _SECOND, "second": _SECOND,
    "millisecond": 1_000_000, "microsecond": 1_000, "nanosecond": 1,
}  # fmt: skip
_CALENDAR = {"week": 7, "day": 1}
_ORDER = ("year", "month", "week", "day", *_EXACT)

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-zµ]+)")
_ISO = re.compile(
    r"P(?=.)(?:(?P<year>\d+)Y)?(?:(?P<month>\d+)M)?(?:(?P<week>\d+)W)?(?:(?P<day>\d+)D)?"
    r"(?:T(?=.)(?:(?P<hour>\d+(?:[.,]\d+)?)H)?(?:(?P<minute>\d+(?:[.,]\d+)?)M)?(?:(?P<second>\d+(?:[.,]\d+)?)S)?)?",
    re.IGNORECASE,
)
_CIVIL = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[ Tt](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<zone>[Zz]|[+-]\d\d:?\d\d)?)?"
)
_UNIX = re.compile(r"@([+-]?\d+(?:\.\d{1,9})?)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")


def parse_time(text: str, now_ns: int, option: str = "time") -> int:
    """The point in time, in nanoseconds since 1970. Raises `InvalidArgument`, beginning with `option`."""
    words = text.strip()
    if _NUMBER.fullmatch(words):
        raise InvalidArgument(f"{option}: {text!r} has no unit; write {words}d for days, {words}h for hours")
    try:
        for reader in (_span, _civil, _unix):
            found = reader(words, now_ns)
            if found is not None:
                return found
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(f"{option}: {text!r} is no possible time: {error}") from error
    raise InvalidArgument(
        f"{option}: cannot read {text!r}; write a span (2weeks, 36h, 1d 12h, P1DT2H), a date (2026-01-31),"
        " a date and time (2026-01-31 10:00:00) or @seconds"
    )


def parse_age(age: Age, now_ns: int, option: str = "age") -> int:
    """As `parse_time`; a number, also as text, is days before now, and fractions count."""
    if isinstance(age, datetime):
        return round(age.timestamp() * 1_000_000) * 1000
    if isinstance(age, timedelta):
        return now_ns - (age // timedelta(microseconds=1)) * 1000
    if isinstance(age, str):
        if not _NUMBER.fullmatch(age.strip()):
            return parse_time(age, now_ns, option)
        days = _exactly(age.strip())
    else:
        try:
            days = _exactly(age)
        except (ValueError, OverflowError) as error:  # nan, inf
            raise InvalidArgument(f"{option}: {age!r} is no number of days") from error
    if days < 0:
        raise InvalidArgument(f"{option}: {age!r} is negative; an age counts back from now")
    return now_ns - int(days * _DAY)


def parse_span(text: str, option: str = "time") -> int:
    """A length of time (`3h`, `1h 30m`, `PT90S`; a day has 24 hours) in nanoseconds, more than 0.

    Raises `InvalidArgument`, beginning with `option`, for anything else; months and years have no fixed length.
    """
    words = text.strip()
    try:
        parts = _parts(words)
    except ValueError as error:
        raise InvalidArgument(f"{option}: {text!r} is no possible time: {error}") from error
    if parts is None:
        raise InvalidArgument(f"{option}: cannot read {text!r}; write how long, as 90s, 45m, 3h or 1h 30m")
    length = {**_EXACT, **{unit: days * _DAY for unit, days in _CALENDAR.items()}}
    if not parts.keys() <= length.keys():
        raise InvalidArgument(f"{option}: {text!r}: months and years have no fixed length; write days or hours")
    span = int(sum(amount * length[unit] for unit, amount in parts.items()))
    if span <= 0:
        raise InvalidArgument(f"{option}: {text!r} is no time at all; write how long, as 3h")
    return span


def _exactly(number: str | int | float) -> Fraction:
    """The number as it was written. Raises `ValueError`, `OverflowError`."""
    from fractions import Fraction  # and with it half of `decimal`: most commands are given no time

    return Fraction(number)


def _parts(text: str) -> dict[str, Fraction] | None:
    """Unit -> amount of a span, largest unit first; None if it is none."""
    return _iso_parts(text) if text[:1] in ("P", "p") else _friendly_parts(text)


def _span(text: str, now_ns: int) -> int | None:
    parts = _parts(text)
    if parts is None:
        return None
    moved, exact = now_ns, 0
    months = days = 0
    for unit, amount in parts.items():
        if unit in _EXACT:
            exact += int(amount * _EXACT[unit])
        elif amount.denominator != 1:
            if unit not in _CALENDAR:
                raise ValueError(f"a fraction of a {unit} has no fixed length")
            exact += int(amount * _CALENDAR[unit] * _DAY)
        elif unit in _CALENDAR:
            days += int(amount) * _CALENDAR[unit]
        else:
            months += int(amount) * (12 if unit == "year" else 1)
    if months or days:
        moved = _calendar_back(now_ns, months, days)
    return moved - exact


def _friendly_parts(text: str) -> dict[str, Fraction] | None:
    parts: dict[str, Fraction] = {}
    at = 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            return None
        unit = _UNITS.get(found[2]) or _UNITS.get(found[2].lower() if len(found[2]) > 1 else found[2])
        if unit is None:
            return None
        if unit in parts or any(_ORDER.index(unit) < _ORDER.index(known) for known in parts):
            raise ValueError("units must go from large to small, each once")
        parts[unit] = _exactly(found[1])
        at = found.end()
        separator = re.compile(r"\s*,?\s*").match(text, at)
        at = separator.end() if separator is not None else at
    return parts or None


def _iso_parts(text: str) -> dict[str, Fraction] | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    return {unit: _exactly(value.replace(",", ".")) for unit, value in found.groupdict().items() if value is not None}


def _calendar_back(now_ns: int, months: int, days: int) -> int:
    seconds, rest = divmod(now_ns, _SECOND)
    local = datetime.fromtimestamp(seconds)
    if months:
        total = local.year * 12 + local.month - 1 - months
        year, month = divmod(total, 12)
        last = calendar.monthrange(year, month + 1)[1] if year >= 1 else 0
        local = local.replace(year=year, month=month + 1, day=min(local.day, last))
    return _local_seconds(local - timedelta(days=days)) * _SECOND + rest


def _local_seconds(local: datetime) -> int:
    return int(local.replace(fold=1).timestamp())


def _civil(text: str, now_ns: int) -> int | None:
    found = _CIVIL.fullmatch(text)
    if found is None:
        return None
    day = date(int(found["year"]), int(found["month"]), int(found["day"]))
    moment = datetime(
        day.year, day.month, day.day, int(found["hour"] or 0), int(found["minute"] or 0), int(found["second"] or 0)
    )  # fmt: skip
    fraction = int((found["fraction"] or "0").ljust(9, "0"))
    zone = found["zone"]
    if zone is None:
        return _local_seconds(moment) * _SECOND + fraction
    if zone in "Zz":
        offset = timedelta(0)
    else:
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:])) * (-1 if zone[0] == "-" else 1)
    return calendar.timegm(moment.replace(tzinfo=timezone(offset)).utctimetuple()) * _SECOND + fraction


def _unix(text: str, now_ns: int) -> int | None:
    found = _UNIX.fullmatch(text)
    return int(_exactly(found[1]) * _SECOND) if found is not None else None
