"""`runark doctor`: explain what earlier runs have left, or clear it up."""

from __future__ import annotations

import sys

import click

from runark.archive.doctor import examine, treat
from runark.cli import exit_codes
from runark.cli.options import Common, common_options, json_option, paths_argument
from runark.cli.work import finish, show_result, tell, tell_faults, working

__all__ = ["doctor"]


@click.command()
@paths_argument("ROOT")
@click.option(
    "--execute", is_flag=True, help="Do what the next run of `archive` would do with part files, pairs and tombstones."
)
@click.option("--keep-source", is_flag=True, help="With --execute: leave the sessions beside their archives.")
@json_option
@common_options
def doctor(root: tuple[bytes, ...], execute: bool, keep_source: bool, as_json: bool, common: Common) -> None:
    """Tell what killed runs have left below each ROOT: part files, sessions beside their archives, interrupted
    removals and
    restores, archives set aside, sessions below RUNNING/ whose process is gone - and what the next run will do with
    each.

    Without --execute nothing is changed. Exit code 3 if something could not be read or cleared up.
    """
    with working(common.quiet, unit="archives") as work:
        found = examine(
            *root,
            layouts=common.layouts,
            config=common.config,
            jobs=common.jobs,
            engine=common.engine,
            control=work.control,
        )
        result = treat(found, keep_source=keep_source, jobs=common.jobs, control=work.control) if execute else None
    if result is not None:
        show_result(result, as_json, common.quiet)
        finish(exit_codes.of_result(result), work.signals)
    if as_json:
        import json

        json.dump(found.to_json(), sys.stdout, separators=(",", ":"))
        sys.stdout.write("\n")
    else:
        from runark.report.text import finding_lines, write_lines

        write_lines(sys.stdout, finding_lines(found.findings))
        if len(found.treatable.jobs):
            tell("nothing was changed; add --execute to do it")
    tell_faults(found.faults)
    finish(exit_codes.PARTIAL if found.faults else exit_codes.OK, work.signals)
