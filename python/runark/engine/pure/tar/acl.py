"""POSIX ACLs: between the kernel's form (the value of `system.posix_acl_access`, `..._default`) and the short text of
pax records.

Text: entries in the kernel's order, ids as numbers, a comma between:
`user::rwx,user:1001:r-x,group::r-x,mask::r-x,other::---`. Archives of others may name users and groups if they add the
id as a fourth field: names are not looked up.
"""

from __future__ import annotations

import struct

from runark.engine.pure.ends import Damaged

__all__ = ["ACCESS", "DEFAULT", "from_text", "group_bits", "to_text"]

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"

_VERSION = 2
_NO_ID = 0xFFFFFFFF
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_WORDS = {_USER_OBJ: "user", _USER: "user", _GROUP_OBJ: "group", _GROUP: "group", _MASK: "mask", _OTHER: "other"}
_PERMISSIONS = tuple(("r" if n & 4 else "-") + ("w" if n & 2 else "-") + ("x" if n & 1 else "-") for n in range(8))
_TAGS = {
    ("user", False): _USER_OBJ,
    ("user", True): _USER,
    ("group", False): _GROUP_OBJ,
    ("group", True): _GROUP,
    ("mask", False): _MASK,
    ("other", False): _OTHER,
}
_SHORT = {"u": "user", "g": "group", "m": "mask", "o": "other"}


def _entries(value: bytes) -> list[tuple[int, int, int]]:
    if len(value) < 4 or int.from_bytes(value[:4], "little") != _VERSION or (len(value) - 4) % _ENTRY.size:
        raise ValueError("an ACL in a form this version does not know")
    return list(_ENTRY.iter_unpack(value[4:]))


def to_text(value: bytes) -> bytes:
    """The short text of the kernel's form. Raises `ValueError` if it is not one (a newer version)."""
    words = []
    for tag, permission, who in _entries(value):
        word = _WORDS.get(tag)
        if word is None or permission > 7:
            raise ValueError("an ACL entry of a kind this version does not know")
        number = str(who) if tag in (_USER, _GROUP) else ""
        words.append(f"{word}:{number}:{_PERMISSIONS[permission]}")
    return ",".join(words).encode("ascii")


def group_bits(value: bytes) -> int:
    """What the owning group may do (0-7): where there is an ACL the mode's group bits are the mask, not the group's."""
    mask, group = 7, 0
    for tag, permission, _ in _entries(value):
        if tag == _MASK:
            mask = permission
        elif tag == _GROUP_OBJ:
            group = permission
    return group & mask


def from_text(text: bytes, member: bytes) -> bytes:
    """The kernel's form of a text. Raises `Damaged` for anything malformed."""
    try:
        words = [word.strip() for word in text.decode("utf-8").replace("\n", ",").split(",")]
    except UnicodeDecodeError:
        raise Damaged("its ACL is not text", member) from None
    entries = [_parse_entry(word, member) for word in words if word]
    tags = [tag for tag, _, _ in entries]
    if any(tags.count(tag) != 1 for tag in (_USER_OBJ, _GROUP_OBJ, _OTHER)) or tags.count(_MASK) > 1:
        raise Damaged("its ACL lacks the owner's, the group's or the others' entry", member)
    if (_USER in tags or _GROUP in tags) and _MASK not in tags:
        raise Damaged("its ACL has named entries but no mask", member)
    if len({(tag, who) for tag, _, who in entries}) != len(entries):
        raise Damaged("its ACL names somebody twice", member)
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    return _VERSION.to_bytes(4, "little") + b"".join(_ENTRY.pack(*entry) for entry in entries)


def _parse_entry(word: str, member: bytes) -> tuple[int, int, int]:
    fields = word.split(":")
    if len(fields) not in (3, 4) and not (len(fields) == 2 and fields[0] in ("mask", "other", "m", "o")):
        raise Damaged("its ACL has an entry that is not `who:name:permissions`", member)
    kind = _SHORT.get(fields[0], fields[0])
    name = fields[1] if len(fields) > 2 else ""
    tag = _TAGS.get((kind, bool(name)))
    permission = fields[2] if len(fields) > 2 else fields[1]
    if (
        tag is None
        or len(permission) != 3
        or any(c not in (letter, "-") for c, letter in zip(permission, "rwx", strict=True))
    ):
        raise Damaged("its ACL has an entry that is not `who:name:permissions`", member)
    bits = sum(bit for c, bit in zip(permission, (4, 2, 1), strict=True) if c != "-")
    if not name:
        return tag, bits, _NO_ID
    number = fields[3] if len(fields) == 4 else name
    if not (number.isascii() and number.isdigit() and int(number) < _NO_ID):
        raise Damaged("its ACL names a user or group without a number", member)
    return tag, bits, int(number)
