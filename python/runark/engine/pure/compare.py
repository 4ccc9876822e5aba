"""Comparing an archive with a directory: one mechanism for S2, for S3 and for `--verify compare`.

The archive is decoded once. Each member must be matched by an entry of the same kind, mode, owner, mtime, size, link
target, attributes and content, the content byte by byte. Whole (S2, a part file): the directory must hold nothing more
and nothing less, and names that are one file in the archive must be one file in the directory. Partial (S3): it may
hold less, and its directories' times are those of the removal.

What comes out besides "equal" are the records of the directory, taken before its content was read: the removal works
with them.
"""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from runark.engine.protocol import Limits
from runark.engine.pure import sys
from runark.engine.pure.content import content_sum
from runark.engine.pure.ends import Changed, Control, escape, failure
from runark.engine.pure.metadata import attributes
from runark.engine.pure.place import Place
from runark.engine.pure.publish import Inode, inode_of
from runark.engine.pure.tar.pax import quote_key
from runark.engine.pure.tar.reader import Item, Reader
from runark.engine.pure.verify import Archive
from runark.engine.pure.walk import Entry, Handles, key_of, record_session

__all__ = ["Compared", "Differs", "compare"]

_PIECE = 1 << 20
_MOST_HOLES = 1 << 34  # zeros hashed for one sparse file whose first name is gone


class Differs(Exception):
    """The archive is sound, but does not hold what the directory holds; the text says what differs first."""


class Compared(NamedTuple):
    """An archive that equals the directory."""

    entries: list[Entry]  # the directory's, recorded
    members: int
    content: int
    sha256: str
    size: int  # of the archive file
    inode: Inode  # of the archive file
    handles: Handles | None  # the directory, open and locked, if it was claimed


