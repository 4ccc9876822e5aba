"""Layouts: built in, of the user, and the times they read."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

import pytest

from runark.configuration import find as find_config
from runark.errors import ConfigError, InvalidArgument
from runark.layouts import BUILT_IN, Layout, choose, load_config, started

BY_NAME = {layout.name: layout for layout in BUILT_IN}


def fits(layout: Layout, name: str) -> bool:
    return re.fullmatch(layout.rule.pattern, os.fsencode(name)) is not None


@pytest.mark.parametrize(
    ("layout", "name", "yes"),
    [
        ("scitex", "2026Y-02M-13D-14h30m15s_Z5MR", True),
        ("scitex", "DEBUG_2026Y-02M-13D-14h30m15s_Z5MR", True),
        ("scitex", "2026Y-02M-13D-14h30m15s_Z5MR-main", True),
        ("scitex", "2026Y-02M-13D-14h30m15s_Z5MR-a\nb\udcff", True),
        ("scitex", "2026Y-02M-13D-14h30m15s_Z5MR-", False),
        ("scitex", "2026Y-02M-13D-14h30m15s_Z5M", False),
        ("scitex", "2026Y-02M-13D-14h30m15s_Z5MR\n", False),
        ("scitex", "2026Y-02M-13D-14h30m15s_Z5MR.tar.gz", False),
        ("scitex", "x2026Y-02M-13D-14h30m15s_Z5MR", False),
        ("workdir", "session_2026-02-13-14-30-15", True),
        ("workdir", "session_2026-02-13-14-30-15_2", True),
        ("workdir", "session_2026-02-13-14-30-15_123456", True),
        ("workdir", "job-2026-02-13-14-30-15_123456", True),
        ("workdir", "2026-02-13-14-30-15", True),
        ("workdir", ".session_2026-02-13-14-30-15", False),
        ("workdir", "session_2026-02-13-14-30-15.tar.gz", False),
        ("workdir", "session_2026-02-13", False),
        ("hydra", "14-30-15", True),
        ("hydra", "14-30-15x", False),
        ("wandb", "run-20260213_143015-abc123de", True),
        ("wandb", "offline-run-20260213_143015-abc123de", True),
        ("wandb", "latest-run", False),
    ],
)
def test_built_in_names(layout: str, name: str, yes: bool) -> None:
    assert fits(BY_NAME[layout], name) is yes


@pytest.mark.parametrize(
    ("layout", "path"),
    [
        ("scitex", b"/d/DEBUG_2026Y-02M-13D-14h30m15s_Z5MR-main"),
        ("workdir", b"/d/session_2026-02-13-14-30-15_2"),
        ("workdir", b"/d/old-2025-01-01-2026-02-13-14-30-15_123456"),
        ("hydra", b"/d/outputs/2026-02-13/14-30-15"),
        ("wandb", b"/d/offline-run-20260213_143015-abc"),
    ],
)
def test_started(layout: str, path: bytes) -> None:
    assert started(BY_NAME[layout], path) == datetime(2026, 2, 13, 14, 30, 15)


def test_an_impossible_time_is_none() -> None:
    assert started(BY_NAME["scitex"], b"/d/2026Y-13M-45D-14h30m15s_Z5MR") is None


def test_markers_where_a_name_could_be_an_accident() -> None:
    assert BY_NAME["workdir"].rule.marker == b".runark-workdir"
    assert BY_NAME["hydra"].rule.marker == b".hydra"
    assert BY_NAME["hydra"].rule.parent is not None


GOOD = """\
layouts:
  - name: sweep
    pattern: 'trial-(?P<time>[0-9]{8}T[0-9]{6})-.*'
    parent: 'sweep_.*'
    marker: out/done.flag
    time: '%Y%m%dT%H%M%S'
  - {name: plain, pattern: 'run[0-9]+'}
"""


def config(directory: Path, text: str) -> bytes:
    path = directory / "runark.yaml"
    path.write_text(text)
    return os.fsencode(path)


def test_user_layouts(tmp_path: Path) -> None:
    sweep, plain = load_config(config(tmp_path, GOOD))
    assert sweep.rule.marker == b"out/done.flag" and sweep.rule.parent is not None
    assert fits(sweep, "trial-20260213T143015-x") and not fits(sweep, "trial-1-x")
    assert started(sweep, b"/sweep_1/trial-20260213T143015-x") == datetime(2026, 2, 13, 14, 30, 15)
    assert fits(plain, "run17") and started(plain, b"/run17") is None
    assert [layout.name for layout in choose((), (sweep, plain))][:2] == ["sweep", "plain"]
    assert [layout.name for layout in choose(("plain", "hydra"), (sweep, plain))] == ["plain", "hydra"]


def test_an_unknown_layout_names_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match="scitex, workdir"):
        choose(("nope",))


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("layouts: 3\n", 1, "layouts"),
        ("other: 3\n", 1, "other"),
        ("- a\n", 1, "top"),
        ("layouts:\n  - name: x\n", 2, "pattern"),
        ("layouts:\n  - pattern: x\n", 2, "name"),
        ("layouts:\n  - name: x\n    pattern: '(?=a)'\n", 3, "pattern"),
        ("layouts:\n  - name: x\n    pattern: 'a'\n    parent: 'a++'\n", 4, "parent"),
        ("layouts:\n  - name: x\n    pattern: 'a'\n    marker: ../x\n", 4, "marker"),
        ("layouts:\n  - name: x\n    pattern: 'a'\n    marker: /x\n", 4, "marker"),
        ("layouts:\n  - name: x\n    pattern: 'a'\n    time: '%Y'\n", 4, "time"),
        ("layouts:\n  - name: x\n    pattern: '(?P<time>a)'\n    time: '%Q'\n", 4, "time"),
        ("layouts:\n  - name: x\n    pattern: 'a'\n    colour: red\n", 4, "colour"),
        ("layouts:\n  - name: x\n    pattern: '.*'\n", 3, "pattern"),
        ("layouts:\n  - name: 'x y'\n    pattern: 'a'\n", 2, "name"),
        ("layouts:\n  - name: scitex\n    pattern: 'a'\n", 2, "name"),
        ("layouts:\n  - {name: x, pattern: a}\n  - {name: x, pattern: b}\n", 3, "name"),
        ("layouts:\n  - name: x\n    name: y\n    pattern: a\n", 3, "name"),
        ("layouts:\n  - name: x\n    pattern: [a]\n", 3, "pattern"),
        ("layouts: [\n", 2, "YAML"),
    ],
)
def test_a_broken_config_names_file_line_and_key(tmp_path: Path, text: str, line: int, key: str) -> None:
    path = config(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert os.fsdecode(path) in message and f"line {line}" in message and key in message


def test_an_empty_config_is_none(tmp_path: Path) -> None:
    assert load_config(config(tmp_path, "# nothing\n")) == ()
    assert load_config(config(tmp_path, "layouts:\n")) == ()


def test_where_the_config_is_looked_for(tmp_path: Path) -> None:
    root, here = tmp_path / "root", tmp_path / "here"
    root.mkdir()
    here.mkdir()
    arguments = os.fsencode(root), os.fsencode(here)
    assert find_config(*arguments) is None
    of_cwd = config(here, GOOD)
    assert find_config(*arguments) == of_cwd
    of_root = config(root, GOOD)
    assert find_config(*arguments) == of_root


def test_a_config_everybody_can_write_is_refused(tmp_path: Path) -> None:
    path = config(tmp_path, GOOD)
    os.chmod(path, 0o666)
    with pytest.raises(ConfigError, match="--config"):
        find_config(os.fsencode(tmp_path), b"/")
