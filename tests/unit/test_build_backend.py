"""What the build backend decides, without building: tools that it finds on PATH are small scripts here."""

from __future__ import annotations

from pathlib import Path

import pytest

import build_backend


@pytest.fixture
def bin_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH, empty; RUNARK_BUILD and CC unset."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.delenv("RUNARK_BUILD", raising=False)
    monkeypatch.delenv("CC", raising=False)
    return directory


def program(directory: Path, name: str, says: str, code: int = 0) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)


def test_with_cargo_and_a_compiler_it_builds_the_native_engine(bin_directory: Path) -> None:
    program(bin_directory, "cargo", "cargo 1.95.0 (f2d3ce0bd 2026-03-21)")
    program(bin_directory, "cc", "")
    assert build_backend.get_requires_for_build_wheel() == build_backend.MATURIN
    assert build_backend.get_requires_for_build_editable() == build_backend.MATURIN
    assert build_backend.get_requires_for_build_sdist() == build_backend.SETUPTOOLS


def test_without_cargo_it_builds_a_pure_wheel(bin_directory: Path) -> None:
    assert build_backend._choose() == (False, "no cargo")
    assert build_backend.get_requires_for_build_wheel() == build_backend.SETUPTOOLS


def test_without_a_compiler_it_builds_a_pure_wheel(bin_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bin_directory, "cargo", "cargo 1.95.0")
    assert build_backend._choose() == (False, "no C compiler (cc)")
    monkeypatch.setenv("CC", "othercc -m64")
    assert build_backend._choose() == (False, "no C compiler (othercc)")
    program(bin_directory, "othercc", "")
    assert build_backend._choose().native


def test_an_old_cargo_is_none(bin_directory: Path) -> None:
    program(bin_directory, "cc", "")
    program(bin_directory, "cargo", "cargo 1.63.0")
    choice = build_backend._choose()
    assert not choice.native
    assert choice.reason.startswith("cargo 1.63 is older than 1.")


def test_a_cargo_without_a_toolchain_is_none(bin_directory: Path) -> None:
    program(bin_directory, "cc", "")
    program(bin_directory, "cargo", "error: no default toolchain", code=1)
    assert build_backend._choose() == (False, "cargo does not run")


def test_the_choice_can_be_forced(bin_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNARK_BUILD", "native")
    with pytest.raises(SystemExit, match="cannot be built: no cargo"):
        build_backend.get_requires_for_build_wheel()
    program(bin_directory, "cargo", "cargo 1.95.0")
    program(bin_directory, "cc", "")
    assert build_backend._choose().native
    monkeypatch.setenv("RUNARK_BUILD", "pure")
    assert build_backend._choose() == (False, "RUNARK_BUILD=pure")
    monkeypatch.setenv("RUNARK_BUILD", "fast")
    with pytest.raises(SystemExit, match="RUNARK_BUILD=fast"):
        build_backend.get_requires_for_build_wheel()


def test_the_lock_file_is_used_beside_the_arguments_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_backend, "ROOT", tmp_path)
    assert build_backend._for_maturin(None) == {}
    (tmp_path / "Cargo.lock").touch()
    assert build_backend._for_maturin(None) == {"build-args": "--locked"}
    assert build_backend._for_maturin({"build-args": "--verbose"}) == {"build-args": "--verbose --locked"}
    assert build_backend._for_maturin({"maturin.build-args": ["-v", "-v"]}) == {"build-args": "-v -v --locked"}


def test_versions_that_differ_stop_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_backend._check_versions()
    monkeypatch.setattr(build_backend, "ROOT", tmp_path)
    (tmp_path / "python" / "runark").mkdir(parents=True)
    (tmp_path / "python" / "runark" / "__init__.py").write_text('__version__ = "0.1.0"\n')
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nversion = "0.1.0"\n')
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "runark"\nversion = "0.2.0"\n')
    with pytest.raises(SystemExit, match=r"pyproject\.toml says 0\.2\.0"):
        build_backend._check_versions()


def test_the_notice_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    build_backend._announce(build_backend.Choice(False, "no cargo"))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "no cargo" in printed.err
