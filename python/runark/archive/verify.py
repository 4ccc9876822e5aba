"""verify: read archives through and say which are sound, damaged, unreadable or not ours. Read only."""

from __future__ import annotations

from collections.abc import Sequence

from runark.archive.archives import find_archives
from runark.archive.control import Control, drive
from runark.archive.filters import Filters
from runark.archive.result import Result, Tally
from runark.archive.workers import default_jobs
from runark.engine import load
from runark.engine.protocol import Limits, Outcome, Progress, VerifyOptions
from runark.names import PathLike

__all__ = ["verify"]

SLICE = 65_536


def verify(
    *paths: PathLike,
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

    The result counts `sound` (seal and content agree), `unsealed` (a readable tar without a seal), `damaged`,
    `unreadable` and `foreign` (no tar archive); the last three are its problems.

    Raises `SourceMissing`, `UnsafePath`, `InvalidArgument` for paths that cannot be used.
    """
    control = control or Control()
    found = find_archives(
        paths, filters=filters or Filters(), layouts=layouts, config=config, jobs=jobs, engine=engine, control=control
    )
    worker = load(engine)
    tally = Tally("verify", worker.name, keep_outcomes)

    def take(outcomes: Sequence[Outcome]) -> None:
        tally.add(outcomes)
        control.outcomes(outcomes)

    control.begin("verify", len(found.paths))
    done, given = Progress(0, 0, 0, 0), 0
    for at in range(0, len(found.paths), SLICE):
        if control.stopped:
            break
        some = found.paths[at : at + SLICE]
        given += len(some)
        options = VerifyOptions(jobs=jobs or default_jobs(some[0]), limits=limits or Limits())
        done = drive(worker.verify(some, options), control, take, done)
    return tally.result(faults=found.faults, stopped=control.stopped, left=len(found.paths) - given)
