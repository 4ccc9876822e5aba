"""One version, wherever a tool looks for it."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import runark

ROOT = Path(__file__).resolve().parents[2]


def field(file: str, section: str) -> str:
    body = (ROOT / file).read_text(encoding="utf-8").split(f"\n[{section}]", 1)[1].split("\n[", 1)[0]
    found = re.search(r'^version\s*=\s*"([^"]+)"', body, re.MULTILINE)
    assert found is not None, f"{file} has no version in [{section}]"
    return found.group(1)


def test_python_cargo_and_the_installed_package_agree() -> None:
    assert field("pyproject.toml", "project") == runark.__version__
    assert field("Cargo.toml", "workspace.package") == runark.__version__
    assert metadata.version("runark") == runark.__version__


def test_every_crate_takes_the_version_of_the_workspace() -> None:
    crates = sorted(set((ROOT / "rust").glob("*/Cargo.toml")) - {ROOT / "rust" / "fuzz" / "Cargo.toml"})
    assert crates
    for crate in crates:
        assert "\nversion.workspace = true\n" in crate.read_text(encoding="utf-8"), crate


def test_the_changelog_has_a_section_for_it() -> None:
    assert f"\n## [{runark.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
