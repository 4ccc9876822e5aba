"""Limits: whether a run keeps to `max_ops` and `max_bytes`, whatever the number of workers.

Each engine archives a tree once without limits, which tells its operations and content bytes, and then with limits at
which the same takes `SECONDS`. Bar: the rate of the whole run, the start of workers included, is at most 10 % off.
"""

from __future__ import annotations

import json

from context import HERE, Setup, fresh_copy, remove
from harness import Book, Comparison, Contender, Unmeasured

WORKERS = (1, 2, 4)
SESSIONS = 1000
SECONDS = 8.0
BAR = 10.0  # per cent


def run(setup: Setup, book: Book) -> None:
    corpus = setup.corpus("a", label="corpus-load", scale=SESSIONS / 10_000 * min(1.0, setup.scale))
    (root,) = corpus.roots
    tree = setup.work / "tree"
    copy = fresh_copy(root.parent, tree)
    output = setup.work / "told"

    def archive(engine: str, jobs: int, what: str, ops: float = 0.0, content: float = 0.0) -> dict[str, float]:
        words = (engine, str(tree / root.name), str(jobs), str(ops), str(content))
        command = (setup.python, str(HERE / "engine_load.py"), *words)
        name = f"{engine}, {jobs} workers, {what}"
        book.run("load", Contender(name, command, prepare=copy), 0, keep=output)
        told: dict[str, float] = json.loads(output.read_text())
        return told

    for engine in setup.engines:
        for jobs in WORKERS:
            free = archive(engine, jobs, "no limit")
            if free["seconds"] > SECONDS / 2:
                raise Unmeasured(f"load: this machine is too slow: {free['seconds']:.1f} s without limits")
            for what, limits in (("operations", ("ops", "operations")), ("bytes", ("content", "bytes"))):
                rate = free[limits[1]] / SECONDS
                told = archive(engine, jobs, what, **{limits[0]: rate})
                ratio = told[limits[1]] / told["seconds"] / rate
                off = abs(ratio - 1) * 100
                line = f"{engine}, {jobs} workers: {what} off the limit of {rate:,.0f}/s"
                book.comparisons.append(Comparison("load", line, (off,), "%", BAR, None, "less"))
                book.note(f"load: {engine}, {jobs} workers, {what}: {ratio:.3f} of the limit")
    output.unlink()
    remove(tree)
    remove(root.parent)
