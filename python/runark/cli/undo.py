"""`runark undo`: bring archived sessions back, by name or by run."""

from __future__ import annotations

import json
import sys

import click

from runark.archive.undo import plan_undo
from runark.archive.undo import undo as run
from runark.cli import exit_codes
from runark.cli.options import Common, common_options, events_option, json_option
from runark.cli.work import finish, show_result, tell, working
from runark.names import escape

__all__ = ["undo"]


@click.command()
@click.argument("root", type=click.Path(path_type=bytes))
@click.argument("name", nargs=-1, type=click.Path(path_type=bytes))
@click.option("--run", "run_name", metavar="RUN", help="All that this run has archived (see ROOT/.runark/audit.jsonl).")
@click.option("--execute", is_flag=True, help="Do it. Without, it is printed what would come back.")
@json_option
@events_option
@common_options
def undo(
    root: bytes,
    name: tuple[bytes, ...],
    run_name: str | None,
    execute: bool,
    as_json: bool,
    events: bytes | None,
    common: Common,
) -> None:
    """Bring sessions below ROOT back: each NAME (a path, or the name of its directory), or all of a run.

    What still lies in the trash (`runark nightly --trash-days`) is renamed back, everything else restored from its
    archive. Archives stay.
    """
    todo = plan_undo(root, *name, run=run_name, engine=common.engine)
    if not execute:
        if as_json:
            json.dump(todo.to_json(), sys.stdout, separators=(",", ":"))
            sys.stdout.write("\n")
        else:
            for one in todo.trashed:
                print(f"{escape(one.session)}: from the trash of run {one.run}")
            for job in todo.archived.jobs if todo.archived is not None else ():
                print(f"{escape(job.dest)}: from {escape(job.archive)}")
            for skip in todo.archived.skips if todo.archived is not None else ():
                print(f"{escape(skip.path)}: left alone: {escape(skip.reason)}")
            tell("nothing was changed; add --execute to do it")
        for path in todo.missing:
            tell(f"{escape(path)}: neither in the trash nor archived")
        sys.exit(exit_codes.PARTIAL if todo.missing else exit_codes.OK)
    with working(common.quiet, events=events) as work:
        result = run(todo, engine=common.engine, control=work.control)
    show_result(result, as_json, common.quiet)
    finish(exit_codes.of_result(result), work.signals)
