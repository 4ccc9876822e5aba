"""Every example of the README and of docs/ does what it shows, on each engine that is installed.

How a page is read: blocks.py. Each page begins in a fresh directory with `sessions/`, 40 sessions of
examples/sample_tree.py, all older than a year.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import closing
from pathlib import Path

import pytest

from blocks import Bash, Python, blocks, commands, matches
from runark.engine.protocol import Engine
from sample_tree import make

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_the_examples_of_a_page_do_what_they_show(page: Path, engine: Engine, tmp_path: Path) -> None:
    make(os.fsencode(tmp_path / "sessions"), 40)
    environment = {
        **os.environ,
        "RUNARK_ENGINE": engine.name,
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
        "COLUMNS": "120",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    with closing(Bash(tmp_path, environment)) as bash, closing(Python(tmp_path, environment, engine.name)) as python:
        for block in blocks(page):
            if block.language == "python":
                printed, code = python.run(block)
                assert code == 0, f"{name(page)}:{block.line}:\n{printed}"
                continue
            for command in commands(block):
                printed, code = bash.run(command.text)
                where = f"{name(page)}:{command.line}: $ {command.text}"
                assert code == command.code, f"{where}\nexit code {code}, not {command.code}; it printed:\n{printed}"
                assert not command.expected or matches(command.expected, printed), (
                    f"{where}\nprinted:\n{printed}\nand not what the page shows:\n" + "\n".join(command.expected)
                )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text)
    lost = [
        link
        for link in links
        if not re.match(r"[a-z]+:|#", link) and not (page.parent / link.partition("#")[0]).exists()
    ]
    assert not lost, f"{name(page)}: nothing at {lost}"


def test_a_wildcard_stands_for_anything_but_only_there() -> None:
    assert matches(["a ... c", "...", "z"], "a b c\nx\ny\nz\n")
    assert matches(["...", "z"], "z\n")
    assert not matches(["a ... c"], "a b d\n")
    assert not matches(["a"], "a\nb\n")
