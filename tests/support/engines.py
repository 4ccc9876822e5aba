"""The engines that are tested."""

from __future__ import annotations

import importlib.util
import os
from typing import NamedTuple

from runark.engine.protocol import Engine

NATIVE_REQUIRED = "RUNARK_TEST_NATIVE"


def _installed() -> list[str]:
    engines = ["pure"]
    if importlib.util.find_spec("runark._native") is not None or os.environ.get(NATIVE_REQUIRED) == "required":
        engines.append("native")
    return engines


ENGINES = _installed()


class Pair(NamedTuple):
    """Who archives and who restores."""

    archiver: Engine
    restorer: Engine
