"""`runark restore`: print what would be restored, or restore it."""

from __future__ import annotations

import sys

import click

from runark.archive.restore import RestorePlan, content_of, plan_restore
from runark.archive.restore import restore as run
from runark.cli import exit_codes
from runark.cli.options import (
    Common,
    common_options,
    events_option,
    json_option,
    limit_option,
    limits_options,
    paths_argument,
)
from runark.cli.work import Work, finish, show_result, tell, tell_faults, working
from runark.engine.protocol import Limits

__all__ = ["restore"]


@click.command()
@paths_argument("PATH")
@click.option(
    "--to", type=click.Path(path_type=bytes), metavar="DIR", help="Restore below DIR, not beside the archives."
)
@click.option("--execute", is_flag=True, help="Do it. Without, the plan is printed and nothing is changed.")
@click.option("--remove-archive", is_flag=True, help="Remove each archive once its session is back and durable.")
@click.option("--same-owner", is_flag=True, help="Give files their stored owner (as root).")
@click.option("--special-modes", is_flag=True, help="Give files setuid, setgid and sticky back.")
@limits_options
@limit_option(20)
@json_option
@events_option
@common_options
def restore(
    path: tuple[bytes, ...],
    to: bytes | None,
    execute: bool,
    remove_archive: bool,
    same_owner: bool,
    special_modes: bool,
    limits: Limits,
    limit: int,
    as_json: bool,
    events: bytes | None,
    common: Common,
) -> None:
    """Restore sessions. PATH is an archive, or a directory searched for archived sessions at any depth.

    Without --execute it is printed what would be restored, and where to. What exists is never touched.
    """
    with working(common.quiet, events=events if execute else None) as work:
        todo = plan_restore(
            *path,
            to=to,
            layouts=common.layouts,
            config=common.config,
            jobs=common.jobs,
            engine=common.engine,
            control=work.control,
        )
        result = None
        if execute:
            result = run(
                todo,
                remove_archive=remove_archive,
                same_owner=same_owner,
                special_modes=special_modes,
                limits=limits,
                jobs=common.jobs,
                control=work.control,
            )
    if result is None:
        _show_plan(todo, limit, as_json, work)
    else:
        show_result(result, as_json, common.quiet)
        finish(exit_codes.of_result(result), work.signals)


def _show_plan(todo: RestorePlan, limit: int, as_json: bool, work: Work) -> None:
    if as_json:
        import json

        json.dump(todo.to_json(), sys.stdout, separators=(",", ":"))
        sys.stdout.write("\n")
    else:
        from runark.report.text import restore_plan_lines, write_lines

        content, entries, unsealed = content_of(todo)
        write_lines(sys.stdout, restore_plan_lines(todo, content, entries, unsealed, limit))
        if todo.jobs:
            tell("nothing was changed; add --execute to restore them")
    tell_faults(todo.faults)
    finish(exit_codes.PARTIAL if todo.faults else exit_codes.OK, work.signals)
