"""Archiving corpus A on tmpfs: both engines against the peer and against the floor.

Bars: native 15x the peer (aim 20), pure 4x (6), native at most 1.6x the floor's time (1.25). Beside them, with no
bar: how far the floor and the native engine without any compression are ahead of the peer.
"""

from __future__ import annotations

import os
from pathlib import Path

from context import Setup, fresh_copy, remove
from harness import Book
from trees import Unequal, picture, same, streams

PLAIN = "native, not compressed"
BARS = {"native": (15.0, 20.0), "pure": (4.0, 6.0)}


def packed(root: Path) -> int:
    """Bytes of all archives directly below `root`."""
    return sum(entry.stat().st_size for entry in os.scandir(root) if entry.name.endswith(".tar.gz"))


def check(setup: Setup, book: Book) -> None:
    """Equality: what each archiver made comes back as it was, and our tar streams are the floor's."""
    corpus = setup.corpus("a")
    (root,) = corpus.roots
    tree = setup.work / "tree"
    target = tree / root.name
    copy = fresh_copy(root.parent, tree)
    want, want_content = picture(root), picture(root, everything=False)

    book.run("equality", setup.floor(target, prepare=copy), 0)
    floor_streams = streams(target)
    sizes = {"floor": packed(target)}
    for engine in setup.engines:
        book.run("equality", setup.archive(engine, target, prepare=copy), 0)
        made = {name for name in picture(target, everything=False) if not name.startswith(b".")}
        if len(made) != corpus.sessions or not all(name.endswith(b".tar.gz") for name in made):
            raise Unequal(
                f"{engine}: {len(made)} entries below the root, expected {corpus.sessions} archives and nothing else"
            )
        sizes[engine] = packed(target)
        same(floor_streams, streams(target), f"tar streams of the floor and {engine}")
        book.run("equality", setup.ours(engine, "restore", str(target), "--execute", "--remove-archive", "--quiet"), 0)
        same(
            want, {k: v for k, v in picture(target).items() if not k.startswith(b".runark")}, f"{engine}: restored tree"
        )
        book.note(
            f"equality: {engine}: {corpus.sessions} restored sessions equal the corpus "
            "(content, modes, owners, nanoseconds); tar streams equal the floor's"
        )
    book.run("equality", setup.archive(setup.engines[0], target, prepare=copy), 0)
    book.run("equality", setup.peer("restore", target, lambda: None), 0)
    got = {
        k: v
        for k, v in picture(target, everything=False).items()
        if not k.startswith(b".runark") and not k.endswith(b".tar.gz")
    }
    same(want_content, got, "our archives restored by the peer")
    book.run("equality", setup.peer("archive", target, copy), 0)
    sizes["scitex-session"] = packed(target)
    book.run("equality", setup.peer("restore", target, lambda: None), 0)
    got = {k: v for k, v in picture(target, everything=False).items() if not k.endswith(b".tar.gz")}
    same(want_content, got, "the peer's archives restored by the peer")
    book.note(
        "equality: the peer restores our archives and its own with the same content (it does not keep all metadata)"
    )
    share = ", ".join(f"{name} {size / corpus.content:.3f}" for name, size in sizes.items())
    book.note(f"archive: bytes of archives per byte of content ({corpus.content:,} bytes): {share}")
    remove(tree)


def run(setup: Setup, book: Book) -> None:
    check(setup, book)
    (root,) = setup.corpus("a").roots
    tree = setup.work / "tree"
    target = tree / root.name
    copy = fresh_copy(root.parent, tree)
    native = [setup.archive("native", target, prepare=copy)] if "native" in setup.engines else []
    if native:
        found = book.rounds("archive", [*native, setup.floor(target, prepare=copy)], 2 * setup.rounds)
        book.its_time("archive", "native", "floor", found, 1.6, 1.25)
    ours = [setup.archive(engine, target, prepare=copy) for engine in setup.engines]
    floor = setup.floor(target, prepare=copy)
    # What no compressor could better: the whole gate without compressing.
    words = (str(target), "--execute", "--format", "tar", "--quiet", "--jobs", str(setup.jobs))
    bounds = [floor] + ([setup.ours("native", "archive", *words, name=PLAIN, prepare=copy)] if native else [])
    found = book.rounds("archive-peer", [*ours, *bounds, setup.peer("archive", target, copy)], setup.rounds)
    for engine in setup.engines:
        book.quicker("archive-peer", engine, "scitex-session", found, *BARS[engine])
    for bound in bounds:
        book.quicker("archive-peer", bound.name, "scitex-session", found)
    remove(tree)
    remove(root.parent)
