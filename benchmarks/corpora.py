"""The trees that are measured. Seeded: the same name, scale and seed give the same tree, to the nanosecond.

| name | what | inodes |
|---|---|---|
| a | 10,000 sessions shaped like SciTeX's, see below | 8 a session |
| b | one directory of 200,000 empty sessions, every second one changed lately | 1 a session |
| c | 125,000 sessions as in `a` in five directories; the files are holes: sizes, no content | 8 a session |
| d | one session with a log of 1 GiB | 8 |
| e | one directory of 1,000,000 empty sessions, all old | 1 a session |
| f | 300,000 sessions as in `c` | 8 a session |

A SciTeX session: CONFIGS/ (CONFIG.yaml, CONFIG.pkl of about 1 kB), logs/ (stdout.log, stderr.log), one csv of 1-8 kB.

`python benchmarks/corpora.py NAME TARGET [--scale F] [--seed N]` makes one by hand; the suites call `make`.
Content is text of the kind runs leave behind (log lines, YAML, numbers), because a compressor's speed depends on it.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

__all__ = ["CORPORA", "Corpus", "make"]

EPOCH = 1_740_000_000
"""2025-02-19T21:20:00Z. Old trees are dated from here on, one session a minute; never near the time of the run."""

INODES_PER_SESSION = 8
CHUNK = 500  # sessions a worker makes at a time, from a seed of their own: the tree does not depend on the workers
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Corpus:
    """What was made. `sessions` and `inodes` count session directories and everything in them, not the roots."""

    name: str
    roots: tuple[Path, ...]  # the directories that hold the sessions
    sessions: int
    inodes: int
    content: int  # sum of the sizes of regular files, bytes


def session_name(number: int, rng: random.Random) -> str:
    """A SciTeX name; unique, because the time advances with the number."""
    stamp = time.strftime("%YY-%mM-%dD-%Hh%Mm%Ss", time.gmtime(EPOCH + 60 * number))
    return f"{stamp}_{''.join(rng.choices(LETTERS, k=4))}"


class Text:
    """Text of runs, from pools that are made once: making it must not take longer than measuring it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.log = [self._log_line() for _ in range(4000)]
        self.rows = [
            f"{rng.uniform(0, 90):.4f},{rng.gauss(0, 1):.6f},{rng.gauss(0, 1):.6f},{rng.randrange(2)}\n"
            for _ in range(4000)
        ]

    def _log_line(self) -> str:
        rng = self.rng
        return rng.choice(
            (
                f"INFO: epoch {rng.randrange(200)}/200 step {rng.randrange(5000)} loss={rng.random():.6f} "
                f"acc={rng.random():.4f} lr={rng.choice(('1e-3', '5e-4', '1e-4'))} {rng.uniform(80, 900):.1f} ms\n",
                f"INFO: loaded data/subject_{rng.randrange(40):02d}/run_{rng.randrange(9)}.npy "
                f"shape=({rng.randrange(1, 5000)}, {rng.choice((64, 128, 256))}) dtype=float32\n",
                f"SUCC: saved figure to results/fig_{rng.randrange(300):03d}.png ({rng.randrange(9000)} bytes)\n",
                f"WARN: channel {rng.randrange(256)} has {rng.randrange(900)} samples out of range, clipped\n",
            )
        )

    def lines(self, pool: list[str], size: int) -> bytes:
        """Whole lines, at least `size` bytes, less than one line more."""
        text = "".join(self.rng.choices(pool, k=size // 24 + 1)).encode()
        return text[: text.index(b"\n", size - 1) + 1]

    def config(self, name: str) -> dict[str, object]:
        rng = self.rng
        return {
            "ID": name,
            "PID": rng.randrange(1000, 4_000_000),
            "START_DATETIME": name.partition("_")[0],
            "FILE": f"/home/user/proj/scripts/{rng.choice(('train', 'eval', 'sweep'))}.py",
            "SDIR_RUN": f"/home/user/proj/scripts/train_out/FINISHED_SUCCESS/{name}/",
            "MODEL": {"N_LAYERS": rng.randrange(1, 12), "WIDTH": rng.choice((64, 128, 256)), "DROPOUT": rng.random()},
            "BANDS": {
                f"BAND_{i:02d}": [round(rng.uniform(1, 90), 3), round(rng.uniform(90, 400), 3)] for i in range(20)
            },
            "EXIT_STATUS": 0,
            "RUN_DURATION": f"00:{rng.randrange(60):02d}:{rng.randrange(60):02d}",
        }


def yaml(value: dict[str, object], indent: str = "") -> str:
    """Enough YAML for `Text.config`, without a dependency."""
    out = []
    for key, item in value.items():
        out.append(
            f"{indent}{key}:\n{yaml(item, indent + '    ')}" if isinstance(item, dict) else f"{indent}{key}: {item}\n"
        )
    return "".join(out)


def put(path: str, content: bytes | int, mtime_ns: int) -> int:
    """Make one file: content, or a hole of that size. Returns its size."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    if isinstance(content, int):
        os.ftruncate(fd, content)
    else:
        os.write(fd, content)
    os.utime(fd, ns=(mtime_ns, mtime_ns))
    os.close(fd)
    return content if isinstance(content, int) else len(content)


def put_session(root: str, number: int, text: Text, hollow: bool) -> int:
    """Make one session of 8 inodes; returns its content bytes. With `hollow` the files are holes of such sizes."""
    rng = text.rng
    name = session_name(number, rng)
    base = f"{root}/{name}"
    began = (EPOCH + 60 * number) * 1_000_000_000 + rng.randrange(1_000_000_000)
    content: dict[str, bytes | int]
    if hollow:
        content = {
            "CONFIGS/CONFIG.yaml": rng.randrange(900, 1100),
            "CONFIGS/CONFIG.pkl": rng.randrange(900, 1100),
            "logs/stdout.log": rng.randrange(500, 4000),
            "logs/stderr.log": rng.randrange(200),
            "results.csv": rng.randrange(1024, 8193),
        }
    else:
        config = text.config(name)
        content = {
            "CONFIGS/CONFIG.yaml": yaml(config).encode(),
            "CONFIGS/CONFIG.pkl": pickle.dumps(config, protocol=4),
            "logs/stdout.log": text.lines(text.log, rng.randrange(500, 4000)),
            "logs/stderr.log": text.lines(text.log, rng.randrange(1, 200)),
            "results.csv": b"freq,power,phase,label\n" + text.lines(text.rows, rng.randrange(1001, 8100)),
        }
    os.mkdir(base)
    os.mkdir(f"{base}/CONFIGS")
    os.mkdir(f"{base}/logs")
    total = 0
    for order, (path, data) in enumerate(content.items()):
        total += put(f"{base}/{path}", data, began + order * 1_234_567)
    for directory in ("/CONFIGS", "/logs", ""):
        os.utime(base + directory, ns=(began + 9_999_999, began + 9_999_999))
    return total


def put_chunk(job: tuple[str, int, int, int, bool]) -> int:
    """Worker: sessions `first` to `last` of one root, from a seed of their own."""
    root, first, last, seed, hollow = job
    text = Text(random.Random(f"{seed}/{first}"))
    return sum(put_session(root, number, text, hollow) for number in range(first, last))


def put_empty(job: tuple[str, int, int, int, bool]) -> int:
    """Worker: empty sessions; every second one has the time of now if asked for."""
    root, first, last, seed, half_new = job
    rng = random.Random(f"{seed}/{first}")
    now = time.time_ns()
    for number in range(first, last):
        path = f"{root}/{session_name(number, rng)}"
        os.mkdir(path)
        old = (EPOCH + 60 * (number % 100_000)) * 1_000_000_000 + rng.randrange(1_000_000_000)
        new = now - rng.randrange(10 * 86_400 * 1_000_000_000)
        when = new if half_new and number % 2 else old
        os.utime(path, ns=(when, when))
    return 0


def put_log(path: Path, size: int, seed: int) -> int:
    """A log of at least `size` bytes with a running time stamp; new line ends every 64 MiB. Returns its size."""
    done = 0
    number = 0
    with path.open("wb") as log:
        while done < size:
            text = Text(random.Random(f"{seed}/log/{done}"))
            want = min(64 << 20, size - done)
            lines = []
            have = 0
            while have < want:
                block = text.rng.choices(text.log, k=10_000)
                stamps = [
                    time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(EPOCH + (number + i) // 100))
                    for i in range(0, 10_000, 100)
                ]
                lines += [f"{stamps[i // 100]},{(i * 37) % 1000:03d} {line}" for i, line in enumerate(block)]
                have += sum(map(len, block)) + 24 * len(block)
                number += 10_000
            done += log.write("".join(lines).encode())
    return done


def chunks(root: Path, first: int, last: int, seed: int, flag: bool) -> Iterator[tuple[str, int, int, int, bool]]:
    for start in range(first, last, CHUNK):
        yield str(root), start, min(start + CHUNK, last), seed, flag


def make(name: str, target: Path, scale: float = 1.0, seed: int = 1) -> Corpus:
    """Make corpus `name` below `target`, which must not exist. `scale` multiplies the sessions (d: the log).

    Raises `FileExistsError` if the target exists, `ValueError` for an unknown name.
    """
    if name not in CORPORA:
        raise ValueError(f"no corpus {name!r}; there are {', '.join(CORPORA)}")
    target.mkdir(parents=True)
    count = max(1, round(CORPORA[name] * scale))
    inodes = INODES_PER_SESSION
    if name == "d":
        root = target / "FINISHED_SUCCESS"
        root.mkdir()
        text = Text(random.Random(f"{seed}/d"))
        put_session(str(root), 0, text, hollow=False)
        log = next(root.iterdir()) / "logs" / "stdout.log"
        put_log(log, max(1 << 20, int(scale * (1 << 30))), seed)
        os.utime(log, ns=(EPOCH * 10**9 + 5, EPOCH * 10**9 + 5))
        roots: tuple[Path, ...] = (root,)
        content = sum(entry.stat().st_size for entry in root.rglob("*") if entry.is_file())
        return Corpus(name, roots, 1, inodes, content)
    if name in "cf":
        roots = tuple(target / f"script{i}_out" / "FINISHED_SUCCESS" for i in range(5))
    else:
        roots = (target / "FINISHED_SUCCESS",)
    jobs: list[tuple[str, int, int, int, bool]] = []
    for i, root in enumerate(roots):
        root.mkdir(parents=True)
        bounds = count * i // len(roots), count * (i + 1) // len(roots)
        jobs += chunks(root, *bounds, seed, name in "bcf")
    worker = put_empty if name in "be" else put_chunk
    with get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        content = sum(pool.imap_unordered(worker, jobs))
    if name in "be":
        inodes = 1
    return Corpus(name, roots, count, count * inodes, content)


CORPORA: dict[str, int] = {"a": 10_000, "b": 200_000, "c": 125_000, "d": 1, "e": 1_000_000, "f": 300_000}
"""Name -> sessions at scale 1."""


def main() -> None:
    """Make one corpus by hand and print what was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(CORPORA))
    parser.add_argument("target", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(make(args.name, args.target, args.scale, args.seed))


if __name__ == "__main__":
    main()
