"""This package's own messages: logger `runark.workdir`, levels debug, verbose (15) and warning."""

from __future__ import annotations

import logging

__all__ = ["VERBOSE", "log"]

VERBOSE = 15
"""Between debug and info: what was done, once for each thing."""

if logging.getLevelName(VERBOSE) == f"Level {VERBOSE}":
    logging.addLevelName(VERBOSE, "VERBOSE")

log = logging.getLogger("runark.workdir")