class _Comparison:
    def __init__(
        self,
        above: Place,
        stem: bytes,
        entries: list[Entry],
        handles: Handles,
        partial: bool,
        control: Control,
        pays: bool,
    ) -> None:
        self.above = above
        self.stem = stem
        self.entries = {entry.path: entry for entry in entries}
        self.handles = handles
        self.partial = partial
        self.control = control
        self.pays = pays  # content is charged; not when it is compared besides being packed
        self.matched = 0
        self.inodes: dict[tuple[int, int], bytes] = {}  # of files with several links: the name stored as a file
        # S3 only: files whose name is gone, for hard links to them that are left
        self.gone: dict[bytes, tuple[Item, str]] = {}

    def member(self, item: Item, reader: Reader) -> None:
        """Raise `Differs` unless the member's entry equals it; `Changed` or `Failure` if the entry cannot be read."""
        try:
            self._member(item, reader)
        except (FileNotFoundError, NotADirectoryError):
            raise Changed(f"{escape(item.path)} vanished while it was compared") from None
        except OSError as cause:
            raise failure("compare", self.above.join(item.path), cause) from cause

    def _member(self, item: Item, reader: Reader) -> None:
        if item.path == self.stem:
            path = b""
        elif item.path.startswith(self.stem + b"/"):
            path = item.path[len(self.stem) + 1 :]
        else:
            raise Differs(f"member {escape(item.path)} is not of this session")
        entry = self.entries.get(path)
        if entry is None:
            if not self.partial:
                raise Differs(f"{escape(path)} is only in the archive")
            self.absent(path, item, reader)
            return
        self.matched += 1
        self.control.entries += 1
        if item.kind == "hardlink":
            self.hard_link(entry, item)
        else:
            self.metadata(entry, item)
            if item.kind == "file":
                self.file(entry, item, reader)
            elif item.kind == "symlink" and entry.link != item.link:
                raise Differs(f"symlink {escape(path)} leads elsewhere")
            elif item.kind == "dir":
                self.control.asks(1)
                self.attributes(entry, item, self.handles.get(entry))

    def absent(self, path: bytes, item: Item, reader: Reader) -> None:
        if item.kind == "file":
            if item.regions is not None and item.size - item.stored > _MOST_HOLES:
                return
            digest = hashlib.sha256()
            position = 0
            for offset, piece in reader.content(item):
                _zeros_into(digest, offset - position)
                digest.update(piece)
                position = offset + len(piece)
            _zeros_into(digest, item.size - position)
            self.gone[path] = (item, digest.hexdigest())
        elif item.kind == "hardlink":
            origin = self.gone.get(item.link[len(self.stem) + 1 :])
            if origin is not None:
                self.gone[path] = origin

    def metadata(self, entry: Entry, item: Item, kind: str | None = None, size: int | None = None) -> None:
        status = entry.status
        assert status is not None
        name = escape(entry.path) or "the session directory"
        if entry.kind != (kind or item.kind):
            raise Differs(f"{name} is a {entry.kind}, in the archive a {item.kind}")
        if entry.kind != "symlink" and status.st_mode & 0o7777 != item.mode:
            raise Differs(f"{name} has another mode")
        if (status.st_uid, status.st_gid) != (item.uid, item.gid):
            raise Differs(f"{name} has another owner")
        if status.st_mtime_ns != item.mtime_ns and not (self.partial and entry.kind == "dir"):
            raise Differs(f"{name} has another mtime")
        if entry.kind == "file" and status.st_size != (item.size if size is None else size):
            raise Differs(f"{name} has another size")

    def attributes(self, entry: Entry, item: Item, fd: int) -> None:
        wanted = {b"SCHILY.xattr." + quote_key(name): value for name, value in item.xattrs.items()}
        if item.acl_access is not None:
            wanted[b"SCHILY.acl.access"] = item.acl_access
        if item.acl_default is not None:
            wanted[b"SCHILY.acl.default"] = item.acl_default
        found = attributes(fd)
        if (found[0] if found else {}) != wanted:
            raise Differs(f"{escape(entry.path) or 'the session directory'} has other attributes or ACLs")

    def hard_link(self, entry: Entry, item: Item) -> None:
        path = item.link[len(self.stem) + 1 :] if item.link.startswith(self.stem + b"/") else b""
        first = self.entries.get(path)
        if first is not None:
            assert entry.key is not None and first.key is not None
            # the first name's content was compared when its member came by
            if entry.kind != "file" or entry.key[:2] != first.key[:2]:
                raise Differs(f"{escape(entry.path)} is no hard link of {escape(path)}")
            self.metadata(entry, item, "file", first.key[3])
            return
        origin = self.gone.get(path)
        if origin is None:
            raise Differs(f"{escape(entry.path)} is a hard link of a file that cannot be compared")
        stored, digest = origin
        self.metadata(entry, item, "file", stored.size)
        fd = self.open(entry)
        try:
            found = hashlib.sha256()
            left = stored.size
            while left and (data := os.read(fd, min(_PIECE, left))):
                self.control.reads(len(data))
                found.update(data)
                left -= len(data)
                self.control.moved(len(data))
            if found.hexdigest() != digest:
                raise Differs(f"{escape(entry.path)} has other content")
            self.attributes(entry, stored, fd)
        finally:
            os.close(fd)

    def open(self, entry: Entry) -> int:
        assert entry.parent is not None
        self.control.asks(4)  # with attributes, and the look at its end
        fd = sys.open_file(entry.name, self.handles.get(entry.parent))
        if key_of(os.fstat(fd)) != entry.key:
            os.close(fd)
            raise Changed(f"{escape(entry.path)} changed while it was compared")
        return fd

    def file(self, entry: Entry, item: Item, reader: Reader) -> None:
        status = entry.status
        assert status is not None
        if status.st_nlink > 1 and not self.partial:
            first = self.inodes.setdefault((status.st_dev, status.st_ino), entry.path)
            if first != entry.path:
                raise Differs(f"{escape(entry.path)} is a hard link, in the archive a file of its own")
        fd = self.open(entry)
        try:
            if self.above.local:
                self.control.asks(2)
                # as in packing: stores through a mapping that is there already may change no time
                if self.above.lease(fd, entry.path):
                    sys.end_lease(fd)
            self.attributes(entry, item, fd)
            if self.above.volatile and self.pays:  # it is to be removed because of this
                # before it is compared: what is stored after that gives another one
                entry.sum = content_sum(fd, status, self.control.reads)
            position = 0
            for offset, piece in reader.content(item):
                if self.pays:
                    self.control.reads(len(piece))
                if not _zeros(fd, position, offset) or _read(fd, offset, len(piece)) != piece:
                    raise Differs(f"{escape(entry.path)} has other content")
                position = offset + len(piece)
                self.control.check()
            if not _zeros(fd, position, item.size):
                raise Differs(f"{escape(entry.path)} has other content")
            if key_of(os.fstat(fd)) != entry.key:
                raise Changed(f"{escape(entry.path)} changed while it was compared")
        finally:
            os.close(fd)


