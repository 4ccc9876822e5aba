"""A line for a crontab."""

from __future__ import annotations

import shlex

from runark.schedule.job import Job

__all__ = ["line"]


def line(job: Job) -> str:
    """The line, with comments before it. cron mails what is printed, and `--quiet` prints only what went wrong."""
    return (
        "# runark: archive old session directories every night. Add it with `crontab -e`.\n"
        f"{job.at.minute} {job.at.hour} * * * {' '.join(map(_quoted, job.words))}\n"
    )


def _quoted(word: str) -> str:
    """The word for the shell, after cron has seen it: `%` ends the command for cron, and only a backslash right before
    it, quotes or not, keeps it from doing so."""
    return r"\%".join(shlex.quote(part) if part else "" for part in word.split("%")) or "''"
