"""A batch script for Slurm that submits itself again for the next night, and a line for scrontab."""

from __future__ import annotations

import shlex

from runark.errors import InvalidArgument
from runark.names import escape
from runark.schedule.job import Job

__all__ = ["cron_line", "script"]

_SPARE = 15
"""Minutes that a job gets beyond what it takes by its own budget."""


def script(job: Job, options: tuple[str, ...] = ()) -> str:
    """A script for `sbatch`. `options`: more of sbatch's, as `partition=long`. Raises `InvalidArgument` for those."""
    directives = "\n".join(f"#SBATCH --{option}" for option in (*_limits(job), *_checked(options)))
    return f"""\
#!/bin/bash
# runark: archive old session directories every night. Save it, then: sbatch FILE (once; scancel ends it).
#SBATCH --job-name={job.name}
#SBATCH --begin={job.at}
{directives}
#SBATCH --signal=B:TERM@120
#SBATCH --output={job.name}.log
#SBATCH --open-mode=append
#SBATCH --dependency=singleton
#SBATCH --no-requeue

# First the next night, so that nothing that happens tonight ends the series. {job.at} alone could mean this minute.
[ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ] || sbatch --quiet --begin="$(date -d 'tomorrow {job.at}' +%FT%R)" "$0"

{_shell(job)} &
child=$!
trap 'kill -TERM "$child"' TERM
wait "$child"
code=$?
# A signal ends the first wait; runark stops within seconds.
[ "$code" -le 128 ] || {{ wait "$child"; code=$?; }}
# 75: the time was over, the next run goes on.
[ "$code" -ne 75 ] || code=0
exit "$code"
"""


def cron_line(job: Job, options: tuple[str, ...] = ()) -> str:
    """A line for `scrontab`, with its directives. Raises `InvalidArgument` for options, and for words with `%`."""
    for word in job.words:
        if "%" in word:
            raise InvalidArgument(f"{escape(word)}: '%' has no sure meaning in scrontab; use a path without it")
    directives = "\n".join(f"#SCRON --{option}" for option in (*_limits(job), *_checked(options)))
    return f"""\
# runark: archive old session directories every night. Add it with `scrontab -e`.
#SCRON --job-name={job.name}
{directives}
#SCRON --output={job.name}.log
#SCRON --open-mode=append
{job.at.minute} {job.at.hour} * * * {_shell(job)}
"""


def _limits(job: Job) -> tuple[str, ...]:
    hours, minutes = divmod(job.minutes + _SPARE, 60)
    return (f"time={hours:02}:{minutes:02}:00", "nodes=1", "ntasks=1")


def _checked(options: tuple[str, ...]) -> tuple[str, ...]:
    for option in options:
        if not option.isprintable() or not option or option.startswith("-") or set(option) & set(" \"'\\#%"):
            raise InvalidArgument(f"sbatch: cannot use {option!r}; write an option of sbatch as partition=long")
    return options


def _shell(job: Job) -> str:
    return " ".join(map(shlex.quote, job.words))
