"""Packing one session: step 1 of the gate (`docs/durability.md`).

In order: open the session by handle, list it, create and lock the part file, write every entry in the order of the
archive while its record is taken, look at everything again, write the seal, give the part file owner and mode.

Guarantees: no symlink is followed and no FIFO opened; exactly the size seen is read, and that there is no more is seen;
a file, directory or name that is not the same at the end makes the session `Changed`; whatever goes wrong, the part
file is gone afterwards and the source was only read.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from runark.engine.protocol import ArchiveOptions
from runark.engine.pure import seal, sys
from runark.engine.pure.ends import Changed, Control, Skipped, escape, failure
from runark.engine.pure.metadata import attributes, group_name, user_name
from runark.engine.pure.part import FULL, NoRoom, Part, create_part, dress, drop
from runark.engine.pure.place import Place, random_name
from runark.engine.pure.tar import acl, sparse, writer
from runark.engine.pure.tar.header import BLOCK, ZERO, pad
from runark.engine.pure.walk import (
    COARSE_NS,
    Entry,
    Handles,
    Key,
    heed_mark,
    key_of,
    list_names,
    record_session,
    wait_for_clock,
)

__all__ = ["Packed", "pack"]

_PIECE = 1 << 20
_FLAGS = {"dir": writer.DIRECTORY, "symlink": writer.SYMLINK, "fifo": writer.FIFO}


class Packed:
    """A packed session: its records, its part file (open and locked) and what was written to it.

    `handles`: the session directory, locked, and what is below it as far as that was kept open. `written`: the part
    file's `fstat`. `data`: the whole tar stream of a small session.
    """

    __slots__ = ("claim", "data", "entries", "fd", "handles", "part", "written")

    def __init__(
        self,
        entries: list[Entry],
        handles: Handles,
        part: bytes,
        fd: int,
        written: os.stat_result,
        claim: seal.Claim,
        data: bytes | None,
    ) -> None:
        self.entries = entries
        self.handles = handles
        self.part = part
        self.fd = fd
        self.written = written
        self.claim = claim
        self.data = data


class _Packer:
    """The state of packing one session."""

    def __init__(
        self,
        session: bytes,
        top: Entry,
        handles: Handles,
        part: Part,
        young: int | None,
        control: Control,
        leases: bool,
    ) -> None:
        assert top.key is not None and top.status is not None
        self.session = session
        self.stem = top.name
        self.device = top.key[0]
        self.handles = handles
        self.part = part
        self.young = young
        self.control = control
        self.leases = leases
        self.first_names: dict[tuple[int, int], Entry] = {}  # of files with several links
        self.content = 0
        self.shared = 0o055  # what every entry gives to group and others; read here, search counted in
        self.top = top.status
        self.rested = time.time_ns() - COARSE_NS  # what was changed last before this needs no wait

    def path(self, entry: Entry) -> bytes:
        return self.session + b"/" + entry.path if entry.path else self.session

    def share(self, status: os.stat_result, kind: str, access: bytes | None) -> None:
        """Take away from the archive's mode what this entry does not give to group or others."""
        mode = status.st_mode
        if access is not None:
            mode = (mode & ~0o070) | acl.group_bits(access) << 3
        need_group, need_other = (0o050, 0o005) if kind == "dir" else (0o040, 0o004)
        if mode & need_group != need_group or status.st_gid != self.top.st_gid:
            self.shared &= ~0o070
        if mode & need_other != need_other:
            self.shared &= ~0o007

    def header(
        self,
        entry: Entry,
        status: os.stat_result,
        flag: bytes,
        size: int = 0,
        link: bytes = b"",
        extra: dict[bytes, bytes] | None = None,
    ) -> bytes:
        path = self.stem + b"/" + entry.path if entry.path else self.stem
        try:
            return writer.member(
                path + b"/" if flag == writer.DIRECTORY else path,
                flag,
                status.st_mode,
                status.st_uid,
                status.st_gid,
                user_name(status.st_uid),
                group_name(status.st_gid),
                size,
                status.st_mtime_ns,
                link,
                extra,
            )
        except writer.TooLarge:
            raise Skipped(
                f"more than {writer.MAX_METADATA} bytes of extended attributes: {escape(entry.path)}"
            ) from None

    def other(self, entry: Entry) -> None:
        """A directory, symlink or FIFO: its record was taken, and its age seen, while listing."""
        status = entry.status
        assert status is not None
        kind = entry.kind
        found = None
        if kind == "dir":
            self.control.asks(5)  # and those of listing it again at the end
            found = attributes(entry.fd if entry.fd >= 0 else self.handles.get(entry))
        if kind != "symlink":
            self.share(status, kind, found[1] if found else None)
        self.part.add(self.header(entry, status, _FLAGS[kind], 0, entry.link, found[0] if found else None))

    def file(self, entry: Entry) -> None:
        """A regular file: opened, recorded, read, looked at again."""
        parent = entry.parent
        assert parent is not None
        self.control.asks(2)
        try:
            fd = sys.open_file(entry.name, parent.fd if parent.fd >= 0 else self.handles.get(parent))
        except OSError as cause:
            if cause.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.ENODEV):
                raise Changed(f"{escape(entry.path)} vanished or was replaced") from None
            raise
        try:
            status = os.fstat(fd)
            if status.st_ctime_ns >= self.rested and wait_for_clock(status.st_ctime_ns):
                status = os.fstat(fd)
            mode, size = status.st_mode, status.st_size
            if not stat.S_ISREG(mode):
                raise Changed(f"{escape(entry.path)} was replaced")
            if status.st_dev != self.device:
                raise Skipped(f"mount point {escape(entry.path)}")
            if self.young is not None and status.st_mtime_ns >= self.young:
                raise Skipped("young")
            entry.status = status
            key = entry.key = key_of(status)
            if status.st_nlink > 1 and self.linked(entry, status, key):
                return
            self.control.asks(4 if self.leases else 2)
            if self.leases and sys.is_being_written(fd):
                raise Changed(f"{escape(entry.path)} is open for writing")
            found = attributes(fd)
            records, access = found if found is not None else (None, None)
            self.share(status, "file", access)
            self.content += size
            if size >= _PIECE or status.st_blocks * 512 < size:
                self.large(entry, fd, status, records)
            else:
                self.control.reads(size)
                # asking for one byte more than there should be shows the end, or that there is more
                data = os.read(fd, size + 1)
                if len(data) < size:
                    data += self.rest(entry, fd, size - len(data))
                if len(data) > size:
                    raise Changed(f"{escape(entry.path)} grew while it was packed")
                self.part.add(self.header(entry, status, writer.FILE, size, b"", records), data, ZERO[: -size % BLOCK])
                self.control.bytes += size
            if key_of(os.fstat(fd)) != key:
                raise Changed(f"{escape(entry.path)} changed while it was packed")
        finally:
            os.close(fd)

    def linked(self, entry: Entry, status: os.stat_result, key: Key) -> bool:
        """Whether the file is in the archive under another of its names; a hard link to that is added then."""
        first = self.first_names.setdefault(key[:2], entry)
        if first is entry:
            return False
        if first.key != key:
            raise Changed(f"{escape(entry.path)} changed while it was packed")
        self.part.add(self.header(entry, status, writer.HARDLINK, 0, self.stem + b"/" + first.path))
        return True

    def large(self, entry: Entry, fd: int, status: os.stat_result, records: dict[bytes, bytes] | None) -> None:
        """The content of a file that has holes, or is read in pieces."""
        size = status.st_size
        regions = None
        if status.st_blocks * 512 < size:
            regions = sparse.data_regions(fd, size)
            os.lseek(fd, 0, os.SEEK_SET)
        if regions is not None:
            self.sparse(entry, fd, status, regions, records or {})
            return
        self.part.add(self.header(entry, status, writer.FILE, size, b"", records))
        self.stream(entry, fd, size)
        self.part.add(pad(size))
        if os.read(fd, 1):
            raise Changed(f"{escape(entry.path)} grew while it was packed")

    def rest(self, entry: Entry, fd: int, missing: int) -> bytes:
        """What a short read left over (a signal, a network filesystem), or the news that the file shrank."""
        parts = []
        while missing:
            data = os.read(fd, missing)
            if not data:
                raise Changed(f"{escape(entry.path)} shrank while it was packed")
            parts.append(data)
            missing -= len(data)
        if os.read(fd, 1):
            raise Changed(f"{escape(entry.path)} grew while it was packed")
        return b"".join(parts)

    def stream(self, entry: Entry, fd: int, count: int) -> None:
        """Copy `count` bytes from the current position."""
        while count:
            self.control.reads(min(_PIECE, count))
            data = os.read(fd, min(_PIECE, count))
            if not data:
                raise Changed(f"{escape(entry.path)} shrank while it was packed")
            count -= len(data)
            self.part.add(data)
            self.control.moved(len(data))

    def sparse(
        self, entry: Entry, fd: int, status: os.stat_result, regions: list[sparse.Region], records: dict[bytes, bytes]
    ) -> None:
        table = sparse.build_map(regions)
        stored = len(table) + sum(length for _, length in regions)
        records[b"GNU.sparse.major"] = b"1"
        records[b"GNU.sparse.minor"] = b"0"
        records[b"GNU.sparse.realsize"] = b"%d" % status.st_size
        self.part.add(self.header(entry, status, writer.FILE, stored, b"", records))
        self.part.add(table)
        for offset, length in regions:
            os.lseek(fd, offset, os.SEEK_SET)
            self.stream(entry, fd, length)
        self.part.add(pad(stored))
        os.lseek(fd, status.st_size, os.SEEK_SET)
        if os.read(fd, 1):
            raise Changed(f"{escape(entry.path)} grew while it was packed")

    def all(self, entries: list[Entry]) -> None:
        """Every entry in order, then every directory once more. Raises `Skipped`, `Changed`, `Failure`."""
        entry = entries[0]
        control = self.control
        try:
            for entry in entries:
                if control.stopped:
                    control.check()
                control.entries += 1
                if entry.kind == "file":
                    self.file(entry)
                else:
                    self.other(entry)
            for entry in entries:
                if entry.kind == "dir":
                    fd = entry.fd if entry.fd >= 0 else self.handles.get(entry)
                    if set(list_names(fd)) != entry.names or key_of(os.fstat(fd)) != entry.key:
                        raise Changed(f"directory {escape(entry.path) or '.'} changed while it was packed")
        except OSError as cause:
            if cause.errno in (errno.ENOENT, errno.ENOTDIR):
                raise Changed(f"{escape(entry.path)} vanished while it was packed") from None
            if cause.errno in FULL:  # reading needs no room: it is the part file that is full
                raise NoRoom(failure("write", self.session, cause).fault) from cause
            raise failure("read", self.path(entry), cause) from cause


