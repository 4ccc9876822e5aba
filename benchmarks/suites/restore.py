"""Restoring 10,000 archives beside themselves on tmpfs, each by the program that made them.

Bar: native 10x the peer (aim 15).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from context import Setup, fresh_copy, remove
from harness import Book
from trees import picture, same

BARS: dict[str, tuple[float | None, float | None]] = {"native": (10.0, 15.0), "pure": (None, None)}


def only_archives(root: Path) -> Callable[[], None]:
    """A preparation: takes the restored directories away again, keeps the archives."""

    def prepare() -> None:
        find = ["find", str(root), "-mindepth", "1", "-maxdepth", "1", "-type", "d", "-name", "2*"]
        subprocess.run([*find, "-exec", "rm", "-rf", "{}", "+"], check=True)

    return prepare


def run(setup: Setup, book: Book) -> None:
    (root,) = setup.corpus("a").roots
    ours, theirs = setup.work / "ours" / root.name, setup.work / "theirs" / root.name
    book.run("restore-made", setup.archive(setup.engines[0], ours, prepare=fresh_copy(root.parent, ours.parent)), 0)
    book.run("restore-made", setup.peer("archive", theirs, fresh_copy(root.parent, theirs.parent)), 0)
    contenders = [
        setup.ours(
            engine, "restore", str(ours), "--execute", "--quiet", "--jobs", str(setup.jobs), prepare=only_archives(ours)
        )
        for engine in setup.engines
    ]
    want = picture(root)
    for contender in contenders:
        book.run("restore-equality", contender, 0)
        got = picture(ours).items()
        same(
            want, {k: v for k, v in got if not k.endswith(b".tar.gz") and not k.startswith(b".runark")}, contender.name
        )
        book.note(f"equality: {contender.name}: the tree restored by the measured command equals the corpus")
    found = book.rounds("restore", [*contenders, setup.peer("restore", theirs, only_archives(theirs))], setup.rounds)
    for engine in setup.engines:
        book.quicker("restore", engine, "scitex-session", found, *BARS[engine])
    for path in (ours.parent, theirs.parent, root.parent):
        remove(path)
