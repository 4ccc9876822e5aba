"""Run the benchmarks: `python benchmarks/bench.py [SUITE...]`, results in `benchmarks/runs/<date>-<name>/`.

Needs an installed release build of runark and the peers (`peers.py` installs them). Run it on a machine that does
nothing else. `--scale 0.02 --rounds 1` tries everything out in a minute or two; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from context import HERE, Setup, clear, find_runark, remove
from harness import Book, Comparison, Failed, Unmeasured
from machine import describe
from peers import find_peers
from suites import SUITES
from trees import Unequal


def engines_of(runark: tuple[str, ...], wanted: list[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The engines to measure and what `runark --version` says of each. Raises `SystemExit` for one that is missing."""
    found: dict[str, str] = {}
    for engine in wanted:
        env = {**os.environ, "RUNARK_ENGINE": engine}
        done = subprocess.run([*runark, "--version"], env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"benchmarks: engine {engine}: {done.stderr.strip()}\n(leave it out with --engines pure)")
        found[engine] = ", ".join(done.stdout.split("\n")).strip(" ,")
    return tuple(found), {f"runark, {engine}": text for engine, text in found.items()}


def row(line: Comparison) -> str:
    spread = f"{min(line.values):.2f}-{max(line.values):.2f} ({len(line.values)})"
    digits = 0 if line.unit == "MB" else 2
    sign = "at least" if line.better == "more" else "at most"
    bar = "" if line.bar is None else f"{sign} {line.bar:g}"
    aim = "" if line.aim is None else f"{line.aim:g}"
    value = f"**{line.value:.{digits}f}** {line.unit}"
    return f"| {line.suite} | {line.measured} | {value} | {spread} | {bar} | {aim} | {line.verdict} |"


def summary(book: Book, title: str) -> str:
    """The text of summary.md: bars first, then every contender's times, then what was checked."""
    out = [
        f"# {title}",
        "",
        "Ratios are medians of rounds; each ratio is between two runs of one round. Machine and commands: machine.txt.",
        "",
    ]
    out += ["| suite | measured | median | range (rounds) | bar | aim | |", "|---|---|---|---|---|---|---|"]
    out += [row(line) for line in book.comparisons]
    out += [
        "",
        "| suite | program | median s | best s | user s | system s | peak MB | runs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[int]] = {}
    for index, sample in enumerate(book.samples):
        groups.setdefault((sample.suite, sample.name), []).append(index)
    for (suite, name), indices in groups.items():
        samples = sorted((book.samples[i] for i in indices), key=lambda s: s.fair)
        middle = samples[len(samples) // 2]
        peak = max(max(s.max_rss, s.max_pss_all) for s in samples)
        out.append(
            f"| {suite} | {name} | {middle.fair:.3f} | {samples[0].fair:.3f} | {middle.user:.2f} | {middle.system:.2f} "
            f"| {peak / 1e6:.0f} | {len(samples)} |"
        )
    out += ["", *(f"- {note}" for note in book.notes), ""]
    return "\n".join(out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE", help=f"one or more of {', '.join(SUITES)}; all if none is given"
    )
    parser.add_argument("--name", default="run", help="short name of the run, part of the directory of its results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of sessions of every corpus")
    parser.add_argument("--jobs", type=int, default=2, help="workers of ours, threads of the floor and of pigz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engines", default="native,pure")
    parser.add_argument(
        "--work", type=Path, default=Path("/dev/shm/runark-bench"), help="must not exist; is removed at the end"
    )
    parser.add_argument(
        "--runark", nargs="+", default=[], metavar="WORD", help="the command to measure, if it is not `runark`"
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter runark is installed in")
    parser.add_argument("--peers", type=Path, help="where peers are or are installed (default benchmarks/.peers)")
    parser.add_argument("--scitex-python", type=Path, help="interpreter of an existing installation of the peer")
    parser.add_argument("--output", type=Path, help="directory of the results (default benchmarks/runs/<date>-<name>)")
    args = parser.parse_args()
    unknown = set(args.suites) - set(SUITES)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    return args


def main() -> int:
    """Exit code 0: all bars hold; 3: a bar missed, a suite not run; 1: unequal results, a failed command."""
    args = arguments()
    peers = find_peers(args.peers, args.scitex_python)
    runark = find_runark(args.runark)
    engines, versions = engines_of(runark, args.engines.split(","))
    args.work.mkdir()
    setup = Setup(args.work, runark, args.python, peers, engines, args.rounds, args.scale, args.jobs, args.seed)
    variables = {
        "$WORK": str(args.work),
        "$PEERS": str(peers.place),
        "$SCITEX_PYTHON": str(peers.scitex_python),
        "$PYTHON": args.python,
        "$BENCHMARKS": str(HERE),
        "runark": runark[0],
        "$PATH": os.environ["PATH"],
    }
    book = Book(args.work, variables, lambda text: print(text, file=sys.stderr, flush=True))
    missing = failed = 0
    began = time.monotonic()
    try:
        for suite in args.suites or SUITES:
            book.log(suite)
            try:
                SUITES[suite](setup, book)
            except Unmeasured as reason:
                missing += 1
                book.note(f"NOT MEASURED: {suite}: {reason}")
            except (Failed, Unequal) as reason:
                failed += 1
                book.withdraw(suite)
                book.note(f"FAILED: {suite}: {reason}")
            clear(args.work)
        machine = describe(args.work, {**versions, **peers.versions}, book.commands)
    finally:
        remove(args.work)
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    output = args.output or HERE / "runs" / f"{date}-{args.name}"
    output.mkdir(parents=True, exist_ok=True)
    scale = "" if args.scale == 1 else f", scale {args.scale:g}: NOT the corpora the bars are for"
    (output / "summary.md").write_text(summary(book, f"{date} {args.name}{scale}"))
    (output / "machine.txt").write_text(machine)
    options = {
        "rounds": args.rounds,
        "scale": args.scale,
        "jobs": args.jobs,
        "seed": args.seed,
        "minutes": (time.monotonic() - began) / 60,
    }
    raw = {
        "schema": 1,
        "date": date,
        "options": options,
        "samples": [dataclasses.asdict(sample) for sample in book.samples],
        "comparisons": [
            {**dataclasses.asdict(line), "median": line.value, "verdict": line.verdict} for line in book.comparisons
        ],
        "notes": book.notes,
    }
    (output / "raw.json").write_text(json.dumps(raw, indent=1) + "\n")
    print((output / "summary.md").read_text())
    missed = [line for line in book.comparisons if line.verdict == "MISSED"]
    return 1 if failed else 3 if missed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
