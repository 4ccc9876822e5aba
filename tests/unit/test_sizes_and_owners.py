"""The grammars of sizes and owners."""

from __future__ import annotations

import grp
import pwd

import pytest

from runark.archive.owners import Owner, parse_owner, user_name
from runark.archive.sizes import parse_bytes, parse_size, size_range
from runark.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("+1M", (1_000_000, None)),
        ("-10k", (None, 10_000)),
        ("500b", (500, 500)),
        ("+1Mi", (1 << 20, None)),
        ("+1MiB", (1 << 20, None)),
        ("-2gb", (None, 2_000_000_000)),
        ("1Ti", (1 << 40, 1 << 40)),
        ("+0b", (0, None)),
    ],
)
def test_sizes(text: str, bounds: tuple[int | None, int | None]) -> None:
    assert parse_size(text) == bounds


@pytest.mark.parametrize("text", ["", "1", "+", "M", "+1.5M", "1X", "++1k", "99999999999T"])
def test_refused_sizes(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_size(text)


def test_several_sizes_are_all_meant() -> None:
    assert size_range(["+1k", "-1M", "+2k"]) == (2000, 1_000_000)
    assert size_range([]) == (None, None)
    with pytest.raises(InvalidArgument, match="no size"):
        size_range(["+2k", "-1k"])


def test_owners() -> None:
    assert parse_owner("1000") == Owner(uid=1000)
    assert parse_owner("!1000:50") == Owner(not_uid=1000, gid=50)
    assert parse_owner(":!50") == Owner(not_gid=50)
    assert parse_owner("7:") == Owner(uid=7)
    user, group = pwd.getpwall()[0], grp.getgrall()[0]
    assert parse_owner(f"{user.pw_name}:{group.gr_name}") == Owner(uid=user.pw_uid, gid=group.gr_gid)


@pytest.mark.parametrize("text", ["", ":", "!", "1:!", "a:b:c", "no such user here"])
def test_refused_owners(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_owner(text)


def test_names_of_users() -> None:
    assert user_name(0) == "root"
    assert user_name(3_999_999_999) == "3999999999"


@pytest.mark.parametrize(("text", "count"), [("50M", 50_000_000), ("0b", 0), (" 2Gi ", 2 << 30)])
def test_numbers_of_bytes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "50", "+50M", "-50M", "fast"])
def test_refused_numbers_of_bytes(text: str) -> None:
    with pytest.raises(InvalidArgument, match="size"):
        parse_bytes(text)
