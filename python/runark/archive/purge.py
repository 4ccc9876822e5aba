"""purge: remove from a root's trash what has lain there long enough, through the engine's gate."""

from __future__ import annotations

from collections.abc import Sequence

from runark.archive.audit import Audit
from runark.archive.control import Control, drive
from runark.archive.result import Result, Tally
from runark.archive.trash import lying, prepare_purge, tidy
from runark.archive.workers import default_jobs
from runark.engine import load
from runark.engine.protocol import ArchiveOptions, Outcome, Progress

__all__ = ["purge"]


def purge(
    root: bytes,
    before: float,
    run: str,
    *,
    jobs: int | None = None,
    engine: str = "auto",
    control: Control | None = None,
) -> Result:
    """Remove the sessions that runs which began before then (seconds since 1970) brought into the trash.

    The caller holds the root. Each is compared with its archive first; one whose archive is gone or differs stays, and
    is a problem of the result. Outcomes have the action `purged` and the path at which the session was.
    """
    control = control or Control()
    worker = load(engine)
    tally = Tally("purge", worker.name, keep=False)
    by_path, todo, stay = prepare_purge(list(lying(root, before)))
    with Audit(root, run, "purge", worker.name) as audit:

        def take(outcomes: Sequence[Outcome]) -> None:
            done = []
            for outcome in outcomes:
                one = by_path[outcome.path]
                gone = outcome.action == "archived"
                if gone:
                    tidy(root, one)
                # The archive is as it was: nothing of it is counted.
                done.append(outcome._replace(path=one.session, action="purged" if gone else outcome.action, target=b""))
            audit.add(done)
            tally.add(done)
            control.outcomes(done)

        tally.add(stay)
        control.outcomes(stay)
        if todo and not control.stopped:
            control.begin("purge", len(todo))
            options = ArchiveOptions(jobs=jobs or default_jobs(root))
            drive(worker.archive(todo, options), control, take, Progress(0, 0, 0, 0))
        audit.end(tally.counts, control.stopped)
    tally.notes.extend([audit.note] if audit.note else [])
    return tally.result(stopped=control.stopped)
