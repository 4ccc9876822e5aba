"""Names: publishing an archive (step 4 of the gate), and taking one away from its name.

Never over something that exists. And because two runs may meet on one session (overlapping roots, two hosts), whoever
takes an archive away first renames it and then looks whether the session is still there, while whoever removes a
session first renames that and then looks whether the archive is still there (`stands`). Renames have an order, so one
of the two sees the other and gives way; at worst both do, and session and archive stand side by side again.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from runark.engine.pure import sys
from runark.engine.pure.ends import Changed, escape, failure
from runark.engine.pure.place import Place, random_name

__all__ = ["Inode", "inode_of", "publish", "stands", "take_away"]


class Inode(NamedTuple):
    """What a name leads to."""

    device: int
    number: int


def inode_of(status: os.stat_result) -> Inode:
    return Inode(status.st_dev, status.st_ino)


def stands(place: Place, name: bytes, inode: Inode) -> bool:
    """Whether the name leads to this inode now. Raises `Failure`."""
    try:
        return inode_of(os.stat(name, dir_fd=place.fd, follow_symlinks=False)) == inode
    except FileNotFoundError:
        return False
    except OSError as cause:
        raise failure("stat", place.join(name), cause) from cause


def publish(place: Place, part: bytes, final: bytes) -> None:
    """Give the part file its final name. Raises `Changed` if somebody else's archive is there by now, `Failure`."""
    try:
        sys.rename_noreplace(place.fd, part, place.fd, final)
    except FileExistsError:
        raise Changed(f"{escape(final)} was made by somebody else meanwhile") from None
    except FileNotFoundError:
        raise Changed("somebody else took the part file away") from None
    except OSError as cause:
        raise failure("rename", place.join(part), cause) from cause


def take_away(
    place: Place, archive: bytes, inode: Inode, word: str, home: Place, session: bytes, session_inode: Inode
) -> bytes:
    """Rename an archive to `.<archive>.<word>-X` while its session stands; the new name.

    `inode`: what the archive must be; `home`, `session`, `session_inode`: where the session directory must stand.
    Raises `Changed` if the one or the other is not so, and nothing has changed its name then; `Failure`.
    """
    if not stands(home, session, session_inode):
        raise Changed("the session is not there any more (another run?); its archive was left in its place")
    if not stands(place, archive, inode):
        raise Changed(f"{escape(archive)} is another file now (another run?)")
    aside = b".%b.%b-%b" % (archive, word.encode("ascii"), random_name())
    try:
        sys.rename_noreplace(place.fd, archive, place.fd, aside)
        if stands(place, aside, inode) and stands(home, session, session_inode):
            return aside
        sys.rename_noreplace(place.fd, aside, place.fd, archive)
    except FileNotFoundError:
        raise Changed(f"{escape(archive)} is not there any more (another run?)") from None
    except FileExistsError:
        raise Changed(f"another run archived the session meanwhile; see also {escape(aside)}") from None
    except OSError as cause:
        raise failure("rename", place.join(archive), cause) from cause
    raise Changed("another run works on this session; its archive was left in its place")
