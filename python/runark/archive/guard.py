"""Paths runark refuses to work on.

A root is a tree that is searched; a session named by its path is a directory that will be removed. So a root may be
`.` or hold the working directory, a session may not. Neither may be a symlink, `/`, a home directory or the system's
own: those come from an unset variable or a slip in a script, hardly ever from intent. Reading (scan, verify, list) is
less strict.
"""

from __future__ import annotations

import os
import stat

from runark.errors import InvalidArgument, NotADirectory, OperationFailed, SourceMissing, UnsafePath
from runark.names import PathLike, escape, to_bytes

__all__ = ["ancestors_of_cwd", "check_root", "check_roots", "check_session", "cwd"]

# The directory itself is refused, what lies below (/home/me/data, /var/tmp/x) is the user's business ...
_TOPS = frozenset(
    b"/ /Applications /Library /System /Users /bin /boot /dev /etc /home /lib /lib32 /lib64 /libx32 /private /proc"
    b" /root /run /sbin /sys /usr /var".split()
)
# ... except here, where nobody keeps sessions.
_DEEP = tuple(b"/bin/ /boot/ /etc/ /lib/ /lib32/ /lib64/ /libx32/ /proc/ /sbin/ /sys/".split())
_HOMES = (b"/home", b"/Users")


def cwd() -> bytes | None:
    """The working directory, None if it has been removed."""
    try:
        return os.getcwdb()
    except FileNotFoundError:
        return None


def check_root(path: PathLike, *, changing: bool) -> bytes:
    """The root as an absolute path. `changing`: something in it will be removed or made.

    Raises `UnsafePath`, `SourceMissing`, `NotADirectory`; `OperationFailed` if the system does not let one look.
    """
    raw, status = _look(path)
    if stat.S_ISLNK(status.st_mode):
        raise UnsafePath(f"{escape(raw)} is a symlink; give the directory itself: {escape(os.path.realpath(raw))}")
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectory(f"{escape(raw)} is not a directory; give a directory that holds sessions")
    # `a/../b` is not `b` if `a` is a symlink, so the system resolves it; else the path stays as the user knows it.
    absolute = os.path.realpath(raw) if b".." in raw.split(b"/") else os.path.abspath(raw)
    if changing:
        _refuse_system(absolute, "root")
    return absolute


def check_roots(paths: tuple[PathLike, ...], *, changing: bool) -> tuple[bytes, ...]:
    """All roots, each once, sorted. Raises as `check_root`, and `InvalidArgument` for no root or one within another."""
    if not paths:
        raise InvalidArgument("no root given; name a directory that holds sessions")
    roots = sorted({check_root(path, changing=changing) for path in paths})
    for outer in roots:
        for inner in roots:
            if inner is not outer and inner.startswith(outer.rstrip(b"/") + b"/"):
                raise InvalidArgument(f"{escape(inner)} lies in {escape(outer)}; give only one of them")
    return tuple(roots)


def check_session(path: PathLike) -> bytes:
    """A session named by its path, as an absolute path without symlinks above it.

    Raises `UnsafePath` for what must never be archived and removed, else as `check_root`.
    """
    raw, status = _look(path)
    shown = escape(raw)
    parent, _, name = raw.rpartition(b"/")
    if name in (b".", b".."):
        raise UnsafePath(f"{shown}: name the session directory itself, from outside, not as '.' or '..'")
    if stat.S_ISLNK(status.st_mode):
        raise UnsafePath(f"{shown} is a symlink; archive the directory it points to: {escape(os.path.realpath(raw))}")
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectory(f"{shown} is not a directory; only session directories are archived")
    real_parent = os.path.realpath(parent or (b"/" if raw.startswith(b"/") else b"."))
    absolute = real_parent.rstrip(b"/") + b"/" + name
    _refuse_system(absolute, "session")
    if os.path.ismount(absolute):
        raise UnsafePath(f"{shown} is a mount point; unmount it or archive what lies in it")
    if (status.st_dev, status.st_ino) in _identities_above():
        raise UnsafePath(f"{shown} is the working directory or holds it; change to another directory first")
    return absolute


def ancestors_of_cwd(root: bytes) -> list[bytes]:
    """The working directory and the directories above it, within `root` and named as a scan of `root` names them."""
    here = cwd()
    if here is None:
        return []
    real = os.path.realpath(root)
    prefix = real.rstrip(b"/") + b"/"
    if here != real and not here.startswith(prefix):
        return []
    found, at = [root], root
    for part in here[len(prefix) :].split(b"/"):
        if part:
            at = at.rstrip(b"/") + b"/" + part
            found.append(at)
    return found


def _look(path: PathLike) -> tuple[bytes, os.stat_result]:
    raw = to_bytes(path)
    if not raw:
        raise UnsafePath("an empty path; is a variable unset?")
    if b"\0" in raw:
        raise InvalidArgument(f"{escape(raw)}: a path cannot hold NUL")
    # A slash at the end would make the system follow a symlink.
    raw = raw.rstrip(b"/") or b"/"
    try:
        return raw, os.lstat(raw)
    except FileNotFoundError as error:
        raise SourceMissing(f"{escape(raw)} does not exist; check the path") from error
    except NotADirectoryError as error:
        raise NotADirectory(f"{escape(raw)}: something above it is not a directory; check the path") from error
    except OSError as error:
        raise OperationFailed(f"cannot look at {escape(raw)}: {error.strerror}") from error


def _refuse_system(absolute: bytes, what: str) -> None:
    real = os.path.realpath(absolute)
    if real in _TOPS or real.startswith(_DEEP):
        raise UnsafePath(f"{escape(real)} belongs to the system; name the directory below it that is the {what}")
    if os.path.dirname(real) in _HOMES or real in _own_homes():
        raise UnsafePath(f"{escape(real)} is a home directory; name the directory below it that is the {what}")


def _own_homes() -> set[bytes]:
    import pwd

    homes = set()
    for uid in {os.getuid(), os.geteuid()}:
        try:
            homes.add(os.path.realpath(os.fsencode(pwd.getpwuid(uid).pw_dir)))
        except KeyError:  # no entry, as in many containers: no home to protect
            continue
    return homes


def _identities_above() -> set[tuple[int, int]]:
    """Device and inode of the working directory and everything above it."""
    here = cwd()
    found: set[tuple[int, int]] = set()
    while here is not None:
        status = os.stat(here)
        found.add((status.st_dev, status.st_ino))
        here = os.path.dirname(here) if here != b"/" else None
    return found
