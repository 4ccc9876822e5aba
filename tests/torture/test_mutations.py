"""The test of the tests: without any one of these syncs and checks of the gate, a named test fails.

Checks that only double others (a second look at a name that a handle already stands for) are not among them.

The pure engine is mutated in a copy of the package. The native engine has to be built for each mutation: only with
RUNARK_TORTURE=full (`make torture`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from support.torture import FULL, record

PROJECT = Path(__file__).resolve().parents[2]
RACES, CRASH = "tests/torture/test_races.py::", "tests/torture/test_crash_states.py::"


class Mutation(NamedTuple):
    """A piece of source that is replaced, and the test that has to notice."""

    what: str
    file: str
    old: str
    new: str
    test: str


PURE = (
    Mutation(
        "part files are not synced",
        "gate.py",
        "settled = settle.settle([",
        'settled = "fsync" or settle.settle([',
        f"{CRASH}test_every_state_a_crash_can_leave[pure-fsync]",
    ),
    Mutation(
        "names are not synced",
        "gate.py",
        "unnamed = _settle_names([work for work in ready if",
        "unnamed = _settle_names([work for work in [] if",
        f"{CRASH}test_every_state_a_crash_can_leave[pure-fsync]",
    ),
    Mutation(
        "tombstones are not synced",
        "gate.py",
        "_settle_names(buried)",
        "_settle_names([])",
        f"{CRASH}test_every_state_a_crash_can_leave[pure-fsync]",
    ),
    Mutation(
        "the archive is not compared",
        "verify.py",
        "            _proven_at_once(directory, name, written, claim, packed)\n",
        "",
        f"{RACES}test_a_part_file_that_rots[pure]",
    ),
    Mutation(
        "no last look before unlinking",
        "remove.py",
        "if key != entry.key and not",
        "if False and not",
        f"{RACES}test_a_writer_at_every_step[pure-append]",
    ),
    Mutation(
        "no lease while packing",
        "pack.py",
        "self.see_no_writer(entry, fd)",
        "pass",
        f"{RACES}test_a_mapping_that_is_gone_again[pure-packed]",
    ),
    Mutation(
        "no lease before removing",
        "remove.py",
        "if heed_writers and place.local:",
        "if False:",
        f"{RACES}test_a_mapping_made_while_it_is_archived[pure]",
    ),
    Mutation(
        "a broken lease is taken for one that stands",
        "remove.py",
        "not sys.lease_stands(entry.fd)",
        "False",
        f"{RACES}test_a_writer_in_memory[pure-append]",
    ),
    Mutation(
        "content is not read again in memory",
        "remove.py",
        "if entry.sum is not None and",
        "if False and",
        f"{RACES}test_a_mapping_that_came_and_went[pure-many-packed]",
    ),
)

NATIVE = (
    Mutation(
        "part files are not synced",
        "settle.rs",
        "if self.storage == Storage::Local { sys::sync_data",
        "if true { Ok(drop(file)) } else if self.storage == Storage::Local { sys::sync_data",
        f"{CRASH}test_every_state_a_crash_can_leave[native-fsync]",
    ),
    Mutation(
        "the archive is not compared",
        "verify.rs",
        "if now.inode() != packed.part.inode ||",
        "if true { return Ok(()); }\n    if now.inode() != packed.part.inode ||",
        f"{RACES}test_a_part_file_that_rots[native]",
    ),
    Mutation(
        "no last look before unlinking",
        "remove.rs",
        "if !same(&now, recorded, unlinked.contains(&recorded.ino)) {",
        "if false {",
        f"{RACES}test_a_writer_at_every_step[native-append]",
    ),
    Mutation(
        "no lease while packing",
        "pack.rs",
        "place.lease(&fd, entry)?",
        "false",
        f"{RACES}test_a_mapping_that_is_gone_again[native-packed]",
    ),
    Mutation(
        "no lease before removing",
        "remove.rs",
        "    if place.is_local() {\n",
        "    if false {\n",
        f"{RACES}test_a_mapping_made_while_it_is_archived[native]",
    ),
    Mutation(
        "a broken lease is taken for one that stands",
        "remove.rs",
        "sys::lease_stands(&held.0)",
        "true",
        f"{RACES}test_a_writer_in_memory[native-append]",
    ),
    Mutation(
        "content is not read again in memory",
        "remove.rs",
        "Some(sum) = entry.sum",
        "Some(sum) = None",
        f"{RACES}test_a_mapping_that_came_and_went[native-many-packed]",
    ),
)


@pytest.mark.parametrize("mutation", PURE, ids=lambda mutation: mutation.what.replace(" ", "-"))
def test_pure(tmp_path: Path, mutation: Mutation) -> None:
    package = tmp_path / "python" / "runark"
    shutil.copytree(PROJECT / "python" / "runark", package, ignore=shutil.ignore_patterns("_native*", "__pycache__"))
    _mutate(package / "engine" / "pure" / mutation.file, mutation)
    _fails(mutation, tmp_path / "python")
    record(f"left out: {mutation.what}", 1, "pure", "", "a test fails")


if FULL:

    @pytest.mark.parametrize("mutation", NATIVE, ids=lambda mutation: mutation.what.replace(" ", "-"))
    def test_native(tmp_path: Path, mutation: Mutation) -> None:
        names = ("Cargo.toml", "Cargo.lock", "rust")
        for name in names:
            source = PROJECT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
        _mutate(tmp_path / "rust" / "engine" / "src" / mutation.file, mutation)
        target = tmp_path / "target"
        command = (
            "cargo",
            "build",
            "--release",
            "--quiet",
            "--config",
            "profile.release.lto=false",
            "--target-dir",
            target,
        )
        subprocess.run(command, cwd=tmp_path, check=True)
        package = tmp_path / "python" / "runark"
        shutil.copytree(
            PROJECT / "python" / "runark", package, ignore=shutil.ignore_patterns("_native*", "__pycache__")
        )
        shutil.copy(target / "release" / "lib_native.so", package / "_native.abi3.so")
        _fails(mutation, tmp_path / "python")
        record(f"left out: {mutation.what}", 1, "native", "", "a test fails")


def _mutate(file: Path, mutation: Mutation) -> None:
    source = file.read_text()
    assert source.count(mutation.old) == 1, f"{mutation.old!r} stands {source.count(mutation.old)} times in {file.name}"
    file.write_text(source.replace(mutation.old, mutation.new))


def _fails(mutation: Mutation, path: Path) -> None:
    """The named test, at every point there is, fails with the mutated package."""
    environment = {key: value for key, value in os.environ.items() if key != "RUNARK_TORTURE_RECORD"}
    environment.update(PYTHONPATH=str(path), RUNARK_TORTURE="full", RUNARK_TEST_NATIVE="")
    check = "import runark, sys; sys.exit(not runark.__file__.startswith(sys.argv[1]))"
    subprocess.run((sys.executable, "-c", check, str(path)), env=environment, check=True)
    command = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutation.test)
    done = subprocess.run(
        command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1, f"{mutation.test} does not notice:\n{done.stdout[-2000:]}{done.stderr[-500:]}"
