"""Pax extended records: `<length> <key>=<value>` and a newline, the length counting itself.

Building sorts by the bytes of the keys. Reading is strict: every byte of the body belongs to a well-formed record, or
the member is refused, because parsers that guess here disagree about what an archive holds.
"""

from __future__ import annotations

import re

from runark.engine.pure.ends import Damaged

__all__ = ["body", "decimal_time", "mtime_record", "parse", "parse_time", "quote_key", "record", "unquote_key"]

SECOND = 10**9
_MAX_SECONDS = (1 << 63) - 1

_length = re.compile(rb"[1-9][0-9]{0,9}").fullmatch
_time = re.compile(rb"(-?)([0-9]{1,40})(?:\.([0-9]*))?").fullmatch


def record(key: bytes, value: bytes) -> bytes:
    """One record. The length is the fixed point of "digits of the length, plus the rest"."""
    rest = len(key) + len(value) + 3  # the space, the equals sign, the newline
    total = rest + len(b"%d" % rest)
    if len(b"%d" % total) > len(b"%d" % rest):
        total += 1
    return b"%d %b=%b\n" % (total, key, value)


def mtime_record(seconds: int, nanos: int) -> bytes:
    """`record(b"mtime", ...)` of a time with a fraction that fits the header's field: most members have just this."""
    text = (b" mtime=%d.%09d" % (seconds, nanos)).rstrip(b"0")
    return b"%d%b\n" % (len(text) + 3, text)  # 13 to 30 bytes in all: the length has two digits


def body(records: dict[bytes, bytes]) -> bytes:
    """The records of one header, sorted by key."""
    return b"".join([record(key, records[key]) for key in sorted(records)])


def decimal_time(time_ns: int) -> bytes:
    """Nanoseconds as decimal seconds without trailing zeros: `1.5`, `-1.5`, `12`."""
    sign = b""
    if time_ns < 0:
        sign, time_ns = b"-", -time_ns
    seconds, nanos = divmod(time_ns, SECOND)
    if nanos == 0:
        return b"%b%d" % (sign, seconds)
    return (b"%b%d.%09d" % (sign, seconds, nanos)).rstrip(b"0")


def parse_time(text: bytes, member: bytes) -> int:
    """Decimal seconds as nanoseconds, what is finer cut off towards the past. Raises `Damaged` for anything else."""
    match = _time(text)
    if match is None:
        raise Damaged("its pax mtime is not a decimal number", member)
    seconds = int(match[2])
    if seconds > _MAX_SECONDS:
        raise Damaged("its pax mtime is out of range", member)
    fraction = match[3] or b""
    nanos = seconds * SECOND + int(fraction[:9].ljust(9, b"0"))
    if match[1]:
        return -nanos - (1 if fraction[9:].strip(b"0") else 0)
    return nanos


def parse(data: bytes, member: bytes) -> dict[bytes, bytes]:
    """The records in a header's body. Raises `Damaged` for a malformed record and for a key that stands twice."""
    records: dict[bytes, bytes] = {}
    start, end = 0, len(data)
    while start < end:
        space = data.find(b" ", start, start + 12)
        if space < 0 or _length(data[start:space]) is None:
            raise Damaged("a pax record has no proper length", member)
        stop = start + int(data[start:space])
        if stop > end:
            raise Damaged("a pax record is longer than its header", member)
        if stop <= space + 1 or data[stop - 1] != 0x0A:
            raise Damaged("a pax record does not end where its length says", member)
        key, equals, value = data[space + 1 : stop - 1].partition(b"=")
        if not equals or not key:
            raise Damaged("a pax record has no key", member)
        if key in records:
            raise Damaged("a pax key stands twice", member)
        records[key] = value
        start = stop
    return records


def quote_key(name: bytes) -> bytes:
    """An attribute's name for use in a key, where `=` would end it."""
    return name.replace(b"%", b"%25").replace(b"=", b"%3D")


def unquote_key(name: bytes) -> bytes:
    """The reverse of `quote_key`; other `%` sequences stand for themselves, as other writers do not quote."""
    return name.replace(b"%3D", b"=").replace(b"%25", b"%")
