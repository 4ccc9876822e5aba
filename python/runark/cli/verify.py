"""`runark verify`: read archives through and say which are sound, or restore some and compare."""

from __future__ import annotations

from typing import Any

import click

from runark.archive.drill import drill as rehearse
from runark.archive.verify import verify as run
from runark.cli import exit_codes
from runark.cli.options import Common, common_options, events_option, json_option, limits_options, paths_argument
from runark.cli.work import finish, show_result, working
from runark.engine.protocol import Limits

__all__ = ["verify"]


@click.command()
@paths_argument("PATH")
@click.option("--subset", metavar="I/N", default="", help="Only part I of N; `today/N`: the part whose turn it is.")
@click.option("--max-duration", metavar="TIME", help="Begin nothing more after TIME (2h); the next run goes on there.")
@click.option("--restart", is_flag=True, help="With --max-duration: begin anew instead.")
@click.option("--drill", type=click.IntRange(1), metavar="N", help="Restore N random archives and compare them.")
@click.option(
    "--scratch",
    type=click.Path(path_type=bytes),
    metavar="DIR",
    help="Where --drill restores to and cleans up. Default: $TMPDIR.",
)
@click.option("--seed", type=int, metavar="N", help="The same seed drills the same archives.")
@limits_options
@json_option
@events_option
@common_options
def verify(
    path: tuple[bytes, ...],
    subset: str,
    max_duration: str | None,
    restart: bool,
    drill: int | None,
    scratch: bytes | None,
    seed: int | None,
    limits: Limits,
    as_json: bool,
    events: bytes | None,
    common: Common,
) -> None:
    """Read archives through. PATH is an archive, or a directory searched for archived sessions at any depth.

    Exit code 3 if any is damaged, unreadable or no archive at all; 75 if --max-duration was not enough for all. No
    archive is changed.
    """
    if drill is not None and (subset or max_duration or restart):
        raise click.UsageError("--drill takes random archives, so neither --subset nor --max-duration nor --restart")
    if drill is None and (scratch is not None or seed is not None):
        raise click.UsageError("--scratch and --seed are for --drill N")
    with working(common.quiet, unit="archives", events=events) as work:
        shared: dict[str, Any] = {
            "layouts": common.layouts,
            "config": common.config,
            "limits": limits,
            "jobs": common.jobs,
            "engine": common.engine,
            "control": work.control,
        }
        if drill is not None:
            result = rehearse(*path, number=drill, scratch=scratch, seed=seed, **shared)
        else:
            result = run(*path, subset=subset, max_duration=max_duration, restart=restart, **shared)
    show_result(result, as_json, common.quiet)
    finish(exit_codes.of_result(result), work.signals)
