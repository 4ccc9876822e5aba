"""Reading a tar stream: a strict pull parser.

`Reader.next` gives one member after the other; the caller takes its content with `Reader.content` (or leaves it, then
it is read over). What the parser gives out has been checked: every path is relative and clean, its parents are
directories, nothing stands twice, hard links lead to files that came before, numbers and maps agree. What can be read
in two ways is refused, with the member's name, because another program would read it in the other way. Nothing is ever
repaired.

Guarantees: memory is bounded by the limits and one chunk; the stream is read to its very end before `next` returns
None.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from runark.engine.protocol import Limits
from runark.engine.pure.codec import Stream
from runark.engine.pure.ends import Damaged, Foreign, escape
from runark.engine.pure.tar import acl, header, pax, sparse
from runark.engine.pure.tar.header import BLOCK, MAX_READ_ID, ZERO

__all__ = ["Item", "Reader", "clean"]

_MAX_NAME = 64 << 10  # bytes of a long name or link
_MAX_LINK = 4095  # what the system takes
_SECOND = 10**9
_XATTR = b"SCHILY.xattr."
_KINDS = {b"0": "file", b"\0": "file", b"1": "hardlink", b"2": "symlink", b"5": "dir", b"6": "fifo"}
_REFUSED = {
    b"3": "a character device",
    b"4": "a block device",
    b"7": "a contiguous file",
    b"D": "a GNU directory dump",
    b"M": "part of a multi-volume archive",
    b"N": "an old GNU name list",
    b"S": "a sparse file of the old GNU kind",
    b"V": "a volume label",
}
_SPARSE = (b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.realsize", b"GNU.sparse.name")


@dataclass
class Item:
    """One member, checked. `path` is clean; `b""` is the top itself (a member called `./`)."""

    path: bytes
    kind: str  # "file", "dir", "symlink", "hardlink", "fifo"
    mode: int
    uid: int
    gid: int
    uname: bytes
    gname: bytes
    size: int  # real size of a file, else 0
    mtime_ns: int
    link: bytes
    stored: int  # bytes of data that follow in the stream
    regions: list[sparse.Region] | None = None  # of a sparse file
    xattrs: dict[bytes, bytes] = field(default_factory=dict)  # full names
    acl_access: bytes | None = None  # text in our form
    acl_default: bytes | None = None


def clean(raw: bytes, limits: Limits, what: str = "path") -> bytes:
    """A stored path without leading `./` and trailing slash; empty for `./` itself.

    Raises `Damaged` for one that could lead elsewhere.
    """
    if raw.startswith(b"/"):
        raise Damaged(f"its {what} is absolute", raw[:200])
    path = raw
    while path.startswith(b"./"):
        path = path[2:]
    if not path and raw:
        return b""
    if path.endswith(b"/"):
        path = path[:-1]
    if b"\0" in path:
        raise Damaged(f"its {what} holds a NUL byte", raw)
    if len(path) > limits.max_path:
        raise Damaged(f"its {what} is longer than {limits.max_path} bytes", raw[:200])
    parts = path.split(b"/")
    if len(parts) > limits.max_depth:
        raise Damaged(f"its {what} is deeper than {limits.max_depth} levels", raw[:200])
    for part in parts:
        if part in (b"", b".", b".."):
            raise Damaged(f"its {what} has an empty, '.' or '..' component", raw)
        if len(part) > 255:
            raise Damaged(f"its {what} has a component longer than 255 bytes", raw[:200])
    return path


class Reader:
    """The members of one stream. Raises `Foreign` if it is not tar, `Damaged` for everything refused."""

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._kinds: dict[bytes, str] = {}  # every path seen; "made" is a directory known only by its children
        self._seen_extension: dict[bytes, int] = {}
        self._left = 0  # stored bytes of the current member not taken yet, its padding not counted
        self._padding = 0
        self._ended = False
        self.members = 0
        self.content_bytes = 0

    # ------------------------------------------------------------------------------------------- members

    def next(self) -> Item | None:
        """The next member, None at the end (the stream is then read through and its end is as it must be)."""
        if self._ended:
            return None
        self._finish_member()
        records: dict[bytes, bytes] | None = None
        names: dict[bytes, bytes] = {}
        stream = self._stream
        while True:
            block = stream.take(BLOCK)
            if len(block) < BLOCK:
                raise Damaged("it is cut off: the end-of-archive blocks are missing")
            if block == ZERO:
                if records is not None or names:
                    raise Damaged("an extended header stands at the end without its member")
                self._end()
                return None
            size = self._seen_extension.get(block)
            if size is None:
                if not self.members and not header.looks_like(block):
                    raise Foreign("it is not a tar archive")
                fields = header.parse(block)
                flag = fields.flag
                if flag not in b"xgLK":
                    break
                size = fields.size
                if flag == b"x" and len(self._seen_extension) < 1024:
                    self._seen_extension[block] = size
                path = fields.path
            else:
                flag, path = b"x", b"././@PaxHeader"
            if flag == b"x":
                if records is not None:
                    raise Damaged("it has two pax headers", path)
                records = pax.parse(self._metadata(size, self._limits.max_metadata, path), path)
            elif flag == b"g":
                if records is not None or names:
                    raise Damaged("a global header stands between a member and its extended header", path)
                for key in pax.parse(self._metadata(size, self._limits.max_metadata, path), path):
                    if key != b"comment":
                        raise Damaged("a global header sets more than a comment", path)
            else:
                if flag in names:
                    raise Damaged("it has two long names", path)
                name = self._metadata(size, _MAX_NAME, path)
                if len(name) < 2 or name.find(b"\0") != len(name) - 1:
                    raise Damaged("its long name is empty or does not end with its only NUL byte", path)
                names[flag] = name[:-1]
        item = self._item(fields, records or {}, names)
        self._admit(item)
        return item

    def _metadata(self, size: int, most: int, member: bytes) -> bytes:
        if size > most:
            raise Damaged(f"an extended header of {size} bytes is over the limit of {most}", member)
        body = self._stream.take(size)
        if len(body) < size or len(self._stream.take(-size % BLOCK)) < -size % BLOCK:
            raise Damaged("it is cut off in an extended header", member)
        return body

    def _item(self, fields: header.Header, records: dict[bytes, bytes], names: dict[bytes, bytes]) -> Item:
        raw = fields.path
        if b"path" in records:
            if b"L" in names:
                raise Damaged("it has a pax path and a GNU long name", raw)
            raw = records[b"path"]
        elif b"L" in names:
            raw = names[b"L"]
        sparse_keys = [key for key in records if key.startswith(b"GNU.sparse.")]
        if sparse_keys:
            self._check_sparse(fields, records, sparse_keys, raw)
            raw = records.get(b"GNU.sparse.name", raw)
        kind = _KINDS.get(fields.flag)
        if kind is None:
            what = _REFUSED.get(fields.flag, f"of unknown type {fields.flag!r}")
            raise Damaged(f"it is {what}; such members are not accepted", raw)
        size = fields.size
        if b"size" in records:
            size = self._decimal(records[b"size"], "size", raw, header.MAX_READ - 1)
            if fields.size not in (0, size):
                raise Damaged("its pax size contradicts the size in its header", raw)
        if raw.endswith(b"/") and kind == "file":
            if fields.flag != b"\0" or size:
                raise Damaged("it is a file, but its path ends like a directory's", raw)
            kind = "dir"
        if kind != "dir" and raw.endswith(b"/"):
            raise Damaged("its path ends with a slash, but it is not a directory", raw)
        path = clean(raw, self._limits)
        if not path and kind != "dir":
            raise Damaged("its path is empty", raw)
        if size and kind != "file":
            raise Damaged(f"it is a {kind}, but data follows", path)
        link = self._link(fields, records, names, kind, path)
        item = Item(
            path,
            kind,
            fields.mode,
            self._decimal(records[b"uid"], "uid", path, MAX_READ_ID) if b"uid" in records else fields.uid,
            self._decimal(records[b"gid"], "gid", path, MAX_READ_ID) if b"gid" in records else fields.gid,
            records.get(b"uname", fields.uname),
            records.get(b"gname", fields.gname),
            size,
            self._mtime(fields, records, path),
            link,
            size,
        )
        if records:
            self._attributes(item, records)
        self._left = item.stored
        self._padding = -item.stored % BLOCK
        if sparse_keys:
            item.size = self._decimal(records[b"GNU.sparse.realsize"], "real size", path, header.MAX_READ - 1)
            if item.size > self._limits.max_bytes:
                raise Damaged(f"its real size {item.size} is over the limit of {self._limits.max_bytes} bytes", path)
            item.regions, self._left = sparse.parse_map(self._map_block, item.stored, item.size, path)
        return item

    def _link(
        self, fields: header.Header, records: dict[bytes, bytes], names: dict[bytes, bytes], kind: str, path: bytes
    ) -> bytes:
        link = fields.link
        if b"linkpath" in records:
            if b"K" in names:
                raise Damaged("it has a pax linkpath and a GNU long link", path)
            link = records[b"linkpath"]
        elif b"K" in names:
            link = names[b"K"]
        if kind == "hardlink":
            try:
                link = clean(link, self._limits, "link")
            except Damaged as cause:
                raise Damaged(f"it is a hard link to a place outside or to nothing ({cause})", path) from None
            if not link:
                raise Damaged("it is a hard link to nothing", path)
            return link
        if kind == "symlink":
            if not link or b"\0" in link or len(link) > _MAX_LINK:
                raise Damaged("it is a symlink whose target is empty, too long or holds a NUL byte", path)
            return link
        return b""

    def _mtime(self, fields: header.Header, records: dict[bytes, bytes], path: bytes) -> int:
        if b"mtime" in records:
            return pax.parse_time(records[b"mtime"], path)
        return fields.mtime * _SECOND

    @staticmethod
    def _decimal(text: bytes, what: str, member: bytes, most: int) -> int:
        if not text.isdigit() or len(text) > 20 or int(text) > most:
            raise Damaged(f"its pax {what} is not a number that can be", member)
        return int(text)

    @staticmethod
    def _check_sparse(fields: header.Header, records: dict[bytes, bytes], keys: list[bytes], raw: bytes) -> None:
        if any(key not in _SPARSE for key in keys) or b"GNU.sparse.realsize" not in records:
            raise Damaged("it is a sparse file of a kind other than 1.0", raw)
        if records.get(b"GNU.sparse.major") != b"1" or records.get(b"GNU.sparse.minor") != b"0":
            raise Damaged("it is a sparse file of a kind other than 1.0", raw)
        if fields.flag not in (b"0", b"\0"):
            raise Damaged("it has a sparse map, but is not a file", raw)

    @staticmethod
    def _attributes(item: Item, records: dict[bytes, bytes]) -> None:
        for key, value in records.items():
            if key.startswith(_XATTR):
                name = pax.unquote_key(key[len(_XATTR) :])
                if not name.startswith(b"user.") or b"\0" in name or name in item.xattrs:
                    raise Damaged(f"it has the extended attribute {escape(name)}, which is not accepted", item.path)
                item.xattrs[name] = value
            elif key == b"SCHILY.acl.access":
                item.acl_access = acl.to_text(acl.from_text(value, item.path))
            elif key == b"SCHILY.acl.default":
                item.acl_default = acl.to_text(acl.from_text(value, item.path))

    # --------------------------------------------------------------------------------------- the tree so far

    def _admit(self, item: Item) -> None:
        """The rules that need the members before: limits, duplicates, parents, targets of hard links."""
        self.members += 1
        limits = self._limits
        if self.members > limits.max_entries:
            raise Damaged(f"it has more than {limits.max_entries} members", item.path)
        if item.kind == "file":
            self.content_bytes += item.size
            if self.content_bytes > limits.max_bytes:
                raise Damaged(f"its content is over the limit of {limits.max_bytes} bytes", item.path)
        kinds = self._kinds
        path = item.path
        known = kinds.get(path)
        if known is not None and not (known == "made" and item.kind == "dir"):
            raise Damaged("it stands twice in the archive", path)
        kinds[path] = item.kind
        parent = path.rpartition(b"/")[0]
        while parent:
            above = kinds.get(parent)
            if above == "dir" or above == "made":
                break
            if above is not None:
                raise Damaged(f"it lies below '{above}' member, which is not a directory", path)
            kinds[parent] = "made"
            parent = parent.rpartition(b"/")[0]
        if item.kind == "hardlink" and (item.link == path or kinds.get(item.link) not in ("file", "hardlink")):
            raise Damaged("it is a hard link to something that is not a file before it in the archive", path)

    # ------------------------------------------------------------------------------------------- content

    def _map_block(self, count: int) -> bytes:
        block = self._stream.take(count)
        if len(block) < count:
            raise Damaged("it is cut off in a sparse map")
        return block

    def content(self, item: Item) -> Iterator[tuple[int, bytes]]:
        """The content of the member last given, as (offset, bytes); what lies between is zeros.

        Raises `Damaged` if cut off.
        """
        regions = item.regions if item.regions is not None else [(0, item.size)]
        for offset, length in regions:
            for piece in self._stream.pieces(length):
                self._left -= len(piece)
                yield offset, piece
                offset += len(piece)
                length -= len(piece)
            if length:
                raise Damaged("it is cut off", item.path)

    def _finish_member(self) -> None:
        rest = self._left + self._padding
        if rest:
            for piece in self._stream.pieces(rest):
                rest -= len(piece)
            if rest:
                raise Damaged("it is cut off in the content of a member")
            self._left = self._padding = 0

    def _end(self) -> None:
        """The first zero block was read: a second one must follow, then nothing but zeros."""
        if self._stream.take(BLOCK) != ZERO:
            raise Damaged("it ends with one zero block instead of two")
        while rest := self._stream.take(1 << 16):
            if rest.strip(b"\0"):
                raise Damaged("there is something behind the end-of-archive blocks")
        self._ended = True
