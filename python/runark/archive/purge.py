"""purge: remove from a root's trash what has lain there long enough, through the engine's gate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext

from runark.archive.audit import Audit
from runark.archive.backoff import Backoff
from runark.archive.control import Control, drive
from runark.archive.result import Result, Tally
from runark.archive.trash import Lying, give_way, lying, prepare_purge, tidy
from runark.archive.workers import default_jobs
from runark.engine import load
from runark.engine.protocol import ArchiveOptions, Outcome, Progress

__all__ = ["purge"]

SLICE = 4096
"""Sessions prepared at once: what is prepared when a run is killed can only be brought back from its archive."""


def purge(
    root: bytes,
    before: float,
    run: str,
    *,
    jobs: int | None = None,
    max_ops: float = 0.0,
    max_bytes_s: float = 0.0,
    back_off: bool = False,
    engine: str = "auto",
    control: Control | None = None,
) -> Result:
    """Remove the sessions that runs which began before then (seconds since 1970) brought into the trash.

    The caller holds the root. Each is compared with its archive first; one whose archive is gone or differs stays, and
    is a problem of the result. Outcomes have the action `purged` and the path at which the session was. `max_ops`,
    `max_bytes_s` and `back_off` are those of `archive`.
    """
    control = control or Control()
    worker = load(engine)
    tally = Tally("purge", worker.name, keep=False)
    found = list(lying(root, before))
    by_path: dict[bytes, Lying] = {}
    given, progress = 0, Progress(0, 0, 0, 0)
    options = ArchiveOptions(jobs=jobs or default_jobs(root), max_ops=max_ops, max_bytes=max_bytes_s)
    with (
        Audit(root, run, "purge", worker.name) as audit,
        Backoff(root, options.jobs) if back_off and found else nullcontext() as backoff,
    ):

        def take(outcomes: Sequence[Outcome]) -> None:
            done = []
            for outcome in outcomes:
                one = by_path[outcome.path]
                gone = outcome.action == "archived"
                note = give_way(root, one) if gone else ""
                tally.notes.extend([note] if note else [])
                if gone or os.path.lexists(outcome.path):
                    tidy(root, one)
                # The archive is as it was: nothing of it is counted.
                action = "purged" if gone else outcome.action
                done.append(outcome._replace(path=one.session, action=action, target=b""))
            audit.add(done)
            tally.add(done)
            control.outcomes(done)

        if found:
            control.begin("purge", len(found))
        for at in range(0, len(found), SLICE):
            if control.stopped:
                break
            some = found[at : at + SLICE]
            given += len(some)
            by_path, todo, stay = prepare_purge(root, some)
            tally.add(stay)
            control.outcomes(stay)
            if todo:
                task = worker.archive(todo, options)
                if backoff is not None:
                    backoff.watch(task)
                progress = drive(task, control, take, progress)
        audit.end(tally.counts, control.stopped)
    tally.notes.extend([audit.note] if audit.note else [])
    return tally.result(stopped=control.stopped, left=len(found) - given)
