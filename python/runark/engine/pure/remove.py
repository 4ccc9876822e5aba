"""Rechecking and removing one session: steps 5 and 6 of the gate, and what `discard` does.

`recheck` sees that every recorded entry is still the one that was recorded. `entomb` renames the session to its
tombstone. `remove` then unlinks exactly the recorded entries, bottom up and through handles, each after a last look;
directories go by `rmdir`, which fails if something is left.

Guarantees: never a recursive delete; nothing unknown and nothing changed is removed; what stops half-way says how much
was removed, so that the caller knows whether the source is still whole.
"""

from __future__ import annotations

import errno
import os

from runark.engine.protocol import Fault
from runark.engine.pure import sys
from runark.engine.pure.content import content_sum
from runark.engine.pure.ends import Changed, Control, Failure, escape, failure
from runark.engine.pure.place import Place, random_name
from runark.engine.pure.walk import Entry, Handles, Key, key_of, list_names

__all__ = ["Stopped", "entomb", "recheck", "remove", "rename_back"]


_EMPTIABLE = os.W_OK | os.X_OK
_EFFECTIVE = os.access in os.supports_effective_ids


class Stopped(Exception):
    """The removal came to a halt.

    `removed` is the number of entries that are gone; `cause` a `Changed` or a `Failure`.
    """

    def __init__(self, cause: Changed | Failure, removed: int) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.removed = removed


def recheck(place: Place, name: bytes, entries: list[Entry], handles: Handles, control: Control) -> None:
    """See that every entry still is what was recorded.

    `handles`: those of the packing or the comparison; the session directory itself must be open.

    Raises `Changed`, and `Failure` if an entry cannot be examined or a directory could not be emptied.
    """
    session = place.join(name)
    top = entries[0]
    entry = top
    paced = control.paced
    try:
        # the handle may be of a directory that has another name by now
        if (
            key_of(os.stat(name, dir_fd=place.fd, follow_symlinks=False)) != top.key
            or key_of(os.fstat(top.fd)) != top.key
        ):
            raise Changed("the session directory changed after it was recorded")
        for directory in handles.directories:
            entry = directory
            if paced:
                control.asks(2)
            fd = entry.fd if entry.fd >= 0 else handles.get(entry)
            if entry is not top and key_of(os.fstat(fd)) != entry.key:
                raise Changed(f"{escape(entry.path)} changed after it was recorded")
            # root is asked too: a file server may take it for nobody
            if not os.access(b".", _EMPTIABLE, dir_fd=fd, effective_ids=_EFFECTIVE):
                path = session + b"/" + entry.path if entry.path else session
                reason = "directory is not writable, so the session cannot be removed; chmod u+w it, or keep the source"
                raise Failure(Fault("unlink", path, errno.EACCES, reason))
            for entry in directory.children:
                if entry.kind != "dir":
                    if paced:
                        control.asks(1)
                    # the name of one that is held leads to it as long as its directory has not changed
                    status = os.fstat(entry.fd) if entry.fd >= 0 else os.lstat(entry.name, dir_fd=fd)
                    if key_of(status) != entry.key:
                        raise Changed(f"{escape(entry.path)} changed after it was recorded")
        if not paced:
            control.asks(len(entries) + len(handles.directories))
    except (FileNotFoundError, NotADirectoryError):
        raise Changed(f"{escape(entry.path) or 'the session directory'} vanished after it was recorded") from None
    except OSError as cause:
        raise failure("stat", session + b"/" + entry.path if entry.path else session, cause) from cause


def _see_at_rest(place: Place, entries: list[Entry], handles: Handles, control: Control) -> None:
    """Raise `Changed` if a process of this host has a file open for writing, or has asked to since it is held; where no
    time tells of those who had one open, if it has another content."""
    held = handles.held
    for entry in held:
        if not sys.lease_stands(entry.fd):
            raise Changed(f"{escape(entry.path)} is open for writing")
    if len(held) + len(handles.directories) < len(entries):
        for entry in entries:
            if entry.kind == "file" and entry.fd < 0:
                _see_file_at_rest(place, entry, handles, control)


def _is_linked(key: Key, entry: Entry, linked: set[tuple[int, int]]) -> bool:
    """Whether all that differs is the ctime, and that because another name of the file was removed."""
    return entry.key is not None and key[:5] == entry.key[:5] and key[:2] in linked


def _holds_no_more(directory: Entry, fd: int) -> bool:
    """Whether there is no name in the directory that was not there when it was listed."""
    return list_names(fd) <= {child.name for child in directory.children}


def _see_file_at_rest(place: Place, entry: Entry, handles: Handles, control: Control) -> None:
    parent = entry.parent
    assert parent is not None
    control.asks(2)
    try:
        fd = sys.open_file(entry.name, parent.fd if parent.fd >= 0 else handles.get(parent))
    except PermissionError:  # what may not be read is still looked at before it goes
        return
    try:
        place.lease(fd, entry.path)
        if entry.sum is not None and content_sum(fd, os.fstat(fd)) != entry.sum:
            raise Changed(f"{escape(entry.path)} changed after it was recorded")
    finally:
        os.close(fd)