def _zeros_into(digest: hashlib._Hash, count: int) -> None:
    while count > 0:
        part = min(count, _PIECE)
        digest.update(bytes(part))
        count -= part


def _read(fd: int, offset: int, count: int) -> bytes:
    data = os.pread(fd, count, offset)
    while len(data) < count:
        more = os.pread(fd, count - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _zeros(fd: int, start: int, stop: int) -> bool:
    """Whether the file holds nothing but zeros from `start` to `stop`; holes are not read."""
    while start < stop:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:
            # no data behind it (ENXIO), or no such call (then everything is read)
            if not _can_seek_data(fd):
                return _all_read_zero(fd, start, stop)
            return True
        if start >= stop:
            return True
        end = min(os.lseek(fd, start, os.SEEK_HOLE), stop)
        if not _all_read_zero(fd, start, end):
            return False
        start = end
    return True


def _can_seek_data(fd: int) -> bool:
    """Whether the filesystem answers questions about holes: the place of the first one is always known then."""
    try:
        os.lseek(fd, 0, os.SEEK_HOLE)
    except OSError:
        return os.fstat(fd).st_size == 0
    return True


def _all_read_zero(fd: int, start: int, stop: int) -> bool:
    while start < stop:
        data = os.pread(fd, min(_PIECE, stop - start), start)
        if not data or data.strip(b"\0"):
            return False
        start += len(data)
    return True


def compare(
    place: Place,
    archive: bytes,
    directory: bytes,
    session: bytes,
    *,
    partial: bool,
    young: int | None,
    control: Control,
    claim: bool,
    named: str | None = None,
) -> Compared:
    """Compare the archive with the directory (both names in `place`); `session` is the session's name, as stored.

    `claim`: lock the directory, and keep it open and locked if it is equal; the caller closes it. `named`: the format
    of a part file, whose name does not end with it.

    Raises `Damaged` if the archive is not sound, `Differs` if it is but holds something else; `Changed`, `Skipped`,
    `Failure` for the directory, `Failure` too if the archive cannot be read; `Cancelled`.
    """
    path = place.join(archive)
    entries, handles = record_session(
        place.fd, directory, place.join(directory), young, control, examine=True, claim=claim
    )
    equal = False
    try:
        comparison = _Comparison(place, session, entries, handles, partial, control, claim)
        difference: Differs | None = None
        with Archive(archive, path, place.fd, named) as opened:
            control.asks(2)
            for item, reader in opened.read(Limits(), control):
                if difference is None:
                    try:
                        comparison.member(item, reader)
                    except Differs as cause:
                        difference = cause  # read on: is the archive at least sound?
        if difference is not None:
            raise difference
        if comparison.matched != len(entries):
            raise Differs(f"{len(entries) - comparison.matched} entries of {escape(session)} are not in the archive")
        equal = True
        return Compared(
            entries,
            opened.members,
            opened.content,
            opened.digest,
            opened.size,
            inode_of(opened.status),
            handles if claim else None,
        )
    finally:
        if equal and claim:
            handles.close_below()
        else:
            handles.close()
