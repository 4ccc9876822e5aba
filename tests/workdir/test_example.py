"""examples/word_count.py, run as somebody would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import runark
from support.apart import child_environment

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "word_count.py"


def _run(directory: Path, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, env=child_environment(), capture_output=True, text=True, timeout=60, check=False
    )


def test_word_count(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two two")
    (tmp_path / "b.txt").write_text("two three")
    (tmp_path / ".env").write_text("COUNT_SESSION_DIR_MAX_SESSION_DIRS=2\n")
    command = [sys.executable, EXAMPLE, "--base", "runs", "a.txt", "b.txt"]
    for _ in range(4):
        done = _run(tmp_path, command)
        assert done.returncode == 0
        assert done.stderr == ""
    session = Path(done.stdout.partition(":")[0])
    assert json.loads((session / "words.json").read_text()) == {"one": 1, "two": 3, "three": 1}
    log = (session / "logs" / "count.log").read_text()
    assert "INFO word_count: a.txt: 3 words\n" in log and "INFO word_count: b.txt: 2 words\n" in log
    assert len(os.listdir(tmp_path / "runs")) == 4
    assert runark.verify(tmp_path / "runs").counts == {"sound": 2}
    failed = _run(tmp_path, [*command, "missing.txt"])
    assert failed.returncode == 1
    session = Path(failed.stdout.partition(":")[0])
    assert "ERROR word_count: missing.txt: No such file" in (session / "logs" / "count.log").read_text()
