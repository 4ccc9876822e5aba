"""Every environment variable runark reads. Only the command line does; nothing below it looks at the environment."""

from __future__ import annotations

ENGINE = "RUNARK_ENGINE"
"""`native`, `pure` or `auto`: the engine, unless `--engine` says otherwise."""

COMPLETE = "_RUNARK_COMPLETE"
"""Set by the scripts of `runark completion` while they ask for completions."""

__all__ = ["COMPLETE", "ENGINE"]
