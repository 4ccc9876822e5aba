"""The undo window: archived sessions lie in the root's trash for some days before they are removed.

    .runark/trash/<run>/<where the session was>/.sessions/S

A session gets there by one rename, after its archive was published, proven and found equal (state S2). It leaves by one
rename back (`runark undo`), or is purged. Purging trusts nothing it has not seen: the archive gets a second name beside
the session, the session becomes a tombstone, and the engine does with the two what it does with every tombstone: it
reads the archive through, compares it with what lies there, and removes exactly that. A session whose archive is gone
or differs stays. So the trash needs no record: where a session was, and since when it lies there, stand in its path.

Only the user of the run may look into the trash; what in it belongs to whom is as before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import NamedTuple

from runark.archive.leftovers import archived_name, session_of_leftover
from runark.engine.protocol import FORMATS, ArchiveJob, Fault, Outcome
from runark.errors import OperationFailed, UnsafePath
from runark.names import escape

__all__ = ["Lying", "bring_back", "check_trash", "lying", "prepare_purge", "put", "tidy"]

_SESSIONS = b".sessions"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Lying(NamedTuple):
    """A session in the trash."""

    path: bytes
    """Where it lies; under its own name, or under a tombstone's if a purge was killed."""
    session: bytes
    """Where it was."""
    run: str

    @property
    def whole(self) -> bool:
        """Nothing of it has been removed."""
        return os.path.basename(self.path) == os.path.basename(self.session)


def check_trash(root: bytes) -> None:
    """Raises `UnsafePath` if somebody else could reach what is put into the trash of a root."""
    for path, others in ((os.path.join(root, b".runark"), 0o022), (_trash(root), 0o077)):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & others:
            raise UnsafePath(
                f"{escape(path)} is not a directory of this user's alone, so sessions in the trash would not be safe"
                f" there; remove or chown it, chmod go-{'w' if others == 0o022 else 'rwx'}, or leave --trash-days away"
            )


def put(root: bytes, run: str, outcome: Outcome) -> Outcome:
    """Bring a session that was archived and kept into the trash; its outcome then.

    An outcome that says anything else is given back as it is.
    """
    if outcome.action != "kept":
        return outcome
    above, name = os.path.split(os.path.relpath(outcome.path, root))
    try:
        with _opened(root, above) as source, _made(root, _place(run, above)) as target:
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        return _failed(outcome, "rename", error)
    return outcome._replace(action="trashed", reason="", inodes_freed=-1)


def lying(root: bytes, before: float | None = None) -> Iterator[Lying]:
    """What lies in the trash of a root, sorted; `before`: of runs that began before then (seconds since 1970)."""
    top = _trash(root)
    for run in _names(top):
        began = _began(run)
        if began is not None and (before is None or began < before):
            yield from _below(root, os.path.join(top, run), b"", os.fsdecode(run))


def bring_back(root: bytes, one: Lying) -> None:
    """Rename a session to where it was. Raises `OperationFailed`, also if something is there by now."""
    above, name = os.path.split(os.path.relpath(one.session, root))
    try:
        if not one.whole:
            raise OperationFailed(f"{escape(one.path)} is partly removed; restore the session from its archive")
        with _opened(root, _place(one.run, above)) as source, _made(root, above) as target:
            if _there(name, target):
                raise OperationFailed(f"{escape(one.session)} is there again; move it away first")
            # Were one made this moment: a directory's rename replaces nothing but an empty directory.
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except OperationFailed:
        raise
    except OSError as error:
        raise OperationFailed(f"{escape(one.session)} cannot be brought back: {error.strerror}") from error
    tidy(root, one)


def prepare_purge(found: Sequence[Lying]) -> tuple[dict[bytes, Lying], list[ArchiveJob], list[Outcome]]:
    """What the engine is to do to purge these: each by the path of its job, the jobs, and outcomes of what stays."""
    by_path: dict[bytes, Lying] = {}
    jobs: list[ArchiveJob] = []
    stay: list[Outcome] = []
    for one in found:
        place, name = os.path.split(one.path)
        session = os.path.basename(one.session)
        path = os.path.join(place, session)
        try:
            for ending in FORMATS:
                suffix = b"." + ending.encode()
                with contextlib.suppress(FileNotFoundError, FileExistsError):
                    os.link(one.session + suffix, path + suffix, follow_symlinks=False)
            if not any(os.path.lexists(f"{os.fsdecode(path)}.{ending}") for ending in FORMATS):
                text = "its archive is gone, so this is all there is of it; bring it back with runark undo"
                stay.append(Outcome(one.path, "failed", text, fault=Fault("stat", one.session, errno.ENOENT, text)))
                continue
            if one.whole:
                name = b".%b.removing-%b" % (session, secrets.token_hex(8).encode())
                os.rename(one.path, os.path.join(place, name))
        except OSError as error:
            stay.append(_failed(Outcome(one.path, "failed"), "link", error))
            continue
        by_path[path] = one
        jobs.append(ArchiveJob(path, (name,)))
    return by_path, jobs, stay


def tidy(root: bytes, one: Lying) -> None:
    """Take what is left of a session's place in the trash away: second names of archives, empty directories."""
    place = os.path.dirname(one.path)
    for ending in FORMATS:
        name = os.path.basename(one.session) + b"." + ending.encode()
        with contextlib.suppress(OSError):
            status = os.lstat(os.path.join(place, name))
            if os.path.samestat(status, os.lstat(os.path.join(os.path.dirname(one.session), name))):
                os.unlink(os.path.join(place, name))
    while place.startswith(_trash(root)):
        try:
            os.rmdir(place)
        except OSError:  # something lies in it still
            return
        place = os.path.dirname(place)


def _trash(root: bytes) -> bytes:
    return os.path.join(root, b".runark", b"trash")


def _place(run: str, above: bytes) -> bytes:
    """Below the root: where sessions of the directory `above` lie."""
    return os.path.join(b".runark", b"trash", os.fsencode(run), above, _SESSIONS)


def _began(run: bytes) -> float | None:
    """When a run began, by its name (`audit.new_run`); None for a name that is no run's."""
    try:
        return datetime.strptime(run[:16].decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


def _below(root: bytes, directory: bytes, above: bytes, run: str) -> Iterator[Lying]:
    for name in _names(directory):
        path = os.path.join(directory, name)
        if not os.path.isdir(path) or os.path.islink(path):
            continue
        if name == _SESSIONS:
            for inner in _names(path):
                if archived_name(inner) is None:
                    session = session_of_leftover(inner) or inner
                    yield Lying(os.path.join(path, inner), os.path.join(root, above, session), run)
        else:
            yield from _below(root, path, os.path.join(above, name), run)


def _names(directory: bytes) -> list[bytes]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _there(name: bytes, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _opened(root: bytes, below: bytes) -> Iterator[int]:
    """A directory below the root, no symlink followed on the way."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in below.split(b"/") if below else ():
            inner = os.open(name, _DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _made(root: bytes, below: bytes) -> Iterator[int]:
    """The same, made where it is missing."""
    at = b""
    for name in below.split(b"/") if below else ():
        with _opened(root, at) as handle, contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700 if below.startswith(b".runark/") else 0o777, dir_fd=handle)
        at = os.path.join(at, name)
    with _opened(root, below) as handle:
        yield handle


def _failed(outcome: Outcome, op: str, error: OSError) -> Outcome:
    text = error.strerror or str(error)
    return outcome._replace(action="failed", reason=text, fault=Fault(op, outcome.path, error.errno or 0, text))
