"""Fixtures for every test: the installed engines, and pairs of them.

A test that asks for `engine` runs once for each installed engine, one that asks for `pair` once for each pair of
archiver and restorer, one that asks for `engines` gets all of them to compare. Without the native engine its tests
do not exist; with RUNARK_TEST_NATIVE=required in the environment they do, and fail.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Whatever import mode pytest uses, the tests share `support`.
sys.path.insert(0, str(Path(__file__).parent))

from runark import engine as engine_module
from runark.engine.protocol import Engine
from support import privileges, sessions, tools
from support.engines import ENGINES, Pair

PROFILE = "HYPOTHESIS_PROFILE"

_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("quick", max_examples=25, derandomize=True, database=None, **_common)  # type: ignore[arg-type]
settings.register_profile("long", max_examples=1_000, **_common)  # type: ignore[arg-type]
settings.load_profile(os.environ.get(PROFILE, "quick"))


def _xattrs() -> bool:
    with tempfile.TemporaryDirectory() as directory:
        return sessions.supports(directory, "xattrs")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "root: needs root; not collected without")
    config.addinivalue_line("markers", "mounts: mounts a filesystem; not collected where that is not allowed")
    config.addinivalue_line("markers", "xattrs: sets user xattrs; not collected where temporary files cannot have them")
    missing = tools.missing()
    if missing:
        raise pytest.UsageError(f"the tests need stock tools; apt-get install {' '.join(missing)}")


def pytest_report_header() -> list[str]:
    lines = [f"engines: {', '.join(ENGINES)}"]
    if not privileges.is_root():
        lines.append("not root: tests marked `root` are not collected")
    if not privileges.can_mount():
        lines.append("no right to mount: tests marked `mounts` are not collected")
    if not _xattrs():
        lines.append("no user xattrs on temporary files: tests marked `xattrs` are not collected")
    return lines


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    able = {"root": privileges.is_root(), "mounts": privileges.can_mount(), "xattrs": _xattrs()}
    unwanted = [name for name, has in able.items() if not has]
    dropped = [item for item in items if any(item.get_closest_marker(name) for name in unwanted)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", ENGINES, indirect=True, scope="session")
    if "pair" in metafunc.fixturenames:
        pairs = [(archiver, restorer) for archiver in ENGINES for restorer in ENGINES]
        metafunc.parametrize("pair", pairs, indirect=True, ids="-to-".join, scope="session")


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each installed engine in turn."""
    return engine_module.load(request.param)


@pytest.fixture(scope="session")
def pair(request: pytest.FixtureRequest) -> Pair:
    """Each pair of installed engines: who archives, who restores."""
    return Pair(*(engine_module.load(name) for name in request.param))


@pytest.fixture(scope="session")
def engines() -> list[Engine]:
    """All installed engines at once, for tests that compare their answers."""
    return [engine_module.load(name) for name in ENGINES]


@pytest.fixture(params=ENGINES)
def eng(request: pytest.FixtureRequest) -> list[str]:
    """`--engine` and its name, for the command: each installed engine in turn."""
    return ["--engine", str(request.param)]
