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
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from typing import NamedTuple

from runark.archive.leftovers import archived_name, session_of_leftover
from runark.engine.protocol import FORMATS, ArchiveJob, Fault, Outcome
from runark.errors import OperationFailed, UnsafePath
from runark.names import escape, unique_hex

__all__ = ["Lying", "bring_back", "check_trash", "give_way", "lying", "prepare_purge", "put", "tidy"]

_SESSIONS = b".sessions"
_LONGEST = 4096 - 64
"""Bytes of a path in the trash: a tombstone's and an archive's, which are longer, have to be within PATH_MAX."""
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
        if len(os.path.join(root, _place(run, above), name)) > _LONGEST:
            raise OSError(errno.ENAMETOOLONG, "the path in the trash would be too long")
        with _opened(root, above) as source, _made(root, _place(run, above)) as target:
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            error = OSError(
                error.errno, "on another filesystem than the trash; give that filesystem as a root of its own"
            )
        return _failed(outcome, "rename", error)
    return outcome._replace(action="trashed", reason="", inodes_freed=-1)


def lying(root: bytes, before: float | None = None) -> Iterator[Lying]:
    """What lies in the trash of a root, sorted; `before`: of runs that began before then (seconds since 1970)."""
    top = _trash(root)
    for run in _names(top):
        began = _began(run)
        if began is not None and (before is None or began < before):
            yield from _below(root, os.path.join(top, run), os.fsdecode(run))


def bring_back(root: bytes, one: Lying) -> None:
    """Rename a session to where it was. Raises `OperationFailed`, also if something is there by now."""
    above, name = os.path.split(os.path.relpath(one.session, root))
    try:
        if not one.whole:
            raise OperationFailed(f"{escape(one.path)} is partly removed; restore the session from its archive")
        with _opened(root, _place(one.run, above)) as source, _made(root, above) as target:
            if _status(name, target) is not None:
                raise OperationFailed(f"{escape(one.session)} is there again; move it away first")
            # Were one made this moment: a directory's rename replaces nothing but an empty directory.
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except OperationFailed:
        raise
    except OSError as error:
        raise OperationFailed(f"{escape(one.session)} cannot be brought back: {error.strerror}") from error
    tidy(root, one)


def prepare_purge(root: bytes, found: Sequence[Lying]) -> tuple[dict[bytes, Lying], list[ArchiveJob], list[Outcome]]:
    """What the engine is to do to purge these: each by the path of its job, the jobs, and outcomes of what stays."""
    by_path: dict[bytes, Lying] = {}
    jobs: list[ArchiveJob] = []
    stay: list[Outcome] = []
    for one in found:
        place, name = os.path.split(one.path)
        session = os.path.basename(one.session)
        path = os.path.join(place, session)
        try:
            text = _name_again(root, one)
            if text:
                stay.append(Outcome(one.path, "failed", text, fault=Fault("stat", one.session, errno.ENOENT, text)))
                continue
            if one.whole:
                name = b".%b.removing-%b" % (session, unique_hex(8).encode())
                os.rename(one.path, os.path.join(place, name))
        except OSError as error:
            stay.append(_failed(Outcome(one.path, "failed"), "link", error))
            continue
        by_path[path] = one
        jobs.append(ArchiveJob(path, (name,)))
    return by_path, jobs, stay


def give_way(root: bytes, one: Lying) -> str:
    """After a session was purged, while its archive has two names: see that one of them is beside where it was.

    Somebody may have taken that away meanwhile; then it is all there is of the session. Gives a note if it is not so.
    """
    for name, second in _archive_names(one):
        if _status(second) is None:
            continue
        live = os.path.join(os.path.dirname(one.session), name)
        try:
            with _beside(root, one) as directory:
                with contextlib.suppress(FileExistsError):
                    os.link(second, name, dst_dir_fd=directory, follow_symlinks=False)
                if not os.path.samestat(os.lstat(second), os.stat(name, dir_fd=directory, follow_symlinks=False)):
                    return f"{escape(live)} is another archive by now; what was purged is in {escape(second)}"
        except OSError as error:
            return (
                f"{escape(live)} is gone and cannot be made ({error.strerror}); what was purged is in {escape(second)}"
            )
    return ""


