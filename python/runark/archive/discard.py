"""discard: remove one session for good, without an archive.

For whoever decides by a policy of their own that a session is not worth keeping (`runark.workdir`). Nothing here says
which; what is asked for is removed as carefully as what was archived: through handles, without following a symlink or
entering another filesystem, and only what is there when it is looked at.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from runark.archive.control import Control, drive
from runark.archive.guard import check_session
from runark.engine import load
from runark.engine.protocol import DiscardJob, Outcome, Progress
from runark.errors import OperationFailed, SessionChanged, SessionSkipped, SourceMissing
from runark.names import PathLike, escape

__all__ = ["discard_session"]


def discard_session(path: PathLike, seen: os.stat_result, *, engine: str = "auto") -> Outcome:
    """Remove the session directory at `path`, if it still is the directory that had the status `seen`.

    Gives the outcome `discarded`, with the numbers of entries and inodes. Raises `SourceMissing`, `NotADirectory`,
    `UnsafePath`, `SessionSkipped` (another process works on it, a mount point lies in it) and `SessionChanged` (it is
    another directory by now): nothing was removed then; `OperationFailed`: what is left of it may have the name
    `.<name>.discarding-<16 hex digits>`, and can be given here as well.
    """
    session = check_session(path)
    found: list[Outcome] = []

    def take(outcomes: Sequence[Outcome]) -> None:
        found.extend(outcomes)

    task = load(engine).discard([DiscardJob(session, seen.st_dev, seen.st_ino)], 1)
    drive(task, Control(), take, Progress(0, 0, 0, 0))
    outcome = found[0]
    if outcome.action == "discarded":
        return outcome
    text = "; ".join((f"{escape(session)}: not discarded: {outcome.reason}", *outcome.notes))
    if outcome.fault is not None and outcome.fault.errno == errno.ENOENT and not outcome.target:
        raise SourceMissing(text)
    if outcome.action == "skipped":
        raise SessionSkipped(text)
    if outcome.action == "changed" and not outcome.target:
        raise SessionChanged(text)
    raise OperationFailed(text)
