"""`runark archive`: print the plan, or carry it out."""

from __future__ import annotations

import sys
from typing import Literal

import click

from runark.archive.archive import archive as run
from runark.archive.archive import check_options
from runark.archive.filters import Filters
from runark.archive.plan import Plan, plan
from runark.cli import exit_codes
from runark.cli.options import (
    Common,
    common_options,
    events_option,
    filter_options,
    json_option,
    limit_option,
    load_options,
    pack_options,
    paths_argument,
)
from runark.cli.work import Work, finish, show_result, tell, tell_faults, working
from runark.errors import InvalidArgument
from runark.names import escape

__all__ = ["archive"]


@click.command()
@paths_argument("ROOT")
@filter_options
@click.option("--execute", is_flag=True, help="Do it. Without, the plan is printed and nothing is changed.")
@pack_options
@click.option("--keep-source", is_flag=True, help="Leave the sessions beside their archives.")
@click.option("--max-sessions", type=click.IntRange(0), metavar="N", help="At most so many; exit 75 if some are left.")
@click.option(
    "--plan-out",
    type=click.Path(path_type=bytes),
    metavar="FILE",
    help="Write the plan to FILE, for `runark apply`.",
)
@load_options(back_off=False)
@limit_option(20)
@json_option
@events_option
@common_options
def archive(
    root: tuple[bytes, ...],
    filters: Filters,
    execute: bool,
    format_: str,
    level: int | None,
    keep_source: bool,
    verify: Literal["hash", "compare"],
    max_sessions: int | None,
    max_failures: int,
    plan_out: bytes | None,
    max_ops: float,
    max_bytes_s: float,
    back_off: bool,
    limit: int,
    as_json: bool,
    events: bytes | None,
    common: Common,
) -> None:
    """Archive the sessions below each ROOT: pack, prove, publish, and only then remove.

    Without --execute the plan is printed: what would be archived, what is left alone and why, what would come free.
    """
    check_options(format_, level, 1, keep_source, verify)
    if plan_out is not None and execute:
        raise InvalidArgument(
            "--plan-out writes a plan to be looked at; carry it out with runark apply, without --execute"
        )
    with working(common.quiet, events=events if execute else None) as work:
        todo = plan(
            *root,
            filters=filters,
            layouts=common.layouts,
            config=common.config,
            measure=not execute,
            max_sessions=max_sessions,
            jobs=common.jobs,
            engine=common.engine,
            control=work.control,
        )
        result = None
        if execute:
            result = run(
                todo,
                format=format_,
                level=level,
                keep_source=keep_source,
                verify=verify,
                jobs=common.jobs,
                max_failures=max_failures,
                max_ops=max_ops,
                max_bytes_s=max_bytes_s,
                back_off=back_off,
                control=work.control,
            )
    if result is None and plan_out is not None and not todo.scan.stopped:
        from runark.archive.plan_file import write_plan

        digest = write_plan(
            plan_out,
            todo,
            layouts=common.layouts,
            config=common.config,
            format=format_,
            level=level,
            keep_source=keep_source,
            verify=verify,
        )
        tell(f"plan written to {escape(plan_out)}, SHA-256 {digest}")
    if result is None:
        _show_plan(todo, limit, as_json, work)
    else:
        show_result(result, as_json, common.quiet)
        finish(exit_codes.of_result(result), work.signals)


def _show_plan(todo: Plan, limit: int, as_json: bool, work: Work) -> None:
    if as_json:
        from runark.report.json import write_document

        write_document(sys.stdout, todo.head_json(), jobs=todo.jobs_json(), skips=todo.skips_json())
    else:
        from runark.report.text import plan_lines, write_lines

        write_lines(sys.stdout, plan_lines(todo, limit))
        if todo.jobs:
            tell("nothing was changed; add --execute to archive them")
    tell_faults(todo.faults)
    finish(exit_codes.PARTIAL if todo.faults else exit_codes.OK, work.signals)
