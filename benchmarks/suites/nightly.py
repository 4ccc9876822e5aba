"""`runark nightly` on 200,000 sessions (1.6 million inodes): what its machinery costs, and what kills cost.

Bars: as quick as `runark archive` but for 5 % (budgets, events, audit, metrics, back-off); below 500 MB of memory; after three
kills each session archived once; out within 5 s of SIGTERM. Rounds restore the tree instead of copying it: two would not fit.
"""  # noqa: E501

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from context import Setup, remove
from harness import Book, Comparison, Contender

SCALE = 20.0  # of corpus A
SAMPLE_MS = 50
KILLS = 3


def run(setup: Setup, book: Book) -> None:
    corpus = setup.corpus("a", label="corpus-nightly", scale=SCALE * setup.scale)
    (root,) = corpus.roots
    engine = setup.engines[-1] if "native" not in setup.engines else "native"
    quiet = ("--quiet", "--jobs", str(setup.jobs))
    events, metrics = setup.work / "events.jsonl", setup.work / "runark.prom"
    audit = root / ".runark" / "audit.jsonl"

    def restored() -> None:
        events.unlink(missing_ok=True)
        if any(entry.name.endswith(".tar.gz") for entry in os.scandir(root)):
            back = setup.ours(engine, "restore", str(root), "--execute", "--remove-archive", *quiet)
            subprocess.run(back.command, env={**os.environ, **back.env}, check=True)
        audit.unlink(missing_ok=True)

    old = ("--older-than", "1s")
    plain = setup.ours(engine, "archive", str(root), *old, "--execute", *quiet, name="archive", prepare=restored)
    machinery = ("--time-budget", "6h", "--events", str(events), "--metrics", str(metrics), "--max-growth", "none")
    # Priority is no machinery: on a machine that others use as well it is meant to cost time.
    words = (str(root), *old, "--execute", *quiet, *machinery, "--nice", "0", "--usual-io")
    night = setup.ours(engine, "nightly", *words, name="nightly", prepare=restored)
    found = book.rounds("nightly", [plain, night], setup.rounds)
    book.its_time("nightly", "nightly", "archive", found, 1.05, 1.0)
    lines = [line["event"] for line in map(json.loads, audit.read_text().splitlines())]
    done = len(events.read_text().splitlines())
    if lines.count("archived") != corpus.sessions or done != corpus.sessions:
        raise AssertionError(f"{lines.count('archived')} in the audit, {done} events, {corpus.sessions} sessions")
    book.note(f"nightly: {corpus.sessions:,} sessions, {corpus.inodes:,} inodes; each stands in audit and events once")

    sample = book.run("nightly-memory", night, 0, sample_ms=SAMPLE_MS)
    value = max(sample.max_rss, sample.max_pss_all) / 1e6
    what = f"{engine}: {corpus.sessions:,} sessions"
    book.comparisons.append(Comparison("nightly-memory", what, (value,), "MB", 500, 250, "less"))

    restored()
    kills(night, root, corpus.sessions, book)
    restored()
    stop(night, root, book)
    remove(root.parent)


def archives(root: Path) -> int:
    return sum(entry.name.endswith(".tar.gz") for entry in os.scandir(root))


def begin(contender: Contender) -> subprocess.Popen[bytes]:
    return subprocess.Popen(contender.command, env={**os.environ, **contender.env})


def kills(night: Contender, root: Path, sessions: int, book: Book) -> None:
    """Killed at random moments and begun again: the work is done once in all."""
    rng = random.Random(7)
    for _ in range(KILLS):
        process = begin(night)
        before = archives(root)
        while archives(root) == before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0.1, 3.0))
        process.kill()
        process.wait()
    subprocess.run(night.command, env={**os.environ, **night.env}, check=True)
    lines = [json.loads(line) for line in (root / ".runark" / "audit.jsonl").read_text().splitlines()]
    runs: dict[str, int] = {}
    paths: list[str] = []
    for line in lines:
        if line["event"] == "archived":
            runs[line["run"]] = runs.get(line["run"], 0) + 1
            paths.append(line["path"])
    if archives(root) != sessions or len(paths) != len(set(paths)):
        raise AssertionError(f"{archives(root)} archives of {sessions}, {len(paths) - len(set(paths))} archived twice")
    book.note(
        f"nightly: killed {KILLS} times at random: archived in the four runs {', '.join(map(str, runs.values()))};"
        f" {sessions:,} archives, none made twice, {sessions - len(paths)} of which a kill took the line in the audit"
    )


def stop(night: Contender, root: Path, book: Book) -> None:
    """SIGTERM in the middle."""
    process = begin(night)
    while archives(root) < 1000 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code = process.wait(timeout=60)
    seconds = time.monotonic() - began
    if code != 75:
        raise AssertionError(f"exit code {code} after SIGTERM")
    book.comparisons.append(Comparison("nightly-stop", "from SIGTERM to the end", (seconds,), "s", 5, 2, "less"))