def entomb(place: Place, top: Entry, word: bytes = b"removing") -> bytes:
    """Rename the session to its tombstone; the tombstone's name. Raises `Changed`, `Failure`.

    `top`: the session directory as it was recorded. If the name has got another directory since, that one is nobody's
    to remove and gets its name back.
    """
    name = top.name
    tombstone = b".%b.%b-%b" % (name, word, random_name())
    try:
        sys.rename_noreplace(place.fd, name, place.fd, tombstone)
    except FileNotFoundError:
        raise Changed("the session directory vanished after it was recorded") from None
    except OSError as cause:
        raise failure("rename", place.join(name), cause) from cause
    if not _is(place, tombstone, top):
        rename_back(place, tombstone, name)
        raise Changed("the session directory was replaced")
    return tombstone


def _is(place: Place, name: bytes, top: Entry) -> bool:
    """Whether the name leads to the recorded directory; what cannot be seen is not taken for it."""
    try:
        status = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
    except OSError:
        return False
    return top.key is not None and (status.st_dev, status.st_ino) == top.key[:2]


def rename_back(place: Place, tombstone: bytes, name: bytes) -> None:
    """Give what is left of a session its name again. Raises `Failure`."""
    try:
        sys.rename_noreplace(place.fd, tombstone, place.fd, name)
    except OSError as cause:
        raise failure("rename", place.join(tombstone), cause, f"rename it to {escape(name)} by hand") from cause


def remove(
    place: Place,
    tombstone: bytes,
    entries: list[Entry],
    handles: Handles,
    control: Control,
    *,
    heed_writers: bool = True,
) -> int:
    """Remove exactly the entries, directory by directory, the deepest first; the number of their inodes.

    `handles` are those of `recheck` (a rename does not close them). The caller closes them; if it stopped, after the
    session has its name back: who waits for a file that is held finds it there. `heed_writers`: a file that somebody
    has open for writing is a change. A cancel does not stop it. Raises `Stopped`.
    """
    session = place.join(tombstone)
    removed = 0
    entry = entries[0]
    linked: set[tuple[int, int]] = set()  # inodes of files with several names
    freed = 0
    paced = control.paced
    try:
        for entry in handles.directories:
            fd = entry.fd if entry.fd >= 0 else handles.get(entry)
            # a new name changes the record of its directory; that of the session the rename has changed anyway
            top = entry.parent is None
            if paced or top:
                control.asks(3 if top else 1)
            same = _holds_no_more(entry, fd) if top else key_of(os.fstat(fd)) == entry.key
            if not same:
                raise Changed(f"{escape(entry.path) or 'the session directory'} changed while the session was removed")
        if heed_writers and place.local:
            # Only who holds a directory of the session open can still open these files: who else has none open for
            # writing now, never will.
            _see_at_rest(place, entries, handles, control)
        for directory in reversed(handles.directories):
            entry = directory
            fd = directory.fd if directory.fd >= 0 else handles.get(directory)
            for entry in directory.children:
                if entry.kind == "dir":
                    continue  # it is gone
                if paced:
                    control.asks(2)
                status = os.lstat(entry.name, dir_fd=fd)
                key = key_of(status)
                if key != entry.key and not _is_linked(key, entry, linked):
                    raise Changed(f"{escape(entry.path)} changed while the session was removed")
                os.unlink(entry.name, dir_fd=fd)
                removed += 1
                if status.st_nlink > 1:
                    linked.add(key[:2])
                elif not linked or key[:2] not in linked:
                    freed += 1
            entry, parent = directory, directory.parent
            if paced:
                control.asks(1)
            if parent is None:
                os.rmdir(tombstone, dir_fd=place.fd)
            else:
                os.rmdir(entry.name, dir_fd=parent.fd if parent.fd >= 0 else handles.get(parent))
            removed += 1
            freed += 1
        if not paced:
            control.asks(2 * len(entries))
    except Changed as cause:
        raise Stopped(cause, removed) from cause
    except OSError as cause:
        path = session + b"/" + entry.path if entry.path else session
        # Once something was removed, an entry that is not there any more is nothing new: the tombstone stays, and the
        # next run finishes it. Under its own name the rest would be taken for a session that differs from its archive.
        missing = cause.errno in (errno.ENOENT, errno.ESTALE) and not removed
        if missing or cause.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            change = Changed(f"{escape(entry.path) or 'the session directory'} changed while the session was removed")
            raise Stopped(change, removed) from cause
        raise Stopped(failure("unlink", path, cause), removed) from cause
    return freed + len(linked)
