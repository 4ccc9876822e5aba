"""Executes the Python blocks of a page: a JSON line `[line, text]` in, what it prints and `MARK code` out.

    python execute.py MARK ENGINE

A script has no flag and no environment variable that chooses its engine: it gets the native one if that is installed.
For ENGINE `pure` it is made not to be.
"""

from __future__ import annotations

import doctest
import json
import sys
import traceback
from typing import Any


def execute(line: int, text: str, namespace: dict[str, Any]) -> int:
    """0, or 1 if the block raised or, being a doctest, printed something else than it shows."""
    if ">>>" in text:
        test = doctest.DocTestParser().get_doctest(text, namespace, "block", "page", line)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        failed = runner.run(test, clear_globs=False).failed
        namespace.update(test.globs)  # the test worked on a copy
        return 1 if failed else 0
    try:
        # Lines are counted as in the page, so that a traceback names the one to look at.
        exec(compile("\n" * (line - 1) + text, "page", "exec"), namespace)
    except BaseException:  # noqa: BLE001 - SystemExit too: whatever ends a block is shown, and fails it
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


def main() -> None:
    mark, engine = sys.argv[1:]
    if engine == "pure":
        sys.modules["runark._native"] = None  # type: ignore[assignment]  # documented: an import of it then fails
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for message in sys.stdin:
        line, text = json.loads(message)
        code = execute(line, text, namespace)
        print(f"{mark} {code}", flush=True)


if __name__ == "__main__":
    main()
