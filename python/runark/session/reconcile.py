"""Ghosts: sessions in RUNNING/ whose process is gone. SIGKILL, a crash, a power cut leave them; nothing else could run.

A session is a ghost if its record names a process of this machine that has ended (by PID, start time and boot), or one
of another machine or container and no heartbeat has come for `stale_after` seconds. One that had ended by its own
record and was not moved any more is finished as it says. A ghost goes to FINISHED_ERROR/, with the reason in its
record. Sessions without a record, of another user, or elsewhere and without a heartbeat are left alone and told.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from runark.archive.filters import Filters
from runark.archive.scan import scan
from runark.errors import InvalidArgument, RunarkError
from runark.names import PathLike, json_path
from runark.record import RECORD, runs_here
from runark.session.directory import FINISHED_ERROR, RUNNING, final_directory, state_of
from runark.session.finish import move
from runark.session.record import read_outputs, write_file
from runark.session.yaml_config import dump, load_yaml

__all__ = ["STALE_AFTER", "Ghost", "judge", "reconcile"]

STALE_AFTER = 86_400.0
"""Seconds without a heartbeat (one a minute) after which a session on another machine counts as dead."""


_STARTING = 60.0
"""Seconds within which the record of a session that starts is there."""


@dataclass(frozen=True)
class Ghost:
    """A session in RUNNING/ that does not run."""

    path: Path
    reason: str
    target: Path | None
    """Where it belongs; None if it is left alone."""
    moved: bool = False
    error: str = ""
    """Why it could not be moved."""

    def to_json(self) -> dict[str, Any]:
        """A document that `json.dumps` takes."""
        return {
            "path": json_path(os.fsencode(self.path)),
            "reason": self.reason,
            "target": None if self.target is None else json_path(os.fsencode(self.target)),
            "moved": self.moved,
            "error": self.error,
        }


def reconcile(
    *roots: PathLike, execute: bool = False, stale_after: float = STALE_AFTER, engine: str = "auto"
) -> list[Ghost]:
    """Finds the ghosts below `roots`, at any depth, sorted by path; with `execute` moves them.

    stale_after   seconds (see `STALE_AFTER`)

    Raises `SourceMissing`, `NotADirectory`, `UnsafePath` for a bad root, `InvalidArgument`. One that cannot be moved is
    no exception but tells its `error`.
    """
    if not stale_after >= 0:
        raise InvalidArgument(f"stale_after={stale_after!r}: give seconds, 0 or more")
    found = scan(*roots, filters=Filters(exclude=("FINISHED*",)), measure=False, keep_skipped=True, engine=engine)
    ghosts = []
    for row in found:
        run = Path(os.fsdecode(row.path))
        if row.status == "running":
            ghost = judge(run, stale_after)
            if ghost is not None:
                ghosts.append(_settle(ghost) if execute and ghost.target is not None else ghost)
    return ghosts


def judge(run: Path, stale_after: float = STALE_AFTER) -> Ghost | None:
    """The ghost that this directory is; None if it lies in no RUNNING/ or is not known to be dead. Only reads."""
    if state_of(run) != RUNNING:
        return None
    try:
        owner = os.lstat(run).st_uid
        record = load_yaml(run / os.fsdecode(RECORD))
    except OSError:
        return None
    except RunarkError as error:
        last = _last_sign(run)
        if not last or time.time() - last < _STARTING:  # not last: it has just been finished
            return None
        return Ghost(run, f"no record that can be read ({error}); look at it and move it by hand", None)
    if not isinstance(record, dict) or record.get("ID") is None:
        return Ghost(run, "its record is not one of runark; look at it and move it by hand", None)
    runs = runs_here(record)
    process = f"process {record.get('PID')} on {record.get('HOST')}"
    if runs:
        return None
    if runs is None:
        silent = time.time() - _last_sign(run)
        if silent < stale_after:
            return None
        reason = f"no sign of life of {process} for {silent / 3600:.0f} hours"
        if not os.path.lexists(run / "logs" / "stdout.log"):
            return Ghost(run, f"{reason}, but it has no logs and so no heartbeat; move it by hand if it is over", None)
    else:
        reason = f"{process} is gone; it ended without finishing the session (killed?)"
    status: int | None = 1
    if record.get("END_DATETIME") is not None:
        status = record.get("EXIT_STATUS")
        reason = f"it had ended with status {status} and was not moved any more"
    target = (
        final_directory(run, status)
        if status is None or isinstance(status, int)
        else run.parent.parent / FINISHED_ERROR / run.name
    )
    if owner != os.geteuid():
        return Ghost(run, f"{reason}; it belongs to another user (uid {owner}), who can run reconcile", None)
    return Ghost(run, reason, target)


def _last_sign(run: Path) -> float:
    """When something of the session changed last, in seconds since 1970: its logs bear the heartbeat."""
    times = [0.0]
    for directory in (run, run / "logs", run / "CONFIGS"):
        try:
            with os.scandir(directory) as entries:
                times += [entry.stat(follow_symlinks=False).st_mtime for entry in entries]
        except OSError:
            continue
    return max(times)


def _settle(ghost: Ghost) -> Ghost:
    """Writes the reason down and moves it."""
    run, target = ghost.path, ghost.target
    assert target is not None
    path = run / os.fsdecode(RECORD)
    try:
        if os.path.lexists(target):
            move(run, target)  # says so
        last = datetime.fromtimestamp(_last_sign(run), tz=timezone.utc).astimezone().isoformat()
        record = load_yaml(path)
        if record.get("END_DATETIME") is None:
            record.update(EXIT_STATUS=1, END_DATETIME=last, OUTPUTS=read_outputs(run), END_REASON=ghost.reason)
        record.update(SDIR_RUN=os.fspath(target), RECONCILED=datetime.now().astimezone().isoformat())
        write_file(path, dump(record))
        move(run, target)
    except (RunarkError, OSError) as error:
        return Ghost(run, ghost.reason, target, error=str(error))
    return Ghost(run, ghost.reason, target, moved=True)