def pack(
    place: Place, name: bytes, options: ArchiveOptions, level: int, control: Control, *, keep_open: bool = False
) -> Packed:
    """Pack the session `name` in `place` into a new part file beside it.

    The session directory stays open and locked (`Packed.handles`), with `keep_open` also those below it; the caller
    closes them. Raises `Skipped`, `Changed`, `Failure` (`NoRoom` if there is no inode or space), `Cancelled`; the part
    file is gone then.
    """
    session = place.join(name)
    young = options.older_than_ns
    entries, handles = record_session(place.fd, name, session, young, control, examine=False, claim=True)
    done = False
    try:
        heed_mark(entries)
        control.asks(4)  # create, lock, examine and dress the part file
        part_name = b".%b.%b.%b.part" % (name, options.format.encode("ascii"), random_name())
        fd = create_part(place, name, part_name, options.reserve)
        try:
            part = Part(fd, options.format, level)
            packer = _Packer(session, entries[0], handles, part, young, control, place.leases)
            packer.all(entries)
            try:
                claim = part.finish(len(entries), packer.content)
                written = dress(fd, packer.top, packer.shared)
            except OSError as cause:
                error = failure("write", place.join(part_name), cause)
                raise (NoRoom(error.fault) if cause.errno in FULL else error) from cause
            done = True
            return Packed(entries, handles, part_name, fd, written, claim, part.data)
        finally:
            if not done:
                os.close(fd)
                drop(place, part_name)
    finally:
        if not done:
            handles.close()
        elif not keep_open:
            handles.close_below()
