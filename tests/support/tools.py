"""Stock programs: `tar`, `bsdtar`, `gzip`, `zstd`, `xz`. They are needed; a missing one is an error, never a skip."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from support.trees import PathLike

__all__ = ["NEEDED", "decoded", "environment", "missing", "quiet", "run", "stock_list"]

NEEDED = {"tar": "tar", "bsdtar": "libarchive-tools", "gzip": "gzip", "zstd": "zstd", "xz": "xz-utils", "ncdu": "ncdu"}
"""Program and the Debian package it is in."""


def missing() -> list[str]:
    """Packages to install before the tests can run."""
    return sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})


def environment() -> dict[str, str]:
    """An environment in which stock tools speak English and take names as UTF-8."""
    return {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def run(
    *command: str | bytes, cwd: PathLike | None = None, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, whatever its exit code."""
    return subprocess.run(
        command, cwd=cwd, input=data, capture_output=True, env=environment(), check=False, timeout=120
    )  # fmt: skip


def quiet(*command: str | bytes, cwd: PathLike | None = None, data: bytes | None = None) -> bytes:
    """Run a program that must succeed without a word on stderr; its stdout."""
    done = run(*command, cwd=cwd, data=data)
    assert done.returncode == 0, f"{command!r} ended with {done.returncode}: {done.stderr.decode(errors='replace')}"
    assert done.stderr == b"", f"{command!r} warned: {done.stderr.decode(errors='replace')}"
    return done.stdout


def decoded(archive: PathLike) -> bytes:
    """The tar stream of an archive, decoded by stock codecs."""
    path = Path(os.fsdecode(archive))
    data = path.read_bytes()
    if path.name.endswith(".tar.gz"):
        return gzip.decompress(data)
    if path.name.endswith(".tar.xz"):
        return lzma.decompress(data)
    if path.name.endswith(".tar.zst"):
        return quiet("zstd", "-dc", "--no-progress", data=data)
    return data


def stock_list(program: str, archive: PathLike, options: Sequence[str] = ()) -> list[bytes]:
    """The names `tar` or `bsdtar` lists, as they are stored, directories without their slash."""
    extra = ["--quoting-style=escape"] if program == "tar" else []
    listed = quiet(program, *extra, *options, "-tf", os.fsencode(archive))
    return [_unescaped(line).rstrip(b"/") for line in listed.split(b"\n")[:-1]]


_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b"\\": b"\\",
    b" ": b" ",
}


def _unescaped(line: bytes) -> bytes:
    """A name as the two programs print it: backslash and three octal digits, or backslash and a letter."""
    return _ESCAPE.sub(lambda m: _LETTERS[m[1]] if len(m[1]) == 1 else bytes([int(m[1], 8)]), line)
