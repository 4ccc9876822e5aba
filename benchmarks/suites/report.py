"""`runark scan --report` of 300,000 sessions against `runark scan` alone; the size of the page and how soon it is seen.

Bars: a page of 1.5 MB. The ratio and the time to the first paint have none. Checked first: the report has the sessions,
inodes and bytes that were made.
"""

from __future__ import annotations

import json
import subprocess

from context import HERE, Setup, own_clock, remove
from harness import Book, Comparison, Contender, Unmeasured
from trees import Unequal

PAGE_KB = 1500


def run(setup: Setup, book: Book) -> None:
    known = subprocess.run([setup.python, "-c", "import playwright"], capture_output=True, check=False)
    if known.returncode:
        raise Unmeasured(
            "no playwright in the interpreter to measure; pip install playwright, apt-get install chromium"
        )
    corpus = setup.corpus("f")
    top = corpus.roots[0].parent.parent
    where, page, document = str(top), setup.work / "out.html", setup.work / "out.json"
    words = ("--older-than", "90d", "--jobs", str(setup.jobs))
    contenders = []
    for engine in setup.engines:
        made = setup.ours(engine, "scan", where, "--report", str(document), "--quiet", *words)
        book.run("report-equality", made, 0)
        scanned = json.loads(document.read_bytes())["scanned"]
        document.unlink()
        got = scanned["sessions"], scanned["inodes"], scanned["size"]
        if got != (corpus.sessions, corpus.inodes, corpus.content):
            raise Unequal(f"report: {engine} says {got}, made were {corpus}")
        contenders += [
            setup.ours(engine, "scan", where, "--limit", "1", "--quiet", *words, name=f"{engine} scan"),
            setup.ours(
                engine,
                "scan",
                where,
                "--report",
                str(page),
                "--quiet",
                *words,
                name=f"{engine} scan --report",
                prepare=lambda: page.unlink(missing_ok=True),
            ),
        ]
    book.note(
        f"equality: report: {corpus.sessions:,} sessions, {corpus.inodes:,} inodes, {corpus.content:,} bytes in each"
    )
    found = book.rounds("report", contenders, setup.rounds)
    for engine in setup.engines:
        book.its_time("report", f"{engine} scan --report", f"{engine} scan", found)
    size = page.stat().st_size / 1000
    book.comparisons.append(Comparison("report", "the page", (size,), "kB", PAGE_KB, None, "less"))
    paint = Contender("first paint", (setup.python, str(HERE / "paint.py"), str(page)), reported=own_clock)
    book.own_time("report", "first paint", book.rounds("report", [paint], setup.rounds))
    remove(top)
