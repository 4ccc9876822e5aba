"""In Jupyter: a real kernel, several sessions in it, and nothing patched afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from support.runs import clean_environment


def _execute(directory: Path, *cells: str) -> list[str]:
    """What each cell has shown."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    environment = clean_environment(
        JPY_SESSION_NAME=str(directory / "analysis.ipynb"), IPYTHONDIR=str(directory / ".ipython")
    )
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(directory)}}
    )
    client.create_kernel_manager()
    client.execute(env=environment)
    return ["".join(_text(output) for output in cell.outputs) for cell in notebook.cells]


def _text(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    return str(output.get("data", {}).get("text/plain", ""))


def test_several_sessions_in_one_kernel(tmp_path: Path) -> None:
    shown = _execute(
        tmp_path,
        "import sys, os, logging\nimport runark as stx\nbefore = (sys.stdout, sys.stderr, os.fstat(1).st_ino, logging.root.handlers[:])",
        "@stx.session\ndef main(n=3, CONFIG=stx.INJECTED):\n    print('first', n)\n    os.system('echo from a child')\n"
        "    return {'value': n}\nmain()",
        "main()",
        "@stx.session\nasync def later():\n    import asyncio\n    await asyncio.sleep(0.01)\n    print('awaited')\n    return 'yes'\nlater()",
        "CONFIG, sys.stdout, sys.stderr, plt, CC, rng = stx.session.start(sys, verbose=False)\nprint('started')",
        "print('another cell')",
        "stx.session.close(CONFIG, exit_status=0, verbose=False)\nprint('after')",
        "@stx.session\ndef fails():\n    print('failing')\n    raise KeyError('seen')\n"
        "try:\n    fails()\nexcept KeyError as error:\n    print('caught', error)",
        "@stx.session\ndef status():\n    return 4\nstatus()",
        "after = (sys.stdout, sys.stderr, os.fstat(1).st_ino, logging.root.handlers[:])\nbefore == after",
    )
    assert "first 3" in shown[1] and "{'value': 3}" in shown[1]
    assert "awaited" in shown[3] and "'yes'" in shown[3]
    assert shown[5].strip() == "another cell"
    assert "caught 'seen'" in shown[7]
    assert shown[8].strip() == "4", "nothing ends the kernel"
    assert shown[9].strip() == "True"
    out = tmp_path / "analysis_out"
    logs = {path.parent.parent.parent.name: [] for path in out.glob("*/*/logs/stdout.log")}  # type: dict[str, list[str]]
    for path in out.glob("*/*/logs/stdout.log"):
        logs[path.parent.parent.parent.name].append(path.read_text())
    assert sorted(logs["FINISHED_SUCCESS"]) == sorted(
        ["first 3\nfrom a child\n", "first 3\nfrom a child\n", "awaited\n", "started\nanother cell\n"]
    )
    assert sorted(logs["FINISHED_ERROR"]) == ["", "failing\n"]
    assert "RUNNING" not in logs


def test_an_error_in_a_cell_is_the_functions_own(tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        _execute(tmp_path, "import runark as stx\n@stx.session\ndef main():\n    1 / 0\nmain()")
    (log,) = tmp_path.glob("analysis_out/FINISHED_ERROR/*/logs/stderr.log")
    assert "ZeroDivisionError" in log.read_text()
