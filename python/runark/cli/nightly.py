"""`runark nightly`: work on every root by a policy, within a budget."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Literal

import click

from runark import env_vars
from runark.archive.caps import Caps, parse_growth
from runark.archive.filters import Filters
from runark.archive.nightly import Night, Policy
from runark.archive.nightly import nightly as run
from runark.archive.retention import Keep
from runark.archive.sizes import parse_bytes
from runark.archive.watch import Budget
from runark.cli import exit_codes
from runark.cli.load import be_nice
from runark.cli.options import (
    Common,
    common_options_with,
    events_option,
    filter_options,
    json_option,
    load_options,
    pack_options,
    paths_argument,
    with_flags,
)
from runark.cli.policy import config_option
from runark.cli.work import ending, finish, tell, tell_faults, tell_problems, working

__all__ = ["nightly"]

_JOB_END_MARGIN = 30.0
"""Seconds before a SLURM job's end at which everything is over: the scheduler kills without asking twice."""


def keep_options(command: Any) -> Any:
    """The flags of `Keep`."""
    return with_flags(
        click.option(
            "--keep-last", type=click.IntRange(0), default=0, metavar="N", help="The newest N of each script stay."
        ),
        click.option("--keep-within", metavar="AGE", help="Sessions begun since then stay."),
        click.option("--keep-tag", multiple=True, metavar="GLOB", help="Sessions with such a word in their name stay."),
    )(command)


def caps_options(command: Any) -> Any:
    """The flags of `Caps`."""
    return with_flags(
        click.option("--max-remove", type=click.IntRange(0), metavar="N", help="Refuse a plan with more sessions."),
        click.option(
            "--max-remove-percent", type=click.FloatRange(0, 100), metavar="P", help="... with more of the live ones."
        ),
        click.option(
            "--max-growth",
            default="3",
            show_default=True,
            metavar="X|none",
            help="... with more than X times the last run's candidates.",
        ),
        click.option("--allow-mount-point", is_flag=True, help="Work on a ROOT that is a mount point."),
    )(command)


@click.command()
@paths_argument("ROOT", required=False)
@click.option("--execute", is_flag=True, help="Do it. Without, the plans are printed and nothing is changed.")
@filter_options
@keep_options
@pack_options
@click.option("--time-budget", metavar="SPAN", help="The time it has: 3h, 90min.")
@click.option("--until", metavar="TIME", help="When it has to be over: 06:00.")
@click.option("--max-sessions", type=click.IntRange(0), metavar="N", help="At most so many sessions.")
@click.option("--max-bytes", metavar="SIZE", help="At most so many bytes of files: 2T.")
@caps_options
@click.option(
    "--trash-days",
    type=click.FloatRange(0),
    default=0,
    metavar="D",
    help="Keep what was archived in ROOT/.runark/trash for so many days; `runark undo` brings it back.",
)
@load_options(back_off=True)
@click.option(
    "--nice", type=click.IntRange(0, 19), default=10, show_default=True, metavar="N", help="Priority; 19: least."
)
@click.option("--idle-io/--usual-io", default=True, help="Use local disks only when nobody else does (default).")
@click.option(
    "--as-owner/--as-root", default=True, help="As root: archive with each session's owner's identity (default)."
)
@click.option("--drill", type=click.IntRange(0), default=0, metavar="N", help="Restore N archives and compare them.")
@click.option("--scratch", type=click.Path(path_type=bytes), metavar="DIR", help="Where the drill restores to.")
@click.option(
    "--metrics",
    type=click.Path(path_type=bytes),
    metavar="FILE",
    help="Write numbers for Prometheus' textfile collector.",
)
@json_option
@events_option
@common_options_with(config_option)
@click.pass_context
def nightly(
    ctx: click.Context,
    root: tuple[bytes, ...],
    execute: bool,
    filters: Filters,
    keep_last: int,
    keep_within: str | None,
    keep_tag: tuple[str, ...],
    format_: str,
    level: int | None,
    verify: Literal["hash", "compare"],
    time_budget: str | None,
    until: str | None,
    max_sessions: int | None,
    max_bytes: str | None,
    max_remove: int | None,
    max_remove_percent: float | None,
    max_growth: str,
    allow_mount_point: bool,
    max_failures: int,
    trash_days: float,
    as_owner: bool,
    max_ops: float,
    max_bytes_s: float,
    back_off: bool,
    nice: int,
    idle_io: bool,
    drill: int,
    scratch: bytes | None,
    metrics: bytes | None,
    as_json: bool,
    events: bytes | None,
    common: Common,
) -> None:
    """Work on each ROOT by a policy: purge the trash, archive what is old enough, stop in time.

    The policy stands in runark.yaml (--config), below `nightly`: each key there is one of these flags, and `roots`.
    Without --execute the plans are printed. Exit code 75: work is left, the next run goes on.
    """
    policy = Policy(
        filters=filters,
        layouts=common.layouts,
        config=common.config,
        keep=Keep(keep_last, keep_within, keep_tag),
        format=format_,
        level=level,
        verify=verify,
        max_sessions=max_sessions,
        max_bytes=None if max_bytes is None else parse_bytes(max_bytes),
        max_failures=max_failures,
        caps=Caps(max_remove, max_remove_percent, parse_growth(max_growth)),
        allow_mount_point=allow_mount_point,
        trash_days=trash_days,
        drill=drill,
        scratch=scratch,
        as_owner=as_owner,
        max_ops=max_ops,
        max_bytes_s=max_bytes_s,
        back_off=back_off,
        jobs=common.jobs,
        engine=common.engine,
    )
    policy.check()
    roots = root or tuple((ctx.default_map or {}).get("root", ()))
    budget = Budget.of(time_budget, until, _job_end())
    be_nice(nice, idle_io=idle_io)
    with working(common.quiet, events=events if execute else None, budget=True) as work:
        night = run(roots, policy, execute=execute, budget=budget, control=work.control)
    code = exit_codes.of_night(night)
    _show(night, as_json, common.quiet)
    if metrics is not None and execute:
        from runark.report.metrics import write_metrics

        write_metrics(metrics, night, ending(code, work.signals))
    finish(code, work.signals)


def _show(night: Night, as_json: bool, quiet: bool) -> None:
    """The summary on stdout, what needs a person on stderr."""
    for root in night.roots:
        if root.plan is not None:
            tell_faults(root.plan.faults)
        for part in root.parts:
            tell_problems(part)
        for note in root.notes:
            tell(note)
        if root.error is not None:
            tell(f"error: {root.error}")
    if as_json:
        json.dump(night.to_json(), sys.stdout, separators=(",", ":"))
        sys.stdout.write("\n")
    elif not quiet:
        from runark.report.text import night_lines, write_lines

        write_lines(sys.stdout, night_lines(night))
        if not night.executed:
            tell("nothing was changed; add --execute to do it")


def _job_end() -> float | None:
    """When the SLURM job this runs in has to be over."""
    text = os.environ.get(env_vars.SLURM_JOB_END_TIME, "")
    return float(text) - _JOB_END_MARGIN if text.isdecimal() and int(text) > 0 else None
