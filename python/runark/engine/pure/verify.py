"""Verifying an archive: open it anew, decode all of it, check what it says about itself.

Two uses. `proven` is the gate's step 3 for an archive this run packed: the decoded stream must be the packed one
(digest and length), and the seal must say so. `verify` is the verb for any archive: every member must be acceptable to
the reader, the end as it must be, and digest, length, number of members and content must equal the seal, if there is
one.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Iterator

from runark.engine.protocol import FORMATS, Fault, Limits, Outcome
from runark.engine.pure import codec, seal
from runark.engine.pure.ends import Cancelled, Control, Damaged, Failure, Foreign, failure
from runark.engine.pure.tar.reader import Item, Reader
from runark.errors import FormatUnavailable

__all__ = ["Archive", "proven", "verify"]

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Archive:
    """An archive open for reading, with its seal. A context manager.

    Raises `Failure` if it cannot be opened, is not a regular file or is not named like an archive.
    """

    def __init__(self, name: bytes, path: bytes, directory: int | None = None, named: str | None = None) -> None:
        """`path` is for messages; `named` the format where the name (of a part file) does not say it."""
        found = codec.format_of(name)
        if named is None and found is None:
            raise Failure(Fault("open", path, 0, f"not named like an archive (.{', .'.join(FORMATS)})"))
        self.format: str = named if named is not None else found[0] if found is not None else ""
        self.path = path
        try:
            self.fd = os.open(name, _READ, dir_fd=directory)
        except OSError as cause:
            raise failure("open", path, cause) from cause
        try:
            self.status = os.fstat(self.fd)
            if not stat.S_ISREG(self.status.st_mode):
                raise Failure(Fault("open", path, 0, "not a regular file; give the path of an archive"))
            self.size = self.status.st_size
            self.claim = seal.read(self.fd, self.size, self.format)
        except BaseException as cause:
            os.close(self.fd)
            if isinstance(cause, OSError):
                raise failure("read", path, cause) from cause
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def read(self, limits: Limits, control: Control) -> Iterator[tuple[Item, Reader]]:
        """Each member with the reader that gives its content; then everything is checked against the seal.

        Raises `Damaged` (`Foreign` if it is no archive at all), `Failure`, `FormatUnavailable`, `Cancelled`. After the
        last member the attributes `members`, `content` and `digest` say what was read.
        """
        try:
            if self.claim is None and seal.is_broken(self.fd, self.size, self.format):
                raise Damaged("its seal is broken, or made by a later version of runark")
            os.lseek(self.fd, 0, os.SEEK_SET)
            stream = codec.Stream(self.fd, self.size, self.format, self.claim, limits, control)
            reader = Reader(stream, limits)
            while (item := reader.next()) is not None:
                control.check()
                yield item, reader
            self._check(stream, reader)
        except Foreign as cause:
            if self.claim is not None:
                raise Damaged("its content is not what its seal says: it is no tar archive") from cause
            raise
        except OSError as cause:
            raise failure("read", self.path, cause) from cause
        self.members = reader.members
        self.content = reader.content_bytes
        self.digest = stream.digest()

    def _check(self, stream: codec.Stream, reader: Reader) -> None:
        claim = self.claim
        if claim is None:
            return
        if stream.frames[0] != 1:
            raise Damaged("it is sealed, but has more than one compressed frame")
        if claim.stream != stream.length or claim.sha256 != stream.digest():
            raise Damaged("its content is not what its seal says (SHA-256 or length differs)")
        if claim.entries != reader.members or claim.content != reader.content_bytes:
            raise Damaged("its counts are not what its seal says")


def proven(
    directory: int,
    name: bytes,
    path: bytes,
    written: os.stat_result,
    claim: seal.Claim,
    packed: bytes | None,
    fmt: str,
    control: Control,
) -> None:
    """Read the archive just packed anew and compare it with what was packed.

    `packed` is the whole tar stream, if it is still in memory; `written` the `fstat` of the handle it was written
    through: the name must still lead to that file. Raises `Failure`, `Damaged`.
    """
    try:
        if fmt == "tar.gz" and packed is not None:
            _proven_at_once(directory, name, written, claim, packed)
            return
        with Archive(name, path, directory, fmt) as archive:
            _same_file(archive.status, written)
            if archive.claim != (claim if fmt in ("tar.gz", "tar.zst") else None):
                raise Damaged("its seal is not the one that was written")
            os.lseek(archive.fd, 0, os.SEEK_SET)
            stream = codec.Stream(archive.fd, archive.size, fmt, claim, Limits(), Control())
            while stream.take(codec.CHUNK):
                control.check()
            if stream.length != claim.stream or stream.digest() != claim.sha256 or stream.frames[0] > 1:
                raise Damaged("what is read back is not what was written")
    except OSError as cause:
        raise failure("read", path, cause) from cause


def _same_file(found: os.stat_result, written: os.stat_result) -> None:
    if (found.st_dev, found.st_ino, found.st_size) != (written.st_dev, written.st_ino, written.st_size):
        raise Damaged("another file has taken its name")


def _proven_at_once(directory: int, name: bytes, written: os.stat_result, claim: seal.Claim, packed: bytes) -> None:
    """The same for a small gzip archive in few calls: this is what most sessions go through."""
    size = written.st_size
    fd = os.open(name, _READ, dir_fd=directory)
    try:
        _same_file(os.fstat(fd), written)
        data = os.read(fd, size + 1)
    finally:
        os.close(fd)
    if len(data) != size or not data.startswith(seal.gzip_head(claim)):
        raise Damaged("its length or its seal is not what was written")
    decoder = zlib.decompressobj(31)
    try:
        # one byte more than it should be: a longer stream shows as one that has not ended
        decoded = decoder.decompress(data, len(packed) + 1)
    except zlib.error as cause:
        raise Damaged(f"what was written cannot be decoded: {cause}") from None
    # comparing with what was packed says more than comparing digests, and costs less
    if not decoder.eof or decoder.unused_data or decoded != packed:
        raise Damaged("what is read back is not what was written")


def verify(path: bytes, limits: Limits, control: Control) -> Outcome:
    """Verify one archive. Never raises for what is wrong with it."""
    begun = time.perf_counter()
    action, reason, fault = "", "", None
    size = members = content = 0
    digest = ""
    try:
        with Archive(path, path) as archive:
            size = archive.size
            for _ in archive.read(limits, control):
                control.entries += 1
            members, content, digest = archive.members, archive.content, archive.digest
            action = "unsealed" if archive.claim is None else "sound"
    except Cancelled:
        action = "cancelled"
    except Foreign as cause:
        action, reason = "foreign", str(cause)
    except Damaged as cause:
        action, reason, fault = "damaged", str(cause), Fault("decode", path, 0, str(cause))
    except Failure as cause:
        action, reason, fault = "unreadable", cause.fault.message, cause.fault
    except FormatUnavailable as cause:
        action, reason, fault = "unreadable", str(cause), Fault("decode", path, 0, str(cause))
    return Outcome(
        path,
        action,
        reason,
        entries=members,
        bytes_in=content,
        bytes_out=size,
        sha256=digest,
        milliseconds=(time.perf_counter() - begun) * 1000,
        fault=fault,
    )
