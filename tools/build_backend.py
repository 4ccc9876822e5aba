"""The build backend: one `pip install .` for machines with a Rust toolchain and for those without.

Every PEP 517 and PEP 660 hook decides the same way, delegates, and adds nothing to what the delegate makes but
one line of text:

- `cargo` (new enough for Cargo.toml's `rust-version`) and a C compiler are on PATH: maturin builds the native
  engine, `runark._native`, for the stable ABI of Python 3.10 and later, with `--locked` if Cargo.lock is there.
- otherwise: setuptools builds a pure wheel. It says so once (pip shows it with `-v`), and writes the reason into
  `runark/_built.txt`, from where `runark --version` repeats it.

RUNARK_BUILD=native insists (an error says what is missing), RUNARK_BUILD=pure forgoes, RUNARK_BUILD=auto or unset
decides as above. A native build that fails is an error, never a pure wheel in disguise.

Source distributions are always made by setuptools, so that they are the same whoever makes them.

Only the standard library, and no import of maturin or setuptools before the frontend has installed what
`get_requires_for_*` asked for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parent.parent
CHOICE = "RUNARK_BUILD"
MATURIN = ["maturin>=1.9.4,<2"]  # the first that reads license-files as PEP 639 has them
SETUPTOOLS = ["setuptools>=77.0.3"]  # the same for setuptools
BUILT = Path("runark", "_built.txt")

Settings = Mapping[str, Any]


class Choice(NamedTuple):
    """What will be built, and for a pure wheel why."""

    native: bool
    reason: str


# --------------------------------------------------------------------------------------------- deciding


def _wanted() -> str:
    """RUNARK_BUILD, checked."""
    wanted = os.environ.get(CHOICE, "auto") or "auto"
    if wanted not in ("auto", "native", "pure"):
        raise SystemExit(f"{CHOICE}={wanted}: use native, pure or auto")
    return wanted


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _field(file: str, section: str, key: str) -> str:
    """One string of a TOML file. Python 3.10 has no TOML reader, and these files are our own."""
    body = (ROOT / file).read_text(encoding="utf-8").split(f"[{section}]", 1)[1].split("\n[", 1)[0]
    found = re.search(rf'^{re.escape(key)}\s*=\s*"([^"]+)"', body, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{file}: no {key} in [{section}]")
    return found.group(1)


def _obstacle() -> str:
    """What keeps this machine from building the native engine; empty if nothing does."""
    cargo = shutil.which("cargo")
    if cargo is None:
        return "no cargo"
    # rustup's stand-in is on PATH even where no toolchain is installed, so it has to be run.
    answer = subprocess.run([cargo, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"cargo (\d+\.\d+)", answer.stdout)
    if answer.returncode != 0 or found is None:
        return "cargo does not run"
    least = _field("Cargo.toml", "workspace.package", "rust-version")
    if _version(found.group(1)) < _version(least)[:2]:
        return f"cargo {found.group(1)} is older than {least}"
    # An absolute or relative path in CC is found by `which` too; it may carry arguments ("ccache cc").
    compiler = (os.environ.get("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler})"
    return ""


def _choose() -> Choice:
    wanted = _wanted()
    if wanted == "pure":
        return Choice(False, f"{CHOICE}=pure")
    obstacle = _obstacle()
    if not obstacle:
        return Choice(True, "")
    if wanted == "native":
        raise SystemExit(
            f"{CHOICE}=native, but the native engine cannot be built: {obstacle}.\n"
            f"Install a Rust toolchain (https://rustup.rs) and a C compiler, or build with {CHOICE}=pure."
        )
    return Choice(False, obstacle)


def _check_versions() -> None:
    """The version is written where each tool looks for it; they must agree."""
    init = (ROOT / "python" / "runark" / "__init__.py").read_text(encoding="utf-8")
    imported = re.search(r'^__version__(?:: \w+)? = "([^"]+)"', init, re.MULTILINE)
    versions = {
        "pyproject.toml": _field("pyproject.toml", "project", "version"),
        "Cargo.toml": _field("Cargo.toml", "workspace.package", "version"),
        "python/runark/__init__.py": imported.group(1) if imported else "none",
    }
    if len(set(versions.values())) != 1:
        raise SystemExit("versions differ: " + ", ".join(f"{file} says {value}" for file, value in versions.items()))


# ------------------------------------------------------------------------------------------- delegating


def _for_maturin(settings: Settings | None) -> dict[str, Any]:
    """The caller's settings, and `--locked` beside the caller's own build arguments."""
    merged = dict(settings or {})
    if (ROOT / "Cargo.lock").exists():
        given = merged.pop("build-args", merged.pop("maturin.build-args", ""))
        words = given if isinstance(given, str) else " ".join(given)
        merged["build-args"] = f"{words} --locked".strip()
    return merged


def _announce(choice: Choice) -> None:
    """The one notice of a pure build."""
    if choice.reason == f"{CHOICE}=pure":
        how = ""
    else:
        how = " For the faster native engine install Rust (https://rustup.rs) and a C compiler, then install again."
    print(
        f"runark: building without the native engine ({choice.reason}); the pure Python engine does the same work, "
        f"slower.{how}",
        file=sys.stderr,
        flush=True,
    )


@contextmanager
def _scratch(reason: str) -> Iterator[None]:
    """A copy of what a pure wheel is made of, as the current directory, with the reason written into it.

    setuptools would otherwise leave build/lib in the source tree, and put files into the next wheel that the
    sources have lost since.
    """
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="runark-build-") as scratch:
        for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-APACHE", "LICENSE-MIT"):
            shutil.copy2(ROOT / name, scratch)
        shutil.copytree(
            ROOT / "python",
            Path(scratch, "python"),
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "_native*.so"),
        )
        _write_reason(Path(scratch), reason)
        os.chdir(scratch)
        try:
            yield
        finally:
            os.chdir(before)


def _write_reason(root: Path, reason: str) -> None:
    (root / "python" / BUILT).write_text(f"native not built: {reason}\n", encoding="utf-8")


def get_requires_for_build_wheel(config_settings: Settings | None = None) -> list[str]:
    """Requirements of `build_wheel`: maturin or setuptools."""
    return MATURIN if _choose().native else SETUPTOOLS


get_requires_for_build_editable = get_requires_for_build_wheel


def get_requires_for_build_sdist(config_settings: Settings | None = None) -> list[str]:
    """Requirements of `build_sdist`: setuptools, whatever this machine can build."""
    return SETUPTOOLS


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings | None = None) -> str:
    """PEP 517. Returns the name of the `.dist-info` directory made in `metadata_directory`."""
    if _choose().native:
        import maturin

        return str(maturin.prepare_metadata_for_build_wheel(metadata_directory, _for_maturin(config_settings)))
    from setuptools import build_meta

    return str(build_meta.prepare_metadata_for_build_wheel(metadata_directory, dict(config_settings or {})))


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_wheel(
    wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None
) -> str:
    """PEP 517. Returns the wheel's name; raises SystemExit, saying what to do, if it cannot be built."""
    return _build("build_wheel", wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None
) -> str:
    """PEP 660. As `build_wheel`; the native module is put in `python/runark/`, where the sources are."""
    return _build("build_editable", wheel_directory, config_settings, metadata_directory)


def _build(hook: str, wheel_directory: str, settings: Settings | None, metadata_directory: str | None) -> str:
    _check_versions()
    choice = _choose()
    directory = os.path.abspath(wheel_directory)
    metadata = None if metadata_directory is None else os.path.abspath(metadata_directory)
    if choice.native:
        import maturin

        (ROOT / "python" / BUILT).unlink(missing_ok=True)  # of an earlier pure editable install
        return str(getattr(maturin, hook)(directory, _for_maturin(settings), metadata))
    from setuptools import build_meta

    _announce(choice)
    if hook == "build_wheel":
        with _scratch(choice.reason):
            return str(build_meta.build_wheel(directory, dict(settings or {}), metadata))
    for stale in (ROOT / "python" / "runark").glob("_native*.so"):
        stale.unlink()  # built here by an earlier native editable install; it would still be imported
    _write_reason(ROOT, choice.reason)
    return str(build_meta.build_editable(directory, dict(settings or {}), metadata))


def build_sdist(sdist_directory: str, config_settings: Settings | None = None) -> str:
    """PEP 517. Returns the name of the source distribution."""
    from setuptools import build_meta

    _check_versions()
    return str(build_meta.build_sdist(sdist_directory, dict(config_settings or {})))
