"""What runark does, shown on a tree of sessions and checked by code that is not runark's. `make run` runs it.

    python examples/tour.py --at DIRECTORY [--sessions N] [--remove]

On each engine that is installed, the one in use first, through the installed `runark` command:

1. make the same tree twice (examples/sample_tree.py): one to work on, one to compare with;
2. scan; plan (a dry run: nothing may change); archive --execute; verify; list;
3. restore a few sessions of every odd kind elsewhere and compare them with the originals, byte by byte;
4. say what was freed, counted by walking the disk;
5. restore everything in place, remove the archives, and compare every session.

DIRECTORY is made, and removed at the next run or with --remove; one that this program has not made is left alone.
Exits 0 only if every command and every comparison succeeded.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from compare_trees import compare
from sample_tree import ODDITIES, make

MARK = ".made-by-runark-tour"
SHOWN = 14  # lines of a command's output


class Room(NamedTuple):
    """What a tree takes up."""

    inodes: int
    allocated: int  # bytes


def say(text: str) -> None:
    print(text, flush=True)


def stop(text: str) -> None:
    sys.exit(f"tour: {text}")


def engines() -> list[str]:
    """The engines that are installed, the one in use first."""
    # Here and not above, for --remove has to work where runark is not installed any more.
    from runark.engine import load
    from runark.errors import EngineUnavailable

    found = [load("auto").name]
    for name in ("native", "pure"):
        if name not in found:
            try:
                found.append(load(name).name)
            except EngineUnavailable:
                say("(the native engine is not installed: showing the pure one only)\n")
    return found


def command(at: Path, engine: str, *words: str) -> None:
    """Run `runark` in `at`, show the line and the first lines of what it says; stop at an exit code but 0."""
    program = shutil.which("runark", path=os.path.dirname(sys.executable))
    if program is None:
        stop(f"no `runark` beside {sys.executable}; install it there: {sys.executable} -m pip install .")
        return
    # Of two dozen paths the first two show what is meant.
    told = shlex.join(words) if len(words) <= 9 else f"{shlex.join(words[:3])} ... {shlex.join(words[-4:])}"
    say(f"$ runark --engine {engine} {told}")
    began = time.perf_counter()
    done = subprocess.run(
        [program, "--engine", engine, *words], cwd=at, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    took = time.perf_counter() - began
    lines = done.stdout.decode(errors="backslashreplace").splitlines()
    # A list of two thousand is cut in the middle: its head explains it, its end sums it up.
    shown = lines if len(lines) <= SHOWN else [*lines[: SHOWN // 2], "...", *lines[-(SHOWN // 2) :]]
    for line in shown:
        say(f"  {line}")
    say(f"  ({took:.2f} s)\n")
    if done.returncode != 0:
        stop(f"the command above ended with exit code {done.returncode}")


def room(top: Path) -> Room:
    inodes, allocated = 0, 0
    for directory, subdirectories, files in os.walk(os.fsencode(top)):
        for name in (*subdirectories, *files):
            status = os.lstat(os.path.join(directory, name))
            inodes, allocated = inodes + 1, allocated + status.st_blocks * 512
    return Room(inodes, allocated)


def check(what: str, pairs: list[tuple[bytes, bytes]]) -> None:
    """Compare each pair of directories; stop at a difference, naming it."""
    for one, other in pairs:
        differences = compare(one, other)
        if differences:
            stop(f"{what}: {other!r} differs from the original:\n" + "\n".join(differences))
    say(f"= {what}: {len(pairs)} sessions compared byte by byte, modes, owners, times, links and holes included\n")


def fresh(at: Path) -> None:
    """Make `at`, instead of an earlier one of this program's."""
    remove(at)
    at.mkdir(parents=True)
    (at / MARK).touch()


def remove(at: Path) -> None:
    if not at.exists():
        return
    if not (at / MARK).exists():
        stop(f"{at} exists and was not made by this program; name another directory with --at")
    shutil.rmtree(at)


def chosen(sessions: list[bytes]) -> list[bytes]:
    """Two sessions of every odd kind and as many plain ones."""
    odd = sessions[3::20][: 2 * len(ODDITIES)]
    return odd + sessions[4::20][: len(odd)]


def tour(at: Path, engine: str, count: int) -> None:
    fresh(at)
    root, twin = at / "sessions", at / "original"
    sessions = make(os.fsencode(root), count)
    originals = make(os.fsencode(twin), count)
    before = room(root)
    say(f"{count} sessions, {before.inodes} inodes, {before.allocated / 1e6:.1f} MB on disk\n")

    command(at, engine, "scan", "sessions", "--limit", "5")
    command(at, engine, "archive", "sessions", "--older-than", "30d")
    if room(root) != before:
        stop("the dry run changed the tree")
    check("after the dry run", list(zip(originals, sessions, strict=True)))
    command(at, engine, "archive", "sessions", "--older-than", "30d", "--execute")
    left = [path for path in sessions if os.path.lexists(path)]
    if left:
        stop(f"{len(left)} sessions were not archived, the first: {left[0]!r}")
    after = room(root)
    command(at, engine, "verify", "sessions")
    command(at, engine, "list", "sessions")

    few = chosen(sessions)
    names = [os.fsdecode(os.path.relpath(path, os.fsencode(at))) + ".tar.gz" for path in few]
    command(at, engine, "restore", *names, "--to", "restored", "--special-modes", "--execute")
    elsewhere = os.path.join(os.fsencode(at), b"restored")
    by_session = dict(zip(sessions, originals, strict=True))
    check("restored elsewhere", [(by_session[path], os.path.join(elsewhere, os.path.basename(path))) for path in few])

    say(
        f"= freed {before.inodes - after.inodes} of {before.inodes} inodes and "
        f"{(before.allocated - after.allocated) / 1e6:.1f} of {before.allocated / 1e6:.1f} MB\n"
    )

    command(at, engine, "restore", "sessions", "--special-modes", "--remove-archive", "--execute")
    check("restored in place", list(zip(originals, sessions, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description="See runark at work on a sample tree, and check it.")
    parser.add_argument("--at", type=Path, required=True, help="directory to work in; made and removed")
    parser.add_argument("--sessions", type=int, default=2_000)
    parser.add_argument("--remove", action="store_true", help="only remove what an earlier run left")
    arguments = parser.parse_args()
    if arguments.remove:
        remove(arguments.at)
        return
    for engine in engines():
        say(f"---- engine {engine} ----\n")
        tour(arguments.at, engine, arguments.sessions)
    say(f"Everything came back as it was. The tree is in {arguments.at}; `make clean` removes it.")


if __name__ == "__main__":
    main()
