"""A tree of sessions to try runark on: ordinary ones, and one of every kind of oddity that it must carry home.

    python examples/sample_tree.py DIRECTORY [--sessions N] [--seed N]

`make` writes `DIRECTORY/FINISHED_SUCCESS/...` and `DIRECTORY/FINISHED_ERROR/...`, sessions shaped and named as
SciTeX makes them (`2024Y-03M-07D-09h41m22s_K3PQ/` with CONFIGS/, logs/ and a result), all between one and three
years old. The same seed gives the same names, contents, modes and times, whoever runs it and whenever.

One session in twenty carries an oddity, by turns those of `ODDITIES`. What the filesystem or the user may not do
(extended attributes on some filesystems) is left out; nothing else is.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

__all__ = ["ODDITIES", "make"]

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NEWEST = int(datetime(2025, 1, 31, tzinfo=timezone.utc).timestamp())
SPAN = 2 * 365 * 86_400  # seconds over which the sessions are spread

Oddity = Callable[[bytes, random.Random], None]


# ------------------------------------------------------------------------------------------- oddities


def _write(path: bytes, content: bytes, mode: int = 0o644) -> None:
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def strange_names(top: bytes, rng: random.Random) -> None:
    """Bytes that are not UTF-8, a newline, an escape sequence, a tab, a leading dash, 255 bytes, a deep path."""
    for name in (b"caf\xe9.csv", b"two\nlines.txt", b"\x1b[31mred.txt", b"-rf", b"tab\there", b" ", b"back\\slash"):
        _write(os.path.join(top, name), rng.randbytes(rng.randrange(200)))
    _write(os.path.join(top, b"n" * 255), b"a long name\n")
    deep = os.path.join(top, *[b"level-%02d-" % depth + b"x" * 30 for depth in range(12)])
    os.makedirs(deep)
    _write(os.path.join(deep, b"bottom \xff\xfe"), b"a long path that is not UTF-8\n")


def links(top: bytes, rng: random.Random) -> None:
    """Symbolic links that dangle, loop, are absolute or point outward; hard links over two directories."""
    for name, target in (
        (b"dangling", b"nowhere/at/all"),
        (b"absolute", b"/etc/hostname"),
        (b"outward", b"../../.."),
        (b"loop-a", b"loop-b"),
        (b"loop-b", b"loop-a"),
        (b"self", b"self"),
        (b"long", b"d/" * 200 + b"\xe9nd"),
        (b"to-directory", b"logs"),
    ):
        os.symlink(target, os.path.join(top, name))
    first = os.path.join(top, b"weights.bin")
    _write(first, rng.randbytes(9_000))
    os.link(first, os.path.join(top, b"best.bin"))
    os.link(first, os.path.join(top, b"logs", b"last.bin"))


def holes(top: bytes, rng: random.Random) -> None:
    """Sparse files: data between holes, a hole to the end, nothing but a hole."""
    with open(os.path.join(top, b"islands.dat"), "wb") as file:
        for at in (0, 1 << 20, 5 << 20):
            file.seek(at)
            file.write(rng.randbytes(4_096))
        file.truncate(8 << 20)
    with open(os.path.join(top, b"hole.dat"), "wb") as file:
        file.truncate(3 << 20)
    _write(os.path.join(top, b"empty.dat"), b"")


def modes(top: bytes, rng: random.Random) -> None:
    """Modes people do set: nothing for others, read only, executable, a sticky directory, empty directories."""
    for mode in (0o400, 0o600, 0o755, 0o640, 0o444):
        _write(os.path.join(top, b"mode-%04o" % mode), rng.randbytes(50), mode)
    for mode in (0o700, 0o755, 0o1777, 0o2775):
        path = os.path.join(top, b"empty-%04o" % mode)
        os.mkdir(path)
        os.chmod(path, mode)


def specials(top: bytes, rng: random.Random) -> None:
    """A FIFO nobody writes to, and extended attributes where the filesystem has them."""
    os.mkfifo(os.path.join(top, b"control.fifo"), 0o620)
    path = os.path.join(top, b"tagged.txt")
    _write(path, b"tagged\n")
    try:
        os.setxattr(path, b"user.run.tag", b"baseline\x00\xff")
        os.setxattr(top, b"user.owner=50%", b"group A")
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise


def sizes(top: bytes, rng: random.Random) -> None:
    """Around the block size of tar, and one file larger than any buffer."""
    for size in (1, 511, 512, 513, 1_024, 65_536):
        _write(os.path.join(top, b"size-%d" % size), rng.randbytes(size))
    line = b"epoch 0000 loss 0.000000 accuracy 0.000000\n"
    _write(os.path.join(top, b"large.log"), line * (3_000_000 // len(line)))


ODDITIES: tuple[Oddity, ...] = (strange_names, links, holes, modes, specials, sizes)


# ------------------------------------------------------------------------------------------- sessions


def _session(parent: bytes, rng: random.Random, started: int, oddity: Oddity | None) -> bytes:
    stamp = datetime.fromtimestamp(started, timezone.utc).strftime("%YY-%mM-%dD-%Hh%Mm%Ss")
    ident = "".join(rng.choices(ALPHABET, k=4))
    top = os.path.join(parent, f"{stamp}_{ident}".encode())
    for directory in (top, os.path.join(top, b"CONFIGS"), os.path.join(top, b"logs")):
        os.mkdir(directory)
    config = f"ID: {ident}\nSTART_DATETIME: '{stamp}'\nEND_DATETIME: '{stamp}'\nEXIT_STATUS: 0\nseed: {rng.random()}\n"
    _write(os.path.join(top, b"CONFIGS", b"CONFIG.yaml"), config.encode() + b"# comment\n" * 80)
    _write(os.path.join(top, b"CONFIGS", b"CONFIG.pkl"), rng.randbytes(1_000))
    lines = [f"step {step} loss {rng.random():.6f}\n" for step in range(rng.randrange(5, 60))]
    _write(os.path.join(top, b"logs", b"stdout.log"), "".join(lines).encode())
    _write(os.path.join(top, b"logs", b"stderr.log"), b"")
    rows = [f"{row},{rng.gauss(0, 1):.6f},{rng.gauss(0, 1):.6f}\n" for row in range(rng.randrange(40, 300))]
    _write(os.path.join(top, b"results.csv"), "".join(["row,x,y\n", *rows]).encode())
    if oddity is not None:
        oddity(top, rng)
    _age(top, started, rng)
    return top


def _age(top: bytes, started: int, rng: random.Random) -> None:
    """Set every time, bottom up, for a new entry changes its directory's; nanoseconds on purpose."""
    for directory, _, files in os.walk(top, topdown=False):
        subdirectories = [entry.name for entry in os.scandir(directory) if entry.is_symlink()]
        for name in sorted({*files, *subdirectories}):
            at = (started + rng.randrange(3_600)) * 1_000_000_000 + rng.randrange(1_000_000_000)
            os.utime(os.path.join(directory, name), ns=(at, at), follow_symlinks=False)
        at = (started + 3_600) * 1_000_000_000 + rng.randrange(1_000_000_000)
        os.utime(directory, ns=(at, at))


def make(root: bytes, sessions: int, seed: int = 7) -> list[bytes]:
    """Make `sessions` sessions below `root`, which must not exist. Returns their paths, in the order made.

    Raises FileExistsError if `root` exists, OSError if the disk is full.
    """
    os.makedirs(os.path.dirname(os.path.abspath(root)), exist_ok=True)
    os.mkdir(root)
    rng = random.Random(seed)
    parents = [os.path.join(root, name) for name in (b"FINISHED_SUCCESS", b"FINISHED_ERROR")]
    for parent in parents:
        os.mkdir(parent)
    made = []
    for number in range(sessions):
        oddity = ODDITIES[number // 20 % len(ODDITIES)] if number % 20 == 3 else None
        # Evenly spread, so that no two have the same name and any number of them covers the whole time.
        started = NEWEST - SPAN + SPAN * number // max(sessions, 1)
        made.append(_session(parents[rng.random() < 0.1], rng, started, oddity))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a tree of sample sessions.")
    parser.add_argument("directory", type=Path, help="made; must not exist")
    parser.add_argument("--sessions", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    made = make(os.fsencode(arguments.directory), arguments.sessions, arguments.seed)
    print(f"{len(made)} sessions below {arguments.directory}")


if __name__ == "__main__":
    main()
