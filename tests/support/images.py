"""Real filesystems in image files, mounted through loop devices. Needs root; see the marker `mounts`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["MAKERS", "SBIN", "copy_image", "make_image", "mounted_image"]

MAKERS: dict[str, tuple[str, ...]] = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
SBIN = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


def make_image(path: Path, kind: str, mebibytes: int, extra: Sequence[str] = ()) -> Path:
    """An image file with an empty filesystem."""
    with open(path, "wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run((*MAKERS[kind], *extra, path), check=True, env=SBIN, capture_output=True)
    return path


def copy_image(image: Path, target: Path) -> Path:
    """What is in the image file at this moment, holes as holes."""
    subprocess.run(("cp", "--sparse=always", image, target), check=True)
    return target


@contextlib.contextmanager
def mounted_image(image: Path, at: Path, options: str = "") -> Iterator[Path]:
    """The image mounted at `at`, which is made; unmounted at the end whatever happens."""
    at.mkdir(parents=True, exist_ok=True)
    # a copy has the name of its original, which xfs does not let in twice
    copied = "nouuid" if image.open("rb").read(4) == b"XFSB" else ""
    together = ",".join(option for option in ("loop", copied, options) if option)
    subprocess.run(("mount", "-o", together, image, at), check=True, env=SBIN)
    try:
        yield at
    finally:
        if subprocess.run(("umount", at), env=SBIN, capture_output=True, check=False).returncode:
            subprocess.run(("umount", "--lazy", at), check=True, env=SBIN)
        shutil.rmtree(at, ignore_errors=True)
