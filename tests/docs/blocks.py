"""The examples of a page: which blocks it has, and a bash and a Python that run them one after the other.

In a ```console block a line `$ command` is run (following lines that begin with `> ` belong to it) and the lines below
it are what it must print, on stdout and stderr together: `...` in a line stands for anything, a line `...` for any
number of lines. Where nothing is shown nothing is compared. The command must exit with 0, or with N where the last
line below it is `[exit N]`.

A ```python block is executed; with `>>>` in it, it is a doctest. All blocks of a page share one directory, one bash
and one Python namespace.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Timer
from typing import NamedTuple

__all__ = ["Bash", "Block", "Command", "Python", "blocks", "commands", "matches"]

SECONDS = 60.0  # for one command; a hang is a failure, not a wait
MARK = "--runark-docs-exit-code--"


class Block(NamedTuple):
    """A fenced block that is run."""

    line: int  # of its first line, from 1
    language: str
    text: str


class Command(NamedTuple):
    """One command of a console block."""

    line: int
    text: str
    expected: list[str]  # lines; empty: anything
    code: int


def blocks(page: Path) -> list[Block]:
    """The console and python blocks of a Markdown file, in order."""
    found: list[Block] = []
    language, begun, body = "", 0, [""]
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*```\s*(\S*)", line)
        if fence is None:
            body.append(line)
        elif begun:
            if language in ("console", "python"):
                found.append(Block(begun, language, "\n".join(body)))
            begun = 0
        else:
            language, begun, body = fence.group(1), number + 1, []
    if begun:
        raise ValueError(f"{page}: the block that begins at line {begun} has no end")
    return found


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block; raises ValueError for a line of output before the first command."""
    current: Command | None = None
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            if current is not None:
                yield current
            current = Command(number, line[2:], [], 0)
        elif current is None:
            raise ValueError(f"line {number}: output before any command")
        elif (line.startswith("> ") or line == ">") and not current.expected:
            current = current._replace(text=f"{current.text}\n{line[2:]}")
        elif code := re.fullmatch(r"\[exit (\d+)\]", line):
            current = current._replace(code=int(code.group(1)))
        else:
            current.expected.append(line)
    if current is not None:
        yield current


def matches(expected: list[str], output: str) -> bool:
    """Whether `output` is what was `expected`; blanks at the ends of lines and blank last lines do not count."""
    pattern = ""
    for line in "\n".join(expected).rstrip().splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.rstrip().split("...")) + r"\n"
    lines = [line.rstrip() for line in output.rstrip().splitlines()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


class _Process:
    """A child that is told something by a line and answers with lines up to a mark."""

    def __init__(self, arguments: list[str], directory: Path, environment: Mapping[str, str]) -> None:
        self._child = subprocess.Popen(
            arguments,
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
        )

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._child.kill()
        self._child.communicate()

    def _ask(self, text: str) -> tuple[str, int]:
        """Send `text`; returns what was printed and the number after the mark. Raises EOFError if the child ends."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(text)
        self._child.stdin.flush()
        timer = Timer(SECONDS, self._child.kill)
        timer.start()
        printed: list[str] = []
        try:
            for line in self._child.stdout:
                before, mark, code = line.partition(MARK)
                printed.append(before)
                if mark:
                    return "".join(printed), int(code)
        finally:
            timer.cancel()
        raise EOFError(f"ended or was ended after {SECONDS:g} s; it printed:\n{''.join(printed)}")


class Bash(_Process):
    """A bash without any start-up file."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        super().__init__(["bash", "--noprofile", "--norc"], directory, environment)

    def run(self, command: str) -> tuple[str, int]:
        """What the command printed, and its exit code."""
        return self._ask(f"{{ {command}\n}} </dev/null; printf '%s %d\\n' {MARK} $?\n")


class Python(_Process):
    """A Python that executes blocks in one namespace."""

    def __init__(self, directory: Path, environment: Mapping[str, str], engine: str) -> None:
        program = Path(__file__).with_name("execute.py")
        super().__init__([sys.executable, "-u", os.fspath(program), MARK, engine], directory, environment)

    def run(self, block: Block) -> tuple[str, int]:
        """What the block printed (a traceback included), and 0, or 1 if it raised or a doctest failed."""
        return self._ask(json.dumps([block.line, block.text]) + "\n")
