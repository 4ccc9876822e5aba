"""Peak memory of the whole command.

Bars: 150 MB for 10,000 sessions, 400 MB for 1,000,000 rows, 300 MB for a session of 1 GiB; aim half.
The kernel's own number is that of the largest process; the pure engine has several, so all of them together (PSS,
looked at every 20 ms) are reported as well and the larger number counts. MB are 1,000,000 bytes.
"""

from __future__ import annotations

from context import Setup, fresh_copy, remove
from harness import Book, Comparison, Contender

SAMPLE_MS = 20


def weigh(book: Book, what: str, contender: Contender, bar: float, engine: str) -> None:
    """One run, one line in the table; only the native engine has a bar."""
    sample = book.run("memory", contender, 0, sample_ms=SAMPLE_MS)
    value = max(sample.max_rss, sample.max_pss_all) / 1e6
    bars = (bar, bar / 2) if engine == "native" else (None, None)
    book.comparisons.append(Comparison("memory", what, (value,), "MB", bars[0], bars[1], "less"))


def run(setup: Setup, book: Book) -> None:
    corpus = setup.corpus("a")
    (root,) = corpus.roots
    tree = setup.work / "tree"
    target = tree / root.name
    copy = fresh_copy(root.parent, tree)
    quiet = ("--quiet", "--jobs", str(setup.jobs))
    for engine in setup.engines:
        weigh(
            book,
            f"{engine}: archive {corpus.sessions:,} sessions",
            setup.archive(engine, target, prepare=copy, name=f"{engine} archive"),
            150,
            engine,
        )
        verify = setup.ours(engine, "verify", str(target), *quiet, name=f"{engine} verify")
        weigh(book, f"{engine}: verify {corpus.sessions:,} archives", verify, 150, engine)
        restore = setup.ours(engine, "restore", str(target), "--execute", *quiet, name=f"{engine} restore")
        weigh(book, f"{engine}: restore {corpus.sessions:,} archives", restore, 150, engine)
    remove(tree)
    remove(root.parent)

    corpus = setup.corpus("e")
    (root,) = corpus.roots
    for engine in setup.engines:
        rows = setup.ours(engine, "scan", str(root), "-0", "--jobs", str(setup.jobs), name=f"{engine} scan")
        weigh(book, f"{engine}: {corpus.sessions:,} rows scanned", rows, 400, engine)
    remove(root.parent)

    (root,) = setup.corpus("d").roots
    tree = setup.work / "tree"
    target = tree / root.name
    copy = fresh_copy(root.parent, tree)
    for engine in setup.engines:
        weigh(
            book,
            f"{engine}: archive 1 GiB session",
            setup.archive(engine, target, prepare=copy, name=f"{engine} archive 1 GiB"),
            300,
            engine,
        )
        restore = setup.ours(engine, "restore", str(target), "--execute", *quiet, name=f"{engine} restore 1 GiB")
        weigh(book, f"{engine}: restore 1 GiB session", restore, 300, engine)
    remove(tree)
    remove(root.parent)
