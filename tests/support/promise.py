"""The promise, checked from outside: a session is whole in its place, or an archive holds exactly it.

What is in an archive is what GNU tar makes of it; runark has no say.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from support.trees import PathLike, Snapshot, differences, snapshot

__all__ = ["archives_of", "assert_kept", "assert_only_archives", "kept"]

_SUFFIXES = (".tar.gz", ".tar.zst", ".tar.xz", ".tar")
_known: dict[tuple[bytes, str], Snapshot | None] = {}


def archives_of(session: Path) -> list[Path]:
    """The archives beside a session, by name."""
    return [path for suffix in _SUFFIXES if (path := Path(f"{session}{suffix}")).exists()]


def kept(session: PathLike, before: Snapshot) -> list[str]:
    """Where all of the session is: `source`, `archive`, both or nowhere."""
    path = Path(os.fsdecode(session))
    places = []
    if path.is_dir() and not differences(before, snapshot(path)):
        places.append("source")
    if any(_content(archive) == before for archive in archives_of(path)):
        places.append("archive")
    return places


def assert_kept(session: PathLike, before: Snapshot, told: object = "") -> None:
    """Fails if the promise does not hold for this session."""
    if not kept(session, before):
        path = Path(os.fsdecode(session))
        raise AssertionError(f"LOST: {path.name}; there are {sorted(os.listdir(path.parent))}; {told}")


def assert_only_archives(sessions: dict[Path, Snapshot], told: object = "") -> None:
    """State S4 for each of the sessions, which share a directory, and nothing beside that."""
    (parent,) = {session.parent for session in sessions}
    for session, before in sessions.items():
        assert kept(session, before) == ["archive"], (session.name, sorted(os.listdir(parent)), told)
    names = sorted(name for name in os.listdir(parent) if name != ".runark")
    assert names == sorted(archive.name for session in sessions for archive in archives_of(session)), (names, told)


def _content(archive: Path) -> Snapshot | None:
    """What GNU tar extracts, None if it refuses. The same bytes are extracted once."""
    data = archive.read_bytes()
    key = (hashlib.sha256(data).digest(), archive.name)
    if key not in _known:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as scratch:
            command = (
                "tar",
                "--extract",
                "--same-permissions",
                "--xattrs",
                "--acls",
                "--file",
                archive,
                "--directory",
                scratch,
            )
            done = subprocess.run(command, capture_output=True, check=False)
            tops = os.listdir(scratch)
            whole = done.returncode == 0 and len(tops) == 1
            _known[key] = snapshot(os.path.join(scratch, tops[0])) if whole else None
    return _known[key]
