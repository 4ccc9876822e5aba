"""What every suite is given: where to work, which programs, how often."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpora import Corpus, make
from harness import Contender
from peers import Peers

__all__ = ["Setup", "clear", "find_runark", "fresh_copy", "remove"]

HERE = Path(__file__).resolve().parent


def remove(path: Path) -> None:
    """Take a tree away, quickly: a million inodes are many for Python."""
    subprocess.run(["rm", "-rf", str(path)], check=True)


def clear(directory: Path) -> None:
    """Take everything in `directory` away: a suite that failed has left its trees."""
    for path in list(directory.iterdir()):
        remove(path)


def fresh_copy(source: Path, target: Path) -> Callable[[], None]:
    """A preparation: `target` becomes a new copy of `source`, with all metadata."""

    def prepare() -> None:
        remove(target)
        subprocess.run(["cp", "-a", str(source), str(target)], check=True)

    return prepare


def own_clock(output: bytes) -> float:
    """Seconds a program states in the JSON on its last line."""
    return float(json.loads(output.splitlines()[-1])["seconds"])


@dataclass(frozen=True)
class Setup:
    """One run of the benchmarks. `work` is on the filesystem that is measured, tmpfs unless said otherwise."""

    work: Path
    runark: tuple[str, ...]
    python: str  # the interpreter runark is installed in
    peers: Peers
    engines: tuple[str, ...]
    rounds: int
    scale: float
    jobs: int
    seed: int

    def corpus(self, name: str, label: str | None = None, scale: float | None = None) -> Corpus:
        """Make a corpus below `work` afresh."""
        target = self.work / (label or f"corpus-{name}")
        remove(target)
        return make(name, target, self.scale if scale is None else scale, self.seed)

    def ours(
        self,
        engine: str,
        verb: str,
        *words: str,
        name: str | None = None,
        exits: tuple[int, ...] = (0,),
        **more: object,
    ) -> Contender:
        """A contender: the installed command on one engine, from start to end of its process."""
        prepare = more.pop("prepare", None)
        if more:
            raise TypeError(f"unknown: {', '.join(more)}")
        command = (*self.runark, verb, *words)
        contender = Contender(name or engine, command, env={"RUNARK_ENGINE": engine}, exits=exits)
        return contender if prepare is None else Contender(**{**contender.__dict__, "prepare": prepare})

    def archive(
        self, engine: str, root: Path, *words: str, prepare: Callable[[], None], name: str | None = None
    ) -> Contender:
        """`runark archive` with the whole gate: tar.gz level 1, `jobs` workers, sources removed."""
        fixed = (str(root), "--execute", "--format", "tar.gz", "--level", "1", "--quiet")
        jobs = () if "--jobs" in words else ("--jobs", str(self.jobs))
        return self.ours(engine, "archive", *fixed, *jobs, *words, name=name, prepare=prepare)

    def peer(self, verb: str, root: Path, prepare: Callable[[], None]) -> Contender:
        """The peer's `archive_existing` or `restore_existing`, timed by its own clock, `fd` within its reach."""
        path = os.pathsep.join([str(self.peers.place / "bin"), os.environ["PATH"]])
        command = (str(self.peers.scitex_python), str(HERE / "peer_calls.py"), verb, str(root))
        return Contender("scitex-session", command, prepare, {"PATH": path}, own_clock)

    def floor(self, root: Path, *words: str, prepare: Callable[[], None]) -> Contender:
        """The floor program on the direct children of `root`."""
        return Contender("floor", (str(self.peers.floor), str(root), "--jobs", str(self.jobs), *words), prepare)


def find_runark(given: Sequence[str]) -> tuple[str, ...]:
    """The command to measure: as given, else beside this Python, else on PATH. Raises `SystemExit` if there is none."""
    if given:
        return tuple(given)
    beside = Path(sys.executable).parent / "runark"
    found = str(beside) if beside.exists() else shutil.which("runark")
    if found is None:
        raise SystemExit("benchmarks: no `runark` beside this Python or on PATH: `pip install .`, or --runark COMMAND")
    return (found,)
