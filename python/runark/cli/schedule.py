"""`runark schedule`: print what makes a scheduler run `runark nightly`."""

from __future__ import annotations

import os
import sys

import click

from runark.archive.timespec import parse_span
from runark.errors import NotADirectory, SourceMissing
from runark.names import escape
from runark.schedule import cron, slurm, systemd
from runark.schedule.job import Job, parse_at

__all__ = ["schedule"]

_POLICY = b"runark.yaml"
_MINUTE = 60_000_000_000


@click.command()
@click.argument("scheduler", type=click.Choice(("systemd", "cron", "slurm", "scrontab")))
@click.option("--config", type=click.Path(path_type=bytes), metavar="FILE", help="The policy. Default: ./runark.yaml.")
@click.option("--at", default="02:30", show_default=True, metavar="HH:MM", help="When, every day, local time.")
@click.option("--time-budget", default="3h", show_default=True, metavar="TIME", help="For so long at most.")
@click.option("--until", metavar="HH:MM", help="No longer than until then.")
@click.option("--metrics", type=click.Path(path_type=bytes), metavar="FILE", help="Write metrics for Prometheus there.")
@click.option("--drill", type=click.IntRange(1), metavar="N", help="Restore and compare N archives every night.")
@click.option("--system/--user", default=None, help="systemd: for the system or for you. Default: by who you are.")
@click.option("--sbatch", multiple=True, metavar="OPTION", help="Slurm: partition=long, account=lab (repeatable).")
def schedule(
    scheduler: str,
    config: bytes | None,
    at: str,
    time_budget: str,
    until: str | None,
    metrics: bytes | None,
    drill: int | None,
    system: bool | None,
    sbatch: tuple[str, ...],
) -> None:
    """Print a unit for systemd, a line for crontab or scrontab, or a script for sbatch. Nothing is installed.

    What they run is this interpreter with `-m runark nightly --config FILE --execute --quiet`.
    """
    if system is not None and scheduler != "systemd":
        raise click.UsageError("--system and --user are for systemd")
    if sbatch and scheduler not in ("slurm", "scrontab"):
        raise click.UsageError("--sbatch is for slurm and scrontab")
    words = ["-m", "runark", "nightly", "--config", _policy(config), "--execute", "--quiet"]
    minutes = -(-parse_span(time_budget, "time-budget") // _MINUTE)
    words += ["--time-budget", time_budget]
    if until is not None:
        words += ["--until", str(parse_at(until))]
    if metrics is not None:
        words += ["--metrics", os.fsdecode(os.path.abspath(metrics))]
    if drill is not None:
        words += ["--drill", str(drill)]
    job = Job((sys.executable, *words), parse_at(at), minutes)
    job.check()
    if scheduler == "systemd":
        text = systemd.units(job, user=os.geteuid() != 0 if system is None else not system)
    elif scheduler == "cron":
        text = cron.line(job)
    else:
        text = (slurm.script if scheduler == "slurm" else slurm.cron_line)(job, sbatch)
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(text))


def _policy(config: bytes | None) -> str:
    """The absolute path of the policy. Raises `SourceMissing`, `NotADirectory`: the night is too late to find out."""
    path = os.path.abspath(config or _POLICY)
    if not os.path.exists(path):
        advice = "name the policy with --config FILE" if config is None else "check the path"
        raise SourceMissing(f"{escape(path)} does not exist; {advice}")
    if not os.path.isfile(path):
        raise NotADirectory(f"{escape(path)} is not a file; name the policy with --config FILE")
    return os.fsdecode(path)
