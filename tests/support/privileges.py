"""Tests that need more or fewer rights than the suite runs with.

Fewer: root reads everything, so a file that cannot be read needs a process without the two capabilities that let
it. More: mounts and device nodes need root; where the suite has no right to make them, those tests are not
collected and the report's header says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from support.trees import PathLike

__all__ = ["can_mount", "is_root", "mounted", "without_override"]


def is_root() -> bool:
    """Whether the suite runs as root."""
    return os.geteuid() == 0


def without_override() -> list[str]:
    """What to put before a command so that file permissions bind it: nothing, unless the suite runs as root."""
    if not is_root():
        return []
    if shutil.which("setpriv") is None:
        raise AssertionError("setpriv is missing: apt-get install util-linux")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]


@lru_cache(maxsize=1)
def can_mount() -> bool:
    """Whether a tmpfs can be mounted here. Asked by trying."""
    if not is_root() or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", directory], capture_output=True, check=False)
        if done.returncode == 0:
            subprocess.run(["umount", directory], check=True)
        return done.returncode == 0


@contextlib.contextmanager
def mounted(directory: PathLike, options: str = "") -> Iterator[Path]:
    """A fresh tmpfs at `directory`, which must exist; unmounted at the end whatever happens."""
    path = Path(os.fsdecode(directory))
    subprocess.run(["mount", "-t", "tmpfs", *(["-o", options] if options else []), "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
