"""What an archive keeps about an entry besides its `stat`: names of owners, extended attributes, ACLs."""

from __future__ import annotations

import errno
import functools
import grp
import os
import pwd

from runark.engine.pure.ends import Skipped
from runark.engine.pure.tar import acl
from runark.engine.pure.tar.pax import quote_key
from runark.engine.pure.walk import encode_name

__all__ = ["Attributes", "attributes", "group_name", "user_name"]

Attributes = tuple[dict[bytes, bytes], "bytes | None"]
"""Pax records, and the access ACL in the kernel's form, if there is one."""

_NO_XATTR = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_listxattr = getattr(os, "listxattr", None)  # not on macOS: attributes are not kept there


@functools.cache
def user_name(uid: int) -> bytes:
    """The system's name for a user id, empty if there is none."""
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return b""


@functools.cache
def group_name(gid: int) -> bytes:
    """The system's name for a group id, empty if there is none."""
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except (KeyError, OverflowError):
        return b""


def attributes(fd: int) -> Attributes | None:
    """An open file's or directory's attributes in the user's namespace and its ACLs; None if it has none.

    Raises `OSError`, and `Skipped` for an ACL of an unknown
    kind.
    """
    if _listxattr is None:
        return None
    try:
        names = _listxattr(fd)
    except OSError as cause:
        if cause.errno in _NO_XATTR:
            return None
        raise
    if not names:
        return None
    records: dict[bytes, bytes] = {}
    access = None
    for name in names:
        if name.startswith("user."):
            records[b"SCHILY.xattr." + quote_key(encode_name(name))] = os.getxattr(fd, name)
        elif name in (acl.ACCESS, acl.DEFAULT):
            value = os.getxattr(fd, name)
            try:
                text = acl.to_text(value)
            except ValueError as cause:
                raise Skipped(str(cause)) from None
            if name == acl.ACCESS:
                access = value
                records[b"SCHILY.acl.access"] = text
            else:
                records[b"SCHILY.acl.default"] = text
    return (records, access) if records else None
