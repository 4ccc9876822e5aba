"""Every environment variable runark reads or sets. Below the command line and the session package nobody looks at the
environment."""

from __future__ import annotations

ENGINE = "RUNARK_ENGINE"
"""`native`, `pure` or `auto`: the engine, unless `--engine` says otherwise."""

COMPLETE = "_RUNARK_COMPLETE"
"""Set by the scripts of `runark completion` while they ask for completions."""

OUT_DIR = "RUNARK_OUT_DIR"
"""Where `<script>_out` directories are made, instead of beside the scripts."""

SESSION = "RUNARK_SESSION"
"""Set while a session runs: its directory. A process that finds it belongs to that session. `new`: never attach."""

NOTIFY_URL = "RUNARK_NOTIFY_URL"
"""Where `notify=True` sends its message: a URL apprise understands, or several separated by spaces."""

SLURM_JOB_END_TIME = "SLURM_JOB_END_TIME"
"""When the job ends, in seconds since 1970: `runark nightly` is over before. SLURM sets it."""

__all__ = ["COMPLETE", "ENGINE", "NOTIFY_URL", "OUT_DIR", "SESSION", "SLURM_JOB_END_TIME"]
