"""`runark verify`: read archives through and say which are sound."""

from __future__ import annotations

import click

from runark.archive.verify import verify as run
from runark.cli import exit_codes
from runark.cli.options import Common, common_options, events_option, json_option, limits_options, paths_argument
from runark.cli.work import finish, show_result, working
from runark.engine.protocol import Limits

__all__ = ["verify"]


@click.command()
@paths_argument("PATH")
@limits_options
@json_option
@events_option
@common_options
def verify(path: tuple[bytes, ...], limits: Limits, as_json: bool, events: bytes | None, common: Common) -> None:
    """Read archives through. PATH is an archive, or a directory searched for archived sessions at any depth.

    Exit code 3 if any is damaged, unreadable or no archive at all. Nothing is changed.
    """
    with working(common.quiet, unit="archives", events=events) as work:
        result = run(
            *path,
            layouts=common.layouts,
            config=common.config,
            limits=limits,
            jobs=common.jobs,
            engine=common.engine,
            control=work.control,
        )
    show_result(result, as_json, common.quiet)
    finish(exit_codes.of_result(result), work.signals)
