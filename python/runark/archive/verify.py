"""verify: read archives through and say which are sound, damaged, unreadable or not ours. Changes no archive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from runark.archive.archives import find_archives
from runark.archive.bookmark import Bookmarks
from runark.archive.control import Control, drive
from runark.archive.filters import Filters
from runark.archive.result import Result, Tally
from runark.archive.subset import ALL, parse_subset
from runark.archive.time_limit import time_limit
from runark.archive.timespec import parse_span
from runark.archive.workers import default_jobs
from runark.engine import load
from runark.engine.protocol import Limits, Outcome, Progress, VerifyOptions
from runark.errors import InvalidArgument
from runark.names import PathLike

__all__ = ["verify"]

SLICE = 65_536


def verify(
    *paths: PathLike,
    subset: str = "",
    max_duration: str | timedelta | None = None,
    restart: bool = False,
    filters: Filters | None = None,
    layouts: Sequence[str] = (),
    config: PathLike | None = None,
    limits: Limits | None = None,
    keep_outcomes: bool = False,
    jobs: int | None = None,
    engine: str = "auto",
    control: Control | None = None,
) -> Result:
    """Read archives through; `paths` are archives, or directories searched for archived sessions at any depth.

    subset        only part I of N of them: `I/N`, or `today/N` for the part whose turn it is today
    max_duration  begin nothing more after this time (`2h`), and let the next call with the same subset go on there:
                  how far it came is kept in `.runark/verify.json` of each directory, nowhere without `max_duration`
    restart       with `max_duration`: do not go on but begin anew

    The result counts `sound` (seal and content agree), `unsealed` (a readable tar without a seal), `damaged`,
    `unreadable` and `foreign` (no tar archive); the last three are its problems. Those that an earlier call has
    verified are `skipped`. It is stopped by `budget` if the time was not enough.

    Raises `SourceMissing`, `UnsafePath`, `InvalidArgument` for paths and options that cannot be used.
    """
    control = control or Control()
    part = parse_subset(subset) if subset else ALL
    seconds = None if max_duration is None else _seconds(max_duration)
    if restart and seconds is None:
        raise InvalidArgument("restart: only a run with max_duration keeps where it stopped; without it there is none")
    with time_limit(control, seconds):
        found = find_archives(
            paths, filters=filters or Filters(), layouts=layouts, config=config, jobs=jobs, engine=engine,
            control=control,
        )  # fmt: skip
        todo = [path for path in found.paths if part.holds(path, found.bases.get(path))]
        worker = load(engine)
        tally = Tally("verify", worker.name, keep_outcomes)
        if found.stopped == "budget":
            tally.notes.append("the time was over before all archives were found; give it more (max-duration)")
        # A search that was cut short has not found everything: no bookmark may rest on it.
        marks = None if seconds is None or found.stopped else Bookmarks(found.directories, part, restart)
        if marks is not None:
            before, todo = len(todo), marks.left(todo, found.bases)
            if len(todo) < before:
                tally.counts["skipped"] = before - len(todo)
                tally.note_reason("skipped", "verified by an earlier run", before - len(todo))

        def take(outcomes: Sequence[Outcome]) -> None:
            tally.add(outcomes)
            control.outcomes(outcomes)
            if marks is not None:
                marks.take(outcomes)

        control.begin("verify", len(todo))
        done, given = Progress(0, 0, 0, 0), 0
        for at in range(0, len(todo), SLICE):
            if control.stopped:
                break
            some = todo[at : at + SLICE]
            given += len(some)
            options = VerifyOptions(jobs=jobs or default_jobs(some[0]), limits=limits or Limits())
            done = drive(worker.verify(some, options), control, take, done)
    if marks is not None:
        marks.close()
        tally.notes.extend(marks.notes)
    left = len(todo) - given
    # The time may be over just as everything is done.
    complete = control.stopped == "budget" and not (found.stopped or left or tally.counts["cancelled"])
    return tally.result(faults=found.faults, stopped="" if complete else control.stopped, left=left)


def _seconds(duration: str | timedelta) -> float:
    if isinstance(duration, timedelta):
        if duration <= timedelta(0):
            raise InvalidArgument(f"max-duration: {duration} is no time at all; give a longer one")
        return duration.total_seconds()
    return parse_span(duration, "max-duration") / 1e9
