"""`runark apply`: carry out a plan that was written with `runark archive --plan-out`."""

from __future__ import annotations

import json

import click

from runark.archive.plan_file import apply_plan as run
from runark.archive.plan_file import read_plan
from runark.cli import exit_codes
from runark.cli.options import events_option, json_option
from runark.cli.work import finish, show_result, tell, working
from runark.engine import ENGINES
from runark.names import escape, json_path

__all__ = ["apply"]


@click.command()
@click.argument("plan", type=click.Path(path_type=bytes))
@click.option("--dry-run", is_flag=True, help="Only say what the plan holds, and whether it was edited.")
@json_option
@events_option
@click.option("--engine", type=click.Choice(ENGINES), help="The engine; `auto`: native if installed, else pure.")
@click.option("--jobs", "-j", type=click.IntRange(1), metavar="N", help="Workers. Default: by cores and filesystem.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no summary; errors only.")
@click.pass_context
def apply(
    ctx: click.Context,
    plan: bytes,
    dry_run: bool,
    as_json: bool,
    events: bytes | None,
    engine: str | None,
    jobs: int | None,
    quiet: bool,
) -> None:
    """Archive exactly the sessions of PLAN that are as they were when it was made. An edited PLAN is refused."""
    paper = read_plan(plan)
    if dry_run:
        if as_json:
            head = {"schema": 1, "what": "plan-file", "roots": [json_path(root) for root in paper.roots]}
            text = {**head, "sessions": len(paper.sessions), "format": paper.format, "sha256": paper.sha256}
            print(json.dumps(text, separators=(",", ":")))
            return
        roots = ", ".join(escape(root) for root in paper.roots)
        print(f"{len(paper.sessions):,} sessions below {roots}, as {paper.format}; SHA-256 {paper.sha256}")
        tell("nothing was changed")
        return
    with working(quiet, events=events) as work:
        chosen = engine or (ctx.obj or {}).get("engine") or "auto"
        result = run(paper, jobs=jobs, engine=chosen, control=work.control)
    show_result(result, as_json, quiet)
    finish(exit_codes.of_result(result), work.signals)
