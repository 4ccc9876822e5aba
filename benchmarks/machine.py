"""What a result depends on, without saying whose machine it was: no host name, no user, no path."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["describe"]


def field(path: str, pattern: str) -> str:
    found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    return found.group(1).strip() if found else "unknown"


def filesystem(path: Path) -> str:
    """Type of the filesystem that holds `path`, from the mount table: the longest mount point above it."""
    best = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split(" ")
        if (str(path) + "/").startswith(mount.rstrip("/") + "/"):
            best = max(best, (mount, kind), key=lambda item: len(item[0]))
    return best[1]


def describe(work: Path, versions: dict[str, str], commands: dict[str, str]) -> str:
    """The text of machine.txt."""
    one, five, _ = os.getloadavg()
    processor = Path("/proc/cpuinfo").read_text()
    release = re.match(r"[0-9.]+", platform.release())
    memory = int(field("/proc/meminfo", r"^MemTotal:\s*(\d+)")) // 1024
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    model, cache = (field("/proc/cpuinfo", rf"^{what}\s*:\s*(.*)$") for what in ("model name", "cache size"))
    lines = [
        f"cpu: {model}",
        f"cores: {len(os.sched_getaffinity(0))}",
        f"cache: {cache}",
        f"sha instructions: {'yes' if ' sha_ni' in processor else 'no'}",
        f"virtual: {'yes' if ' hypervisor' in processor else 'no'}",
        f"memory: {memory} MiB",
        f"kernel: {platform.system()} {release.group() if release else 'unknown'} {platform.machine()}",
        f"filesystem of $WORK: {filesystem(work)}",
        f"python: {platform.python_version()} ({sys.implementation.name})",
        f"rustc: {rustc}",
        f"load when it ended (1, 5 min): {one:.2f} {five:.2f}",
        "",
        "versions",
        *(f"  {name}: {text}" for name, text in versions.items()),
        "",
        "commands (a word NAME=value before a command is its environment)",
        *(f"  {name}\n      {text}" for name, text in commands.items()),
        "",
    ]
    return "\n".join(lines)
