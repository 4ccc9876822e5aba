"""The programs we are measured against: where they are, which version, how to get them.

The peer archiver, scitex-session 0.3.1, is installed from the package index in a virtual environment of its own
(`benchmarks/.peers/scitex`, 1.5 GB) and is only ever called. fd is built from crates.io into `benchmarks/.peers/bin`,
because distributions ship old ones; the distribution's (`fdfind`) is measured beside it. The rest (find, du, tar,
pigz) comes from the system. `python benchmarks/peers.py` installs what is missing and lists all.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Peers", "find_peers"]

HERE = Path(__file__).resolve().parent
SCITEX = "scitex-session==0.3.1"


@dataclass(frozen=True)
class Peers:
    """Paths of the peers; `versions` says what they call themselves."""

    place: Path
    scitex_python: Path
    fds: dict[str, Path]  # label -> program, newest first
    floor: Path
    latency: Path
    versions: dict[str, str]


def version(*command: str) -> str:
    """First line with a number that the program prints about itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return next(line.strip() for line in (done.stdout + done.stderr).splitlines() if re.search(r"\d\.\d", line))


def need(program: str, package: str) -> Path:
    found = shutil.which(program)
    if found is None:
        raise SystemExit(f"benchmarks: no `{program}`; install it (Debian: apt-get install {package})")
    return Path(found)


def build(cargo: Path, crate: str, place: Path) -> Path:
    """Build one of the programs beside this file; answers where it is."""
    words = ["build", "--release", "--quiet", "--locked", "--manifest-path", str(HERE / crate / "Cargo.toml")]
    subprocess.run([str(cargo), *words], env={**os.environ, "CARGO_TARGET_DIR": str(place / "build")}, check=True)
    return place / "build" / "release" / crate


def find_peers(place: Path | None = None, scitex_python: Path | None = None) -> Peers:
    """Find the peers, install what is missing below `place`, build our own programs.

    Raises `SystemExit` naming what to install where this cannot be done here.
    """
    place = place or HERE / ".peers"
    place.mkdir(parents=True, exist_ok=True)
    if scitex_python is None:
        scitex_python = place / "scitex" / "bin" / "python"
        if not scitex_python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(place / "scitex")], check=True)
            subprocess.run([str(scitex_python), "-m", "pip", "install", "--quiet", SCITEX], check=True)
    cargo = need("cargo", "cargo")
    fds: dict[str, Path] = {}
    own = place / "bin" / "fd"
    if not own.exists():
        subprocess.run([str(cargo), "install", "--quiet", "--locked", "fd-find", "--root", str(place)], check=True)
    for program in (str(own), "fdfind", "fd"):
        if shutil.which(program):
            label = version(program, "--version").replace("fdfind", "fd").replace(" ", "-")
            fds.setdefault(label, Path(program))
    versions = {
        "scitex-session": version(
            str(scitex_python), "-c", "import importlib.metadata as m; print(m.version('scitex-session'))"
        ),
        "find": version(str(need("find", "findutils")), "--version"),
        "du": version(str(need("du", "coreutils")), "--version"),
        "tar": version(str(need("tar", "tar")), "--version"),
        "pigz": version(str(need("pigz", "pigz")), "--version"),
        **{label: version(str(path), "--version") for label, path in fds.items()},
    }
    floor, latency = (build(cargo, crate, place) for crate in ("floor", "latency"))
    return Peers(place, scitex_python, fds, floor, latency, versions)


if __name__ == "__main__":
    for name, text in find_peers().versions.items():
        print(f"{name}: {text}")
