"""`runark scan`: find sessions and tell their size, age, status and owner."""

from __future__ import annotations

import sys

import click

from runark.archive.filters import Filters
from runark.archive.scan import SORTS
from runark.archive.scan import scan as run
from runark.cli import exit_codes
from runark.cli.options import Common, common_options, filter_options, json_option, limit_option, paths_argument
from runark.cli.work import finish, tell_faults, working

__all__ = ["scan"]


@click.command()
@paths_argument("ROOT")
@filter_options
@click.option(
    "--measure/--no-measure", default=None, help="Stat every entry for inodes and sizes. Default: not with -0."
)
@click.option("--sort", type=click.Choice(SORTS), default="path", show_default=True, help="Largest or oldest first.")
@limit_option(0)
@json_option
@click.option("-0", "nul", is_flag=True, help="Only the paths, as they are, NUL after each.")
@common_options
def scan(
    root: tuple[bytes, ...],
    filters: Filters,
    measure: bool | None,
    sort: str,
    limit: int,
    as_json: bool,
    nul: bool,
    common: Common,
) -> None:
    """Find the sessions below each ROOT, at any depth. Nothing is changed."""
    if nul and as_json:
        raise click.UsageError("-0 and --json exclude each other")
    # Sizes cost a stat an entry; who asks only for paths pays for them only if the order needs them.
    measured = measure if measure is not None else not nul or sort in ("size", "inodes", "allocated")
    with working(common.quiet) as work:
        found = run(
            *root,
            filters=filters,
            layouts=common.layouts,
            config=common.config,
            measure=measured,
            jobs=common.jobs,
            engine=common.engine,
            control=work.control,
        )
    if nul:
        sys.stdout.buffer.write(found.paths0(sort, limit))
    elif as_json:
        from runark.report.json import write_document

        write_document(sys.stdout, found.head_json(), rows=(found.row(i).to_json() for i in found.ordered(sort, limit)))
    else:
        from runark.report.text import scan_lines, write_lines

        write_lines(sys.stdout, scan_lines(found, sort, limit))
    tell_faults(found.faults)
    finish(exit_codes.PARTIAL if found.faults else exit_codes.OK, work.signals)
