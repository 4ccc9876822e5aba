"""`runark reconcile`: sessions in RUNNING/ whose process was killed."""

from __future__ import annotations

import json
import sys

import click

from runark.cli import exit_codes
from runark.cli.options import Common, common_options, json_option, paths_argument
from runark.cli.work import tell
from runark.names import escape
from runark.session.reconcile import STALE_AFTER
from runark.session.reconcile import reconcile as find_ghosts

__all__ = ["reconcile"]


@click.command()
@paths_argument("ROOT")
@click.option("--execute", is_flag=True, help="Move them to FINISHED_ERROR/, with the reason in their records.")
@click.option(
    "--stale-after",
    type=click.FloatRange(min=0),
    default=STALE_AFTER / 3600,
    show_default=True,
    metavar="HOURS",
    help="A session on another machine without a heartbeat for so long counts as dead.",
)
@json_option
@common_options
def reconcile(root: tuple[bytes, ...], execute: bool, stale_after: float, as_json: bool, common: Common) -> None:
    """Find sessions below each ROOT that lie in RUNNING/ but do not run any more: they were killed, or the machine was.

    Without --execute nothing is changed. Exit code 3 if one could not be moved.
    """
    ghosts = find_ghosts(*root, execute=execute, stale_after=stale_after * 3600, engine=common.engine)
    if as_json:
        found = {"schema": 1, "what": "reconcile", "ghosts": [ghost.to_json() for ghost in ghosts]}
        json.dump(found, sys.stdout, separators=(",", ":"))
        sys.stdout.write("\n")
    else:
        for ghost in ghosts:
            where = (
                "left alone"
                if ghost.target is None
                else f"{'moved to' if ghost.moved else 'goes to'} {escape(str(ghost.target.parent.name))}"
            )
            print(f"{escape(str(ghost.path))}: {where}: {ghost.error or ghost.reason}")
        if not execute and any(ghost.target is not None for ghost in ghosts):
            tell("nothing was changed; add --execute to do it")
    sys.exit(exit_codes.PARTIAL if any(ghost.error for ghost in ghosts) else exit_codes.OK)
