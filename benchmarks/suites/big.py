"""One session with a log of 1 GiB against `tar | pigz -1 -p 2`, which only reads and compresses.

Bar: as fast (aim 1.3x).
Ours has verified the archive and removed the source when it ends. The sizes of the two archives are reported: a
quicker but looser compression would not be the same work.
"""

from __future__ import annotations

import subprocess

from context import Setup, remove
from harness import Book, Comparison, Contender, Sample
from trees import picture, same


def run(setup: Setup, book: Book) -> None:
    corpus = setup.corpus("d")
    (root,) = corpus.roots
    base = root.parent
    want = picture(root)
    session = next(path.name for path in root.iterdir())
    out = setup.work / "piped.tar.gz"
    kept = base.rename(setup.work / "kept")

    def back() -> None:
        """The session again."""
        remove(base)
        subprocess.run(["cp", "-a", str(kept), str(base)], check=True)

    for engine in setup.engines:
        book.run("big-equality", setup.archive(engine, root, prepare=back), 0)
        size = (root / f"{session}.tar.gz").stat().st_size
        book.run(
            "big-equality", setup.ours(engine, "restore", str(root), "--execute", "--remove-archive", "--quiet"), 0
        )
        same(
            want,
            {k: v for k, v in picture(root).items() if not k.startswith(b".runark")},
            f"{engine}: restored session",
        )
        book.note(f"equality: big: {engine}: the restored session equals the corpus; archive {size:,} bytes")
    piped = Contender(
        "tar and pigz", ("sh", "-c", f"tar -C {root} -c {session} | pigz -1 -p {setup.jobs} > {out}"), back
    )
    pairs = [setup.archive(engine, root, prepare=back, name=engine) for engine in setup.engines]
    sizes: dict[str, int] = {}
    found: dict[str, list[Sample]] = {contender.name: [] for contender in (*pairs, piped)}
    for number in range(setup.rounds):
        for contender in pairs:
            found[contender.name].append(book.run("big", contender, number))
            sizes[contender.name] = (root / f"{session}.tar.gz").stat().st_size
        found[piped.name].append(book.run("big", piped, number))
    for engine in setup.engines:
        bars = (1.0, 1.3) if engine == "native" else (None, None)
        book.quicker("big", engine, piped.name, found, *bars)
        share = sizes[engine] / out.stat().st_size
        book.comparisons.append(Comparison("big", f"size of {engine}'s archive against pigz's", (share,), "x its size"))
    book.note(f"big: content {corpus.content:,} bytes, pigz's archive {out.stat().st_size:,} bytes")
    out.unlink()
    remove(base)
    remove(kept)
