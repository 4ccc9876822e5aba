"""Where a file goes and where it is looked for; and the list of what a session has saved.

A csv beside a figure is replaced only if it is, to the byte, what a figure put there. In a session's directory the list
of the session tells, elsewhere this process's memory or an attribute of the file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

from runark.errors import InvalidArgument, OperationFailed, SourceMissing
from runark.session import state
from runark.session.attach import parent_session
from runark.session.directory import shown
from runark.session.record import CONFIGS, OUTPUTS, read_outputs

__all__ = ["Content", "content_of", "holds", "is_of_figure", "note", "remember_of_figure", "source_of", "target_of"]

Content = tuple[int, str]
"""Length in bytes and SHA-256 of a file."""

_OWN = (f"{CONFIGS}/CONFIG.", f"{CONFIGS}/{OUTPUTS}", "logs/stdout", "logs/stderr")
_ATTRIBUTE = "user.runark.figure"


def target_of(path: Path) -> tuple[Path, Path | None]:
    """The file to write, and the session this process is in.

    Raises `InvalidArgument` for a relative path with `..`, and for the record and the logs of the session.
    """
    run = _session_directory()
    if path.is_absolute():
        target = path
    else:
        base = run or state.script_out() or Path.cwd()
        if ".." in path.parts:
            raise InvalidArgument(f"{shown(path)}: may lead out of {shown(base)}; give an absolute path instead")
        target = base / path
    if run is not None and os.path.relpath(target, run).startswith(_OWN):
        raise InvalidArgument(
            f"{shown(target)}: the session's own record and logs are not replaced; choose another name"
        )
    return target, run


def source_of(path: Path) -> Path:
    """The file to read: what this session has saved under that name, else as it stands. Raises `SourceMissing`."""
    if path.is_absolute():
        places = [path]
    else:
        run = _session_directory()
        other = run if run is not None else state.script_out()
        places = [Path.cwd() / path]
        if other is not None:
            saved = other / path
            places.insert(0 if run is not None and saved.exists() and _entry(run, saved) is not None else 1, saved)
    for place in places:
        if place.exists():
            return place
    raise SourceMissing(f"no such file: {' nor '.join(shown(place) for place in places)}")


def _session_directory() -> Path | None:
    """That of this process's session, or of the one whose child it is, unless that one has ended meanwhile."""
    session = state.current()
    if session is not None and (session.is_mine or session.directory.is_dir()):
        return session.directory
    return parent_session()


def _entry(run: Path, target: Path) -> dict[str, Any] | None:
    """What the session's list says of a file."""
    name = _listed_name(run, target)
    return next((entry for entry in read_outputs(run) if entry["path"] == name), None)


def _listed_name(run: Path, target: Path) -> str:
    return os.path.relpath(target, run) if target.is_relative_to(run) else os.fspath(target)


def note(run: Path, target: Path, figure: Path | None = None) -> None:
    """Lists a file with its size and SHA-256. Each line is one write, so that several processes may do it.

    figure   the figure whose data it holds
    """
    try:
        size, digest = content_of(target)
        entry: dict[str, Any] = {"path": _listed_name(run, target), "bytes": size, "sha256": digest}
        if figure is not None:
            entry["figure"] = _listed_name(run, figure)
        entry["time"] = datetime.now().astimezone().isoformat(timespec="milliseconds")
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        fd = os.open(run / CONFIGS / OUTPUTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            if os.write(fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
    except OSError as error:
        raise OperationFailed(
            f"{shown(target)} is saved, but cannot be listed in the record: {error.strerror}"
        ) from error


def content_of(path: Path) -> Content:
    import hashlib

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        return file.tell(), digest.hexdigest()


# ----------------------------------------------------------------------------------- the data of figures

_of_figures: dict[str, Content] = {}
"""What this process has put beside figures, for where files have no attributes."""


def is_of_figure(path: Path, run: Path | None) -> bool:
    """Whether a file still holds what a figure put there. Nothing else may be replaced."""
    return any(holds(path, content) for content in _remembered(path, run))


def holds(path: Path, content: Content) -> bool:
    """Whether this is a file, no link, with that content."""
    found = os.lstat(path)
    return stat.S_ISREG(found.st_mode) and found.st_size == content[0] and content_of(path) == content


def _remembered(path: Path, run: Path | None) -> list[Content]:
    entry = _entry(run, path) if run is not None else None
    if entry is not None:
        return [(entry["bytes"], entry["sha256"])] if "figure" in entry else []
    found = [_of_figures[os.fspath(path)]] if os.fspath(path) in _of_figures else []
    with contextlib.suppress(OSError, ValueError):
        size, digest = os.getxattr(path, _ATTRIBUTE).decode("ascii").split()
        found.append((int(size), digest))
    return found


def remember_of_figure(path: Path, content: Content) -> None:
    """For the next figure of this name, outside of a session's directory."""
    _of_figures[os.fspath(path)] = content
    with contextlib.suppress(OSError):
        os.setxattr(path, _ATTRIBUTE, f"{content[0]} {content[1]}".encode("ascii"))
