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


CELLS = """
import sys, os, logging
import runark as stx

def state():
    return (sys.stdout, sys.stderr, os.fstat(1).st_ino, logging.root.handlers[:])

before = state()
# ---
@stx.session
def main(n=3, CONFIG=stx.INJECTED):
    print('first', n)
    os.system('echo from a child')
    return {'value': n}
main()
# ---
main()
# ---
@stx.session
async def later():
    import asyncio
    await asyncio.sleep(0.01)
    print('awaited')
    return 'yes'
later()
# ---
CONFIG, sys.stdout, sys.stderr, plt, CC, rng = stx.session.start(sys, verbose=False)
print('started')
# ---
print('another cell')
# ---
stx.session.close(CONFIG, exit_status=0, verbose=False)
print('after')
# ---
@stx.session
def fails():
    print('failing')
    raise KeyError('seen')
try:
    fails()
except KeyError as error:
    print('caught', error)
# ---
@stx.session
def status():
    return 4
status()
# ---
before == state()
"""


def test_several_sessions_in_one_kernel(tmp_path: Path) -> None:
    shown = _execute(tmp_path, *CELLS.split("# ---\n"))
    assert "first 3" in shown[1] and "{'value': 3}" in shown[1]
    assert "awaited" in shown[3] and "'yes'" in shown[3]
    assert shown[5].strip() == "another cell"
    assert "caught 'seen'" in shown[7]
    assert shown[8].strip() == "4", "nothing ends the kernel"
    assert shown[9].strip() == "True"
    out = tmp_path / "analysis_out"
    logs: dict[str, list[str]] = {}
    for path in out.glob("*/*/logs/stdout.log"):
        logs.setdefault(path.parent.parent.parent.name, []).append(path.read_text())
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


def test_forked_workers_that_print(tmp_path: Path) -> None:
    """They share the copier with the kernel; nobody waits for what is another's."""
    shown = _execute(
        tmp_path,
        "import multiprocessing, os\nimport runark as stx\n"
        "def work(number):\n    for _ in range(200):\n        print('worker', number)\n"
        "@stx.session\ndef main():\n    context = multiprocessing.get_context('fork')\n"
        "    workers = [context.Process(target=work, args=(n,)) for n in range(3)]\n"
        "    [worker.start() for worker in workers]\n"
        "    for number in range(200):\n        print('kernel', number)\n"
        "    [worker.join() for worker in workers]\n    return 'done'\nmain()",
    )
    assert "'done'" in shown[0]
    (log,) = tmp_path.glob("analysis_out/FINISHED_SUCCESS/*/logs/stdout.log")
    lines = log.read_text().splitlines()
    assert [line for line in lines if line.startswith("kernel")] == [f"kernel {number}" for number in range(200)]
    assert sum(line.startswith("worker") for line in lines) == 600
