"""Where a file goes and where it is looked for; and the list of what a session has saved."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

from runark.errors import InvalidArgument, OperationFailed, SourceMissing
from runark.session import state
from runark.session.attach import parent_session
from runark.session.directory import shown
from runark.session.record import CONFIGS, OUTPUTS, read_outputs

__all__ = ["listed", "note", "source_of", "target_of"]


def target_of(path: Path) -> tuple[Path, Path | None]:
    """The file to write, and the session it belongs to. Raises `InvalidArgument` for one outside of its directory."""
    run = _session_directory()
    if path.is_absolute():
        return path, run
    if ".." in path.parts:
        raise InvalidArgument(f"{shown(path)}: leads out of the session's directory; give an absolute path instead")
    if run is not None:
        return run / path, run
    return (state.script_out() or Path.cwd()) / path, None


def source_of(path: Path) -> Path:
    """The file to read: what this session has saved under that name, else as it stands. Raises `SourceMissing`."""
    if path.is_absolute():
        places = [path]
    else:
        run = _session_directory()
        here = Path.cwd() / path
        if run is not None:
            places = [run / path, here] if listed(run, path) else [here, run / path]
        else:
            out = state.script_out()
            places = [here, out / path] if out is not None else [here]
    for place in places:
        if place.exists():
            return place
    raise SourceMissing(f"no such file: {' nor '.join(shown(place) for place in places)}")


def _session_directory() -> Path | None:
    """That of this process's session, or of the one whose child it is."""
    session = state.current()
    return session.directory if session is not None else parent_session()


def listed(run: Path, path: Path) -> bool:
    """Whether the session has saved a file of that name."""
    return any(entry["path"] == os.fspath(path) for entry in read_outputs(run))


def note(run: Path, target: Path) -> None:
    """Lists a file with its size and SHA-256. Each line is one write, so that several processes may do it."""
    import hashlib

    digest = hashlib.sha256()
    try:
        with open(target, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        name = os.path.relpath(target, run) if target.is_relative_to(run) else os.fspath(target)
        entry = {
            "path": name,
            "bytes": size,
            "sha256": digest.hexdigest(),
            "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        }
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        fd = os.open(run / CONFIGS / OUTPUTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            if os.write(fd, line) != len(line):
                raise OSError(28, "No space left on device")
        finally:
            os.close(fd)
    except OSError as error:
        raise OperationFailed(
            f"{shown(target)} is saved, but cannot be listed in the record: {error.strerror}"
        ) from error
