"""How the rate of archiving changes with the number of workers: on tmpfs, and where every request waits.

`latency` archives through a FUSE passthrough that answers each request 0.5 ms late (`benchmarks/latency`), as a network
filesystem does: the kernel keeps the lock of a directory while a create, rename or unlink in it waits. The rate
is that of the whole process, Python's start included.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from context import Setup, fresh_copy, remove
from harness import Book, Unmeasured

WORKERS = (1, 2, 4, 8)
LATENT_WORKERS = (1, 2, 4, 8, 16, 32)
LATENT_SESSIONS = 600
DELAY_US = 500
MOUNT_SECONDS = 10.0


def run(setup: Setup, book: Book) -> None:
    corpus = setup.corpus("a")
    (root,) = corpus.roots
    tree = setup.work / "tree"
    target = tree / root.name
    copy = fresh_copy(root.parent, tree)
    contenders = [
        setup.archive(engine, target, "--jobs", str(jobs), prepare=copy, name=f"{engine}, {jobs} workers")
        for engine in setup.engines
        for jobs in WORKERS
    ]
    found = book.rounds("workers", contenders, max(1, setup.rounds // 2))
    for name, samples in found.items():
        rate = corpus.sessions / statistics.median(s.seconds for s in samples)
        book.note(f"workers: tmpfs, {name}: {rate:,.0f} sessions/s")
    remove(tree)
    remove(root.parent)


class Slow:
    """A mount of `backing` at `mount` on which every request waits."""

    def __init__(self, program: Path, backing: Path, mount: Path) -> None:
        self.program, self.backing, self.mount = program, backing, mount
        self.server: subprocess.Popen[bytes] | None = None

    def filled_with(self, source: Path) -> Callable[[], None]:
        """A preparation: a fresh mount of a fresh copy of `source`. Raises `Unmeasured` if FUSE cannot be mounted."""

        def prepare() -> None:
            self.close()
            fresh_copy(source, self.backing)()
            self.mount.mkdir(exist_ok=True)
            self.server = subprocess.Popen(
                [str(self.program), str(self.backing), str(self.mount), str(DELAY_US)], stderr=subprocess.PIPE
            )
            end = time.monotonic() + MOUNT_SECONDS
            while not os.path.ismount(self.mount):
                if self.server.poll() is not None or time.monotonic() > end:
                    self.server.kill()
                    reason = self.server.communicate()[1].decode(errors="replace").strip()
                    raise Unmeasured(f"latency: no FUSE mount (needs /dev/fuse and fusermount3): {reason}")
                time.sleep(0.01)

        return prepare

    def close(self) -> None:
        if self.server is not None:
            subprocess.run(["umount", str(self.mount)], check=False)
            self.server.wait(timeout=60)
            self.server = None


def run_latency(setup: Setup, book: Book) -> None:
    corpus = setup.corpus("a", label="corpus-latency", scale=LATENT_SESSIONS / 10_000 * min(1.0, setup.scale))
    (root,) = corpus.roots
    slow = Slow(setup.peers.latency, setup.work / "backing", setup.work / "slow")
    target = slow.mount / root.name
    fill = slow.filled_with(root.parent)
    try:
        for engine in setup.engines:
            for jobs in LATENT_WORKERS:
                name = f"{engine}, {jobs} workers"
                contender = setup.archive(engine, target, "--jobs", str(jobs), prepare=fill, name=name)
                rate = corpus.sessions / book.run("latency", contender, 0).seconds
                book.note(f"latency: {DELAY_US} us a request, {name}: {rate:,.0f} sessions/s")
    finally:
        slow.close()
        remove(slow.backing)
        remove(root.parent)
