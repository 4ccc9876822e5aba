"""Scanning against fd, du and find.

`scan-flat`: the sessions of one directory of 200,000 whose own mtime is older than 30 days. Bar: 4x `fd --type d
--max-depth 1 --changed-before 30d` (aim 8). fd reads ignore files unless told `-u`, which costs it most of its time;
both ways are measured, the second is the harder one. `scan-sizes`: sizes of 1,000,000 inodes. Bar: quicker than the
quickest of fd, du and find (aim 2x). All caches are warm (tmpfs has no other state).
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from context import HERE, Setup, own_clock, remove
from harness import Book, Comparison, Contender, Sample
from trees import Unequal

AGE = "30d"


def names(output: Path) -> set[bytes]:
    """The last components of NUL-separated paths."""
    return {path.rstrip(b"/").rpartition(b"/")[2] for path in output.read_bytes().split(b"\0") if path}


def alone(setup: Setup, engine: str, what: str, root: Path) -> Contender:
    """The engine without the command line, by its own clock."""
    command = (setup.python, str(HERE / "engine_calls.py"), engine, what, str(root), str(setup.jobs))
    return Contender(f"{engine}, engine alone", command, reported=own_clock)


def quickest(found: dict[str, list[Sample]], peers: list[Contender]) -> str:
    """The peer with the least median."""
    return min((p.name for p in peers), key=lambda name: statistics.median(s.seconds for s in found[name]))


def engine_alone(book: Book, suite: str, setup: Setup, found: dict[str, list[Sample]], peer: str) -> None:
    """Comparisons without bar: the engine's own clock against the peer's process."""
    for engine in setup.engines:
        ours = found[f"{engine}, engine alone"]
        values = tuple(b.seconds / a.fair for a, b in zip(ours, found[peer], strict=True))
        book.comparisons.append(Comparison(suite, f"{engine}, engine alone, against {peer}", values, "x quicker"))


def run_flat(setup: Setup, book: Book) -> None:
    corpus = setup.corpus("b")
    (root,) = corpus.roots
    where = str(root)
    filters = ("--type", "d", "--max-depth", "1", "--changed-before", AGE, "-0", ".", where)
    plain = [Contender(label, (str(fd), *filters)) for label, fd in setup.peers.fds.items()]
    bare = [Contender(f"{label} -u", (str(fd), "-u", *filters)) for label, fd in setup.peers.fds.items()]
    find = Contender(
        "find", ("find", where, "-mindepth", "1", "-maxdepth", "1", "-type", "d", "-mtime", "+30", "-print0")
    )
    jobs = ("--jobs", str(setup.jobs))
    ours = [setup.ours(engine, "scan", where, "--changed-before", AGE, "-0", *jobs) for engine in setup.engines]
    ages = [
        setup.ours(engine, "scan", where, "--older-than", AGE, "-0", *jobs, name=f"{engine} --older-than")
        for engine in setup.engines
    ]
    listed = setup.work / "listed"
    want: set[bytes] = set()
    for contender in (*bare, *plain, find, *ours, *ages):
        book.run("scan-flat-equality", contender, 0, keep=listed)
        want = want or names(listed)
        if names(listed) != want:
            raise Unequal(f"scan-flat: {contender.name} found {len(names(listed))}, {bare[0].name} {len(want)}")
    equal = ", ".join(contender.name for contender in (*bare, *plain, find, *ours, *ages))
    book.note(f"equality: scan-flat: all {len(want)} names are the same for {equal}")
    listed.unlink()
    own = [alone(setup, engine, "flat", root) for engine in setup.engines]
    found = book.rounds("scan-flat", [*ours, *ages, *own, *plain, *bare, find], 2 * setup.rounds)
    as_written, hardest = quickest(found, plain), quickest(found, [*bare, find])
    for engine in setup.engines:
        bars = (4.0, 8.0) if engine == "native" else (None, None)
        book.quicker("scan-flat", engine, as_written, found, *bars)
        book.quicker("scan-flat", engine, hardest, found, *bars)
        book.quicker("scan-flat", f"{engine} --older-than", as_written, found)
    engine_alone(book, "scan-flat", setup, found, hardest)
    remove(root.parent)


def run_sizes(setup: Setup, book: Book) -> None:
    corpus = setup.corpus("c")
    top = corpus.roots[0].parent.parent
    where = str(top)
    peers = [
        Contender(f"{label} -u -S", (str(fd), "-u", "--type", "f", "-S", "+0b", ".", where))
        for label, fd in setup.peers.fds.items()
    ]
    peers += [
        Contender("du -s", ("du", "-s", "--apparent-size", "--block-size=1", where)),
        Contender("find -printf", ("find", where, "-type", "f", "-printf", "%s\\n")),
    ]
    jobs = ("--jobs", str(setup.jobs))
    ours = [setup.ours(engine, "scan", where, "--json", "--limit", "1", *jobs) for engine in setup.engines]
    own = [alone(setup, engine, "sizes", top) for engine in setup.engines]
    listed = setup.work / "listed"
    book.run("scan-sizes-equality", peers[-1], 0, keep=listed)
    want = sum(map(int, listed.read_bytes().split()))
    for contender in own:
        book.run("scan-sizes-equality", contender, 0, keep=listed)
        got = json.loads(listed.read_bytes())
        if (got["size"], got["inodes"], got["rows"]) != (want, corpus.inodes, corpus.sessions):
            raise Unequal(f"scan-sizes: {contender.name} found {got}, find {want} bytes, made {corpus.inodes} inodes")
    book.note(
        f"equality: scan-sizes: {want:,} bytes in {corpus.inodes:,} inodes by find and by {', '.join(setup.engines)}"
    )
    listed.unlink()
    found = book.rounds("scan-sizes", [*ours, *own, *peers], setup.rounds)
    peer = quickest(found, peers)
    for engine in setup.engines:
        bars = (1.0, 2.0) if engine == "native" else (None, None)
        book.quicker("scan-sizes", engine, peer, found, *bars)
    engine_alone(book, "scan-sizes", setup, found, peer)
    remove(top)
