"""Owners as text, as fd's `--owner` has them: `[!]user|uid[:[!]group|gid]`; `!` means any other."""

from __future__ import annotations

from typing import NamedTuple

from runark.errors import InvalidArgument

__all__ = ["Owner", "parse_owner", "user_name"]


class Owner(NamedTuple):
    """The ids to be and not to be; None where it does not matter."""

    uid: int | None = None
    gid: int | None = None
    not_uid: int | None = None
    not_gid: int | None = None


def parse_owner(text: str) -> Owner:
    """Raises `InvalidArgument` for an unknown name and for a text without either part. Numbers go before names."""
    user, _, group = text.partition(":")
    if ":" in group or not (user or group):
        raise InvalidArgument(
            f"owner {text!r}: write user, user:group or :group, each by name or number, '!' for any other"
        )
    uid, not_uid = _id(user, text, "user") if user else (None, None)
    gid, not_gid = _id(group, text, "group") if group else (None, None)
    return Owner(uid, gid, not_uid, not_gid)


def user_name(uid: int) -> str:
    """The user's name, or the number if there is none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def _id(part: str, text: str, what: str) -> tuple[int | None, int | None]:
    negated = part.startswith("!")
    name = part[negated:]
    if not name:
        raise InvalidArgument(f"owner {text!r}: nothing after '!'")
    if name.isascii() and name.isdigit():
        number = int(name)
    else:
        try:
            number = _user_id(name) if what == "user" else _group_id(name)
        except KeyError as error:
            raise InvalidArgument(f"owner {text!r}: there is no {what} called {name!r} here") from error
    return (None, number) if negated else (number, None)


def _user_id(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _group_id(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid
