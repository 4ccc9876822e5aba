"""How the time of archiving corpus A divides: read, compress, write, verify, remove.

Two views. The floor tells its own thread times by stage. For the native engine `perf` samples the whole command;
each sample counts for the stage its innermost system call belongs to or, in user mode, the function it is in. Opening
and reading serve both packing and verifying; they are told apart by differences: the same command with `--keep-source`
(no recheck, no removal) and with `--format tar` (no compression). perf needs symbols for the user part: install
runark with `pip install . --config-settings=build-args="--strip=false"` or look at `engine, no symbols`.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from context import Setup, fresh_copy, remove
from harness import Book

FREQUENCY = 1999  # samples a second and core; no divisor of the kernel's ticks

SYSCALLS = {
    "read (open, stat, list, read)": "openat openat2 getdents64 newfstatat newfstat fstat statx read pread64 readv "
    "close lseek readlinkat "
    "flistxattr fgetxattr llistxattr lgetxattr listxattr getxattr",
    "write, settle, publish": "write pwrite64 writev ftruncate fallocate fchmod fchown fsync fdatasync syncfs "
    "renameat2 renameat rename linkat link flock",
    "remove (unlink, rmdir)": "unlinkat unlink rmdir",
    "threads, memory": "futex mmap munmap mprotect madvise brk clone3 sched_yield",
}
STAGE_OF = {call: stage for stage, calls in SYSCALLS.items() for call in calls.split()}
FUNCTIONS = (
    ("verify (inflate)", re.compile(r"inflate|decompress", re.IGNORECASE)),
    ("compress", re.compile(r"deflate|compress|matchfinder|lz77|huffman", re.IGNORECASE)),
    ("SHA-256", re.compile(r"sha2|sha256", re.IGNORECASE)),
    ("CRC-32", re.compile(r"crc32", re.IGNORECASE)),
)
FRAME = re.compile(r"^\s+[0-9a-f]+ (.+?)(?:\+0x[0-9a-f]+)? \((.*)\)$")


def stage(frames: list[tuple[str, str]]) -> str:
    """Stage of one sample; frames are (symbol, object), innermost first."""
    for symbol, _ in frames:
        called = re.match(r"__(?:x64|arm64|se|do)_sys_(\w+)", symbol)
        if called:
            return STAGE_OF.get(called.group(1), "other system calls")
    symbol, where = frames[0]
    if "page_fault" in " ".join(name for name, _ in frames) or "kernel" in where:
        return "threads, memory"
    for name, pattern in FUNCTIONS:
        if pattern.search(symbol):
            return name
    if "_native" in where:
        return "engine, no symbols" if symbol == "[unknown]" else "engine, other"
    return "C library" if "libc" in where else "Python"


def divide(lines: Iterable[str]) -> Counter[str]:
    """Samples by stage from the text of `perf script`."""
    counted: Counter[str] = Counter()
    frames: list[tuple[str, str]] = []
    for line in (*lines, ""):
        frame = FRAME.match(line)
        if frame:
            frames.append((frame.group(1), frame.group(2)))
        elif not line.strip() and frames:
            counted[stage(frames)] += 1
            frames = []
    return counted


def run(setup: Setup, book: Book) -> None:
    corpus = setup.corpus("a")
    (root,) = corpus.roots
    tree = setup.work / "tree"
    target = tree / root.name
    copy = fresh_copy(root.parent, tree)

    output = setup.work / "floor.json"
    book.run("stages", setup.floor(target, "--timings", prepare=copy), 0, keep=output)
    for name, seconds in json.loads(output.read_text())["thread_seconds"].items():
        book.note(f"stages: floor, thread time a session: {name} {seconds / corpus.sessions * 1e6:.0f} us")
    output.unlink()

    for engine in setup.engines:
        full = setup.archive(engine, target, prepare=copy, name=f"{engine}, all")
        kept = setup.archive(engine, target, "--keep-source", prepare=copy, name=f"{engine}, source kept")
        packed = replace(
            kept, name=f"{engine}, source kept, tar", command=tuple("tar" if w == "tar.gz" else w for w in kept.command)
        )
        level = packed.command.index("--level")
        packed = replace(packed, command=packed.command[:level] + packed.command[level + 2 :])
        found = book.rounds("stages", [full, kept, packed], setup.rounds)
        times = {name: statistics.median(s.seconds for s in samples) for name, samples in found.items()}
        rest = times[packed.name]
        book.note(
            f"stages: {engine}, wall time by differences: "
            f"recheck and remove {times[full.name] - times[kept.name]:.3f} s, "
            f"compress and decode {times[kept.name] - rest:.3f} s, start, read, hash, write, read back {rest:.3f} s"
        )

    if shutil.which("perf") is None:
        book.note("stages: not sampled: no `perf` (Debian: apt-get install linux-perf)")
    else:
        for engine in setup.engines:
            data = setup.work / "perf.data"
            full = setup.archive(engine, target, prepare=copy, name=f"{engine}, sampled")
            words = ("perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-g", "-o", str(data), "--")
            book.run("stages", replace(full, command=(*words, *full.command)), 0)
            script = ["perf", "script", "-i", str(data), "-F", "comm,ip,sym,dso"]
            text = subprocess.run(script, capture_output=True, text=True, errors="replace", check=True).stdout
            counted = divide(text.splitlines())
            total = sum(counted.values())
            for name, samples in counted.most_common():
                each = samples / FREQUENCY / corpus.sessions * 1e6
                share = 100 * samples / total
                book.note(f"stages: {engine}, CPU time: {name} {share:.1f} % ({each:.0f} us a session)")
            data.unlink()
    remove(tree)
    remove(root.parent)
