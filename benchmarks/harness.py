"""Measuring: contenders in turns, ratios inside a round, everything written down.

A contender is a command and what must be done before it (never timed). `Book.rounds` runs all contenders one after the
other, `rounds` times (A B A B ...), so that a slow minute of the machine hits all of them; a ratio is always between
two samples of one round, and its median over the rounds is what is reported.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Book", "Comparison", "Contender", "Failed", "Sample", "Unmeasured"]

HERE = Path(__file__).resolve().parent


class Unmeasured(Exception):
    """A suite cannot be run here; the text says what is missing. It is written into the summary, never passed over."""


class Failed(Exception):
    """A command ended with an exit code it should not have; the text holds its standard error."""


def nothing() -> None:
    """No preparation."""


@dataclass(frozen=True)
class Contender:
    """One command to be timed. `reported` reads the seconds the command itself states, if it does, from its output."""

    name: str
    command: tuple[str, ...]
    prepare: Callable[[], None] = nothing
    env: Mapping[str, str] = field(default_factory=dict)
    reported: Callable[[bytes], float] | None = None
    exits: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Sample:
    """What one run of a contender cost. Seconds; bytes."""

    suite: str
    name: str
    round: int
    seconds: float
    user: float
    system: float
    max_rss: int
    max_pss_all: int = 0
    reported: float | None = None

    @property
    def fair(self) -> float:
        """The seconds that count: what the program states for the work alone if it does, else from start to end."""
        return self.seconds if self.reported is None else self.reported


@dataclass(frozen=True)
class Comparison:
    """One line of the table of bars. `values` are per round; `better` says which way is good."""

    suite: str
    measured: str
    values: tuple[float, ...]
    unit: str  # "x quicker", "x its time", "MB", ...
    bar: float | None = None
    aim: float | None = None
    better: str = "more"

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        def holds(limit: float) -> bool:
            return self.value >= limit if self.better == "more" else self.value <= limit

        if self.bar is None:
            return ""
        if self.aim is not None and holds(self.aim):
            return "aim reached"
        return "holds" if holds(self.bar) else "MISSED"


class Book:
    """Everything that was measured in one run of the benchmarks."""

    def __init__(self, work: Path, variables: Mapping[str, str], log: Callable[[str], None]) -> None:
        self.work = work
        self.variables = variables
        self.log = log
        self.samples: list[Sample] = []
        self.comparisons: list[Comparison] = []
        self.notes: list[str] = []
        self.commands: dict[str, str] = {}

    def printable(self, words: Sequence[str]) -> str:
        """A command as it can be shown, with this machine's paths replaced by variables."""
        text = " ".join(f"'{word}'" if any(c in word for c in " |>;") else word for word in words)
        return self.anonymous(text)

    def anonymous(self, text: str) -> str:
        """The text without this machine's paths, the longest replaced first."""
        for path, name in sorted(((p, n) for n, p in self.variables.items()), key=lambda item: -len(item[0])):
            text = text.replace(path, name)
        return text

    def run(
        self, suite: str, contender: Contender, number: int, sample_ms: int = 0, keep: Path | None = None
    ) -> Sample:
        """Prepare and run one contender once. Raises `Failed` with its standard error if it fails."""
        contender.prepare()
        output = keep or self.work / "stdout"
        result = self.work / "measured.json"
        words = tuple(f"{k}={v}" for k, v in contender.env.items()) + contender.command
        self.commands.setdefault(f"{suite}: {contender.name}", self.printable(words))
        done = subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                str(HERE / "measure.py"),
                str(result),
                str(output),
                str(sample_ms),
                "--",
                *contender.command,
            ],
            env={**os.environ, **contender.env},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode != 0 or not result.exists():
            raise Failed(f"{self.printable(words)}: not measured\n{done.stderr.decode(errors='replace')}")
        cost = json.loads(result.read_text())
        result.unlink()
        if cost["exit"] not in contender.exits:
            tail = done.stderr.decode(errors="replace")[-2000:]
            raise Failed(f"{self.printable(words)}: exit {cost['exit']}\n{tail}")
        del cost["exit"]
        reported = contender.reported(output.read_bytes()) if contender.reported else None
        if keep is None:
            output.unlink()
        sample = Sample(suite, contender.name, number, **cost, reported=reported)
        self.samples.append(sample)
        own = "" if reported is None else f" (own clock {reported:.3f} s)"
        self.log(
            f"  {suite} {number + 1}: {contender.name:24} {sample.seconds:8.3f} s{own}  {sample.max_rss / 1e6:.0f} MB"
        )
        return sample

    def rounds(self, suite: str, contenders: Sequence[Contender], rounds: int) -> dict[str, list[Sample]]:
        """All contenders in turns. Answers their samples by name, in order of the rounds."""
        found: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
        for number in range(rounds):
            for contender in contenders:
                found[contender.name].append(self.run(suite, contender, number))
        return found

    def quicker(
        self,
        suite: str,
        ours: str,
        theirs: str,
        found: dict[str, list[Sample]],
        bar: float | None = None,
        aim: float | None = None,
    ) -> None:
        """`theirs / ours`, round by round: how many times quicker we are. Ours is the whole process, start to end."""
        values = tuple(b.fair / a.seconds for a, b in zip(found[ours], found[theirs], strict=True))
        self.comparisons.append(Comparison(suite, f"{ours} against {theirs}", values, "x quicker", bar, aim))

    def its_time(
        self,
        suite: str,
        ours: str,
        theirs: str,
        found: dict[str, list[Sample]],
        bar: float | None = None,
        aim: float | None = None,
    ) -> None:
        """`ours / theirs`, round by round: how many times its time we need."""
        values = tuple(a.seconds / b.fair for a, b in zip(found[ours], found[theirs], strict=True))
        self.comparisons.append(Comparison(suite, f"{ours} against {theirs}", values, "x its time", bar, aim, "less"))

    def above(self, suite: str, ours: str, base: str, found: dict[str, list[Sample]], bar: float | None = None) -> None:
        """`ours - base`, round by round, in milliseconds."""
        values = tuple((a.seconds - b.seconds) * 1000 for a, b in zip(found[ours], found[base], strict=True))
        self.comparisons.append(Comparison(suite, f"{ours} above {base}", values, "ms", bar, None, "less"))

    def own_time(self, suite: str, ours: str, found: dict[str, list[Sample]], bar: float | None = None) -> None:
        """What the program's own clock says, in milliseconds."""
        values = tuple(sample.fair * 1000 for sample in found[ours])
        self.comparisons.append(Comparison(suite, ours, values, "ms", bar, None, "less"))

    def own_ratio(self, suite: str, ours: str, theirs: str, found: dict[str, list[Sample]]) -> None:
        """`theirs / ours`, both by their own clocks, round by round."""
        values = tuple(b.fair / a.fair for a, b in zip(found[ours], found[theirs], strict=True))
        self.comparisons.append(Comparison(suite, f"{ours} against {theirs}", values, "x quicker"))

    def withdraw(self, suite: str) -> None:
        """Take back the comparisons of a suite that failed: they might compare unequal results. Its samples stay."""
        self.comparisons = [line for line in self.comparisons if not line.suite.startswith(suite)]

    def note(self, text: str) -> None:
        """A line for the summary: what was checked, what could not be run."""
        self.notes.append(self.anonymous(text))
        self.log(f"  {text}")
