"""`runark scan`: find sessions and tell their size, age, status and owner."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import click

from runark.archive.filters import Filters
from runark.archive.scan import SORTS
from runark.archive.scan import scan as run
from runark.cli import exit_codes
from runark.cli.options import Common, common_options, filter_options, json_option, limit_option, paths_argument
from runark.cli.work import finish, tell, tell_faults, working
from runark.names import escape
from runark.report.forms import FORMS, check_targets, write_report

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
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=bytes),
    metavar="FILE",
    help="Write a report: .html, .json, .csv, .parquet, .ncdu.json (repeatable). Implies --measure and --summary.",
)
@click.option("--report-format", type=click.Choice(FORMS), help="Whatever the FILE is called.")
@click.option("--summary", is_flag=True, help="The numbers of the report instead of the table.")
@common_options
def scan(
    root: tuple[bytes, ...],
    filters: Filters,
    measure: bool | None,
    sort: str,
    limit: int,
    as_json: bool,
    nul: bool,
    reports: tuple[bytes, ...],
    report_format: str | None,
    summary: bool,
    common: Common,
) -> None:
    """Find the sessions below each ROOT, at any depth. Nothing is changed."""
    if nul and as_json:
        raise click.UsageError("-0 and --json exclude each other")
    if reports or summary:
        if nul or as_json or measure is False or sort != "path" or limit:
            raise click.UsageError("--report and --summary go without -0, --json, --no-measure, --sort and --limit")
        _report(root, filters, reports, report_format, common)
    if report_format:
        raise click.UsageError("--report-format is about --report FILE, and there is none")
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


def _report(roots: Sequence[bytes], filters: Filters, paths: Sequence[bytes], form: str | None, common: Common) -> None:
    """Make the report, write it, tell it, and end the command."""
    from runark.report.previous import change_since, read_previous
    from runark.report.summary import summary_lines
    from runark.report.survey import survey
    from runark.report.text import write_lines

    targets = check_targets(paths, form)
    with working(common.quiet) as work:
        report = survey(
            *roots,
            filters=filters,
            layouts=common.layouts,
            config=common.config,
            jobs=common.jobs,
            engine=common.engine,
            control=work.control,
        )
    if report.plan.scan.stopped:
        finish(exit_codes.PARTIAL, work.signals)  # a report of a part would replace one of the whole
    for target in targets:
        before = read_previous(target.path) if target.form in ("html", "json") else None
        if before is not None and report.since is None:
            report = replace(report, since=change_since(before, report.to_json(), target.path))
    for target in targets:
        write_report(report, target)
    tell_faults(report.plan.faults)
    if not common.quiet:
        write_lines(sys.stdout, summary_lines(report))
        for target in targets:
            tell(f"report written: {escape(target.path)}")
    finish(exit_codes.PARTIAL if report.plan.faults else exit_codes.OK, work.signals)