def tidy(root: bytes, one: Lying) -> None:
    """Take what is left of a session's place in the trash away: second names of archives, empty directories."""
    place = os.path.dirname(one.path)
    with contextlib.suppress(OSError), _beside(root, one) as directory:
        for name, second in _archive_names(one):
            there, here = _status(name, directory), _status(second)
            if there is not None and here is not None and os.path.samestat(there, here):
                os.unlink(second)
    while place.startswith(_trash(root)):
        try:
            os.rmdir(place)
        except OSError:  # something lies in it still
            return
        place = os.path.dirname(place)


def _archive_names(one: Lying) -> list[tuple[bytes, bytes]]:
    """What archives of a session are called, and their paths in the trash while it is purged."""
    names = [os.path.basename(one.session) + b"." + ending.encode() for ending in FORMATS]
    return [(name, os.path.join(os.path.dirname(one.path), name)) for name in names]


def _name_again(root: bytes, one: Lying) -> str:
    """Give a session's archives a second name beside it; gives the reason if it has to stay. Raises `OSError`.

    What has a second name from a purge that was killed may be another archive than the one that is there by now.
    """
    named = False
    with contextlib.suppress(FileNotFoundError), _beside(root, one) as directory:
        for name, second in _archive_names(one):
            now, then = _status(name, directory), _status(second)
            if then is not None and (now is None or not os.path.samestat(now, then)):
                if one.whole:
                    os.unlink(second)
                    then = None
                elif now is None:
                    os.link(second, name, dst_dir_fd=directory, follow_symlinks=False)  # what the removal rests on
                    now = then
                else:
                    return f"its archive is another one by now; the one that a purge has begun with is {escape(second)}"
            if now is not None and then is None:
                os.link(name, second, src_dir_fd=directory, follow_symlinks=False)
            named = named or now is not None
    return "" if named else "its archive is gone, so this is all there is of it; bring it back with runark undo"


def _beside(root: bytes, one: Lying) -> AbstractContextManager[int]:
    """Where a session was and its archive is."""
    return _opened(root, os.path.dirname(os.path.relpath(one.session, root)))


def _status(path: bytes, directory: int | None = None) -> os.stat_result | None:
    try:
        return os.stat(path, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _trash(root: bytes) -> bytes:
    return os.path.join(root, b".runark", b"trash")


def _place(run: str, above: bytes) -> bytes:
    """Below the root: where sessions of the directory `above` lie."""
    # A directory that is called so itself gets a dot more.
    names = (name + b"." if name.rstrip(b".") == _SESSIONS else name for name in above.split(b"/"))
    return os.path.join(b".runark", b"trash", os.fsencode(run), b"/".join(names), _SESSIONS)


def _began(run: bytes) -> float | None:
    """When a run began, by its name (`audit.new_run`); None for a name that is no run's."""
    try:
        return datetime.strptime(run[:16].decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


def _below(root: bytes, top: bytes, run: str) -> Iterator[Lying]:
    waiting = [(top, b"")]  # no recursion: users make directories as deep as they like
    while waiting:
        directory, above = waiting.pop()
        if os.path.basename(directory) == _SESSIONS:
            for name in _names(directory):
                if archived_name(name) is None and _is_directory(os.path.join(directory, name)):
                    session = session_of_leftover(name) or name
                    yield Lying(os.path.join(directory, name), os.path.join(root, above, session), run)
            continue
        for name in reversed(_names(directory)):
            path = os.path.join(directory, name)
            if _is_directory(path):
                place = name[:-1] if name.rstrip(b".") == _SESSIONS else name
                waiting.append((path, above if name == _SESSIONS else os.path.join(above, place)))


def _is_directory(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _names(directory: bytes) -> list[bytes]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


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
