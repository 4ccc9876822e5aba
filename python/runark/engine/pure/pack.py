"""Packing one session: step 1 of the gate (`docs/durability.md`).

In order: open the session by handle, list it, create and lock the part file, write every entry in the order of the
archive while its record is taken, look again at everything but files that are held, write the seal, give the part file
owner and mode.

Guarantees: no symlink is followed and no FIFO opened; exactly the size seen is read, and that there is no more is seen;
a file, directory or name that is not the same at the end makes the session `Changed`; whatever goes wrong, the part
file is gone afterwards and the source was only read.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import time
import zlib

from runark.engine.protocol import ArchiveOptions
from runark.engine.pure import seal, sys
from runark.engine.pure.content import content_sum, regions_of
from runark.engine.pure.ends import Changed, Control, Skipped, escape, failure
from runark.engine.pure.metadata import Attributes, attributes, group_name, user_name
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
_MOST_HELD = 32  # entries of a session whose files are held
_FLAGS = {
    stat.S_IFREG: writer.FILE,
    stat.S_IFDIR: writer.DIRECTORY,
    stat.S_IFLNK: writer.SYMLINK,
    stat.S_IFIFO: writer.FIFO,
}


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


@functools.lru_cache(maxsize=4096)
def _form(mode: int, uid: int, gid: int, group: int) -> tuple[writer.Form, int]:
    """The form of entries of this mode and owner, and what they leave of the mode of an archive of `group`."""
    flag = _FLAGS[stat.S_IFMT(mode)]
    form = writer.form(flag, mode, uid, gid, user_name(uid), group_name(gid))
    if flag == writer.SYMLINK:
        return form, 0o777
    need_group, need_other = (0o050, 0o005) if flag == writer.DIRECTORY else (0o040, 0o004)
    to_group = mode & need_group == need_group and gid == group
    return form, (0o070 if to_group else 0) | (0o007 if mode & need_other == need_other else 0)


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
        place: Place,
        hold: bool,
    ) -> None:
        assert top.key is not None and top.status is not None
        self.session = session
        self.prefix = top.name + b"/"
        self.device = top.key[0]
        self.handles = handles
        self.part = part
        self.young = young
        self.control = control
        self.place = place
        self.local = place.local  # asked for every file
        self.volatile = place.volatile
        self.hold = hold  # files stay open with their leases
        self.sum = 0  # of what was streamed of a file
        self.first_names: dict[tuple[int, int], Entry] = {}  # of files with several links
        self.content = 0
        self.shared = 0o055  # what every entry gives to group and others; read here, search counted in
        self.top = top.status
        self.gid = top.status.st_gid
        self.rested = time.time_ns() - COARSE_NS  # what was changed last before this needs no wait

    def path(self, entry: Entry) -> bytes:
        return self.session + b"/" + entry.path if entry.path else self.session

    def header(self, entry: Entry, status: os.stat_result, size: int, found: Attributes | None = None) -> bytes:
        """The headers of an entry with `size` bytes of data behind them; `found`: its attributes."""
        form, shared = _form(status.st_mode, status.st_uid, status.st_gid, self.gid)
        self.shared &= shared
        path = self.prefix + entry.path
        if entry.kind == "dir" and entry.path:
            path += b"/"
        if found is None:
            return writer.member(path, form, size, status.st_mtime_ns, entry.link)
        records, access = found
        if access is not None:
            mode = (status.st_mode & ~0o070) | acl.group_bits(access) << 3
            self.shared &= _form(mode, status.st_uid, status.st_gid, self.gid)[1]
        try:
            return writer.member(path, form, size, status.st_mtime_ns, entry.link, records)
        except writer.TooLarge:
            raise Skipped(
                f"more than {writer.MAX_METADATA} bytes of extended attributes: {escape(entry.path)}"
            ) from None

    def other(self, entry: Entry) -> None:
        """A directory, symlink or FIFO: its record was taken, and its age seen, while listing."""
        status = entry.status
        assert status is not None
        found = None
        if entry.kind == "dir":
            found = attributes(entry.fd if entry.fd >= 0 else self.handles.get(entry))
        self.part.add(self.header(entry, status, 0, found))

    def file(self, entry: Entry) -> None:
        """A regular file: opened, recorded, read, looked at again."""
        parent = entry.parent
        assert parent is not None
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
            key = entry.key = key_of(status)
            device, _, mode, size, mtime, _ = key
            if not stat.S_ISREG(mode):
                raise Changed(f"{escape(entry.path)} was replaced")
            if device != self.device:
                raise Skipped(f"mount point {escape(entry.path)}")
            if self.young is not None and mtime >= self.young:
                raise Skipped("young")
            if status.st_nlink > 1 and self.linked(entry, status, key):
                return
            self.content += size
            if self.local:
                self.see_no_writer(entry, fd)
            found = attributes(fd)
            if size >= _PIECE or status.st_blocks * 512 < size:
                self.large(entry, fd, status, found)
            else:
                if self.control.paced:
                    self.control.reads(size)
                # asking for one byte more than there should be shows the end, or that there is more
                data = os.read(fd, size + 1)
                if len(data) != size:
                    data += self.rest(entry, fd, size - len(data))
                head = self.header(entry, status, size, found)
                padding = -size % BLOCK
                self.part.extend((head, data, ZERO[:padding]), len(head) + size + padding)
                self.control.bytes += size
                if self.volatile and entry.fd < 0:
                    entry.sum = zlib.crc32(data)
            # one that is held nobody can write to, and it is looked at again before it is removed
            if entry.fd < 0 and key_of(os.fstat(fd)) != key:
                raise Changed(f"{escape(entry.path)} changed while it was packed")
        finally:
            if entry.fd < 0:
                os.close(fd)

    def see_no_writer(self, entry: Entry, fd: int) -> None:
        """See that nobody has the file open for writing; while the session is small, keep it so."""
        leased = self.place.lease(fd, entry.path)
        if self.hold and self.content > _PIECE:
            # it takes a while: who wants to write is not kept waiting for it
            self.hold = False
            for held in self.handles.held:
                held.sum = content_sum(held.fd, os.fstat(held.fd))
            self.handles.let_go()
        if leased:
            if self.hold:
                entry.fd = fd
                self.handles.held.append(entry)
            else:
                sys.end_lease(fd)

    def linked(self, entry: Entry, status: os.stat_result, key: Key) -> bool:
        """Whether the file is in the archive under another of its names; a hard link to that is added then."""
        first = self.first_names.setdefault(key[:2], entry)
        if first is entry:
            return False
        if first.key != key:
            raise Changed(f"{escape(entry.path)} changed while it was packed")
        uid, gid = status.st_uid, status.st_gid
        form = writer.form(writer.HARDLINK, status.st_mode, uid, gid, user_name(uid), group_name(gid))
        self.part.add(writer.member(self.prefix + entry.path, form, 0, status.st_mtime_ns, self.prefix + first.path))
        return True

    def large(self, entry: Entry, fd: int, status: os.stat_result, found: Attributes | None) -> None:
        """The content of a file that has holes, or is read in pieces."""
        size = status.st_size
        self.sum = 0
        regions = regions_of(fd, status)
        if regions is not None:
            self.sparse(entry, fd, status, regions, found)
        else:
            self.part.add(self.header(entry, status, size, found))
            self.stream(entry, fd, size)
            self.part.add(pad(size))
            if os.read(fd, 1):
                raise Changed(f"{escape(entry.path)} grew while it was packed")
        if self.volatile:
            entry.sum = self.sum

    def rest(self, entry: Entry, fd: int, missing: int) -> bytes:
        """What a short read left over (a signal, a network filesystem), or the news that the file shrank or grew."""
        parts = []
        while missing > 0:
            data = os.read(fd, missing)
            if not data:
                raise Changed(f"{escape(entry.path)} shrank while it was packed")
            parts.append(data)
            missing -= len(data)
        if missing or os.read(fd, 1):
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
            if self.volatile:
                self.sum = zlib.crc32(data, self.sum)
            self.control.moved(len(data))

    def sparse(
        self,
        entry: Entry,
        fd: int,
        status: os.stat_result,
        regions: list[sparse.Region],
        found: Attributes | None,
    ) -> None:
        table = sparse.build_map(regions)
        stored = len(table) + sum(length for _, length in regions)
        records, access = found or ({}, None)
        records[b"GNU.sparse.major"] = b"1"
        records[b"GNU.sparse.minor"] = b"0"
        records[b"GNU.sparse.realsize"] = b"%d" % status.st_size
        self.part.add(self.header(entry, status, stored, (records, access)))
        self.part.add(table)
        for offset, length in regions:
            os.lseek(fd, offset, os.SEEK_SET)
            self.stream(entry, fd, length)
        self.part.add(pad(stored))
        os.lseek(fd, status.st_size, os.SEEK_SET)
        if os.read(fd, 1):
            raise Changed(f"{escape(entry.path)} grew while it was packed")

    def all(self, entries: list[Entry]) -> None:
        """Every entry in order, then every directory once more. Raises `Skipped`, `Changed`, `Failure`.

        Where the kernel alone makes changes, a directory's record says that its names are the same.
        """
        entry = entries[0]
        control = self.control
        # open, examine, list attributes; examine again, or take a lease; or both, and give the lease back
        for_file = 6 if self.local and not self.hold else 4
        # list attributes, and the look at the end
        directories = self.handles.directories
        told = self.local and self.handles.settled
        for_directory = 2 if told else 5
        paced = control.paced
        try:
            for entry in entries:
                if control.stopped:
                    control.check()
                control.entries += 1
                if paced:
                    control.asks(for_file if entry.kind == "file" else for_directory)
                if entry.kind == "file":
                    self.file(entry)
                else:
                    self.other(entry)
            for entry in directories:
                fd = entry.fd if entry.fd >= 0 else self.handles.get(entry)
                same = told or list_names(fd) == {child.name for child in entry.children}
                if not same or key_of(os.fstat(fd)) != entry.key:
                    raise Changed(f"directory {escape(entry.path) or '.'} changed while it was packed")
            if not paced:
                control.asks(for_file * (len(entries) - len(directories)) + for_directory * len(directories))
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

    The session directory stays open and locked (`Packed.handles`), with `keep_open` also those below it and, where
    they are few and small, are to be removed and nothing is waited for, the files with their leases; the caller closes
    them. Raises `Skipped`, `Changed`, `Failure` (`NoRoom` if there is no inode or space), `Cancelled`; the part
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
            few = len(entries) <= _MOST_HELD
            hold = keep_open and few and handles.settled and not options.keep_source and not control.paced
            packer = _Packer(session, entries[0], handles, part, young, control, place, hold)
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
