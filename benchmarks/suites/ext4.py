"""Archiving and removing corpus A on ext4 against `rm -rf` of the same tree. Bar: 1.2x its time (aim: less).

The filesystem is new for every sample: an image file on tmpfs, made, mounted (`noatime`), filled and synced before
the clock starts. What is still dirty when the command ends is synced afterwards and timed apart (`then sync`): an
archiver that has to be durable has paid most of that already, `rm` has not.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from context import Setup, remove
from harness import Book, Contender, Sample, Unmeasured

BAR, AIM = 1.2, 1.0
INODES = 400_000


class Image:
    """An ext4 image in `work`, mounted on `work/mnt`."""

    def __init__(self, work: Path, size: str = "3G") -> None:
        self.file, self.mount, self.size = work / "ext4.img", work / "mnt", size

    def open(self) -> None:
        """Raises `Unmeasured` where an image cannot be mounted (no root, no loop device)."""
        self.close()
        self.mount.mkdir(exist_ok=True)
        subprocess.run(["truncate", "-s", self.size, str(self.file)], check=True)
        options = "lazy_itable_init=0,lazy_journal_init=0"  # or the kernel goes on writing while we measure
        subprocess.run(["mkfs.ext4", "-q", "-N", str(INODES), "-E", options, str(self.file)], check=True)
        done = subprocess.run(
            ["mount", "-o", "loop,noatime", str(self.file), str(self.mount)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Unmeasured(f"ext4 image: {done.stderr.strip()}; needs root and a loop device")

    def close(self) -> None:
        if os.path.ismount(self.mount):
            subprocess.run(["umount", str(self.mount)], check=True)
        self.file.unlink(missing_ok=True)

    def filled_with(self, source: Path) -> Callable[[], None]:
        """A preparation: a new filesystem with a copy of `source` in `tree`, all of it on "disk"."""

        def prepare() -> None:
            self.open()
            subprocess.run(["cp", "-a", str(source), str(self.mount / "tree")], check=True)
            self.sync()

        return prepare

    def sync(self) -> None:
        subprocess.run(["sync", "-f", str(self.mount)], check=True)


def run(setup: Setup, book: Book) -> None:
    (root,) = setup.corpus("a").roots
    image = Image(setup.work)
    tree = image.mount / "tree"
    target = tree / root.name
    fill = image.filled_with(root.parent)
    try:
        contenders = [setup.archive(engine, target, prepare=fill) for engine in setup.engines]
        contenders += [
            Contender("rm -rf", ("rm", "-rf", str(tree)), fill),
            setup.floor(target, prepare=fill),
        ]
        found: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
        for number in range(setup.rounds):
            for contender in contenders:
                found[contender.name].append(book.run("archive-ext4", contender, number))
                after = Contender(f"{contender.name}, then sync", ("sync", "-f", str(image.mount)))
                book.run("archive-ext4", after, number)
        for engine in setup.engines:
            bars = (BAR, AIM) if engine == "native" else (None, None)
            book.its_time("archive-ext4", engine, "rm -rf", found, *bars)
        book.its_time("archive-ext4", "floor", "rm -rf", found)
    finally:
        image.close()
        remove(root.parent)
