"""A scan by an engine, timed by itself: `engine_calls.py native|pure flat|sizes ROOT JOBS`, run by runark's Python.

The command line adds the start of Python and its output to each scan; this shows the engine alone. Prints JSON: seconds
from the call to the columns, and the sums that must equal what others find.
"""

from __future__ import annotations

import json
import os
import sys
import time
from array import array

from runark.engine import load
from runark.engine.protocol import VERDICTS, ScanSpec
from runark.layouts import BUILT_IN, rules_of

DAY_NS = 86_400 * 1_000_000_000


def main() -> None:
    engine, what, root, jobs = sys.argv[1:]
    spec = ScanSpec(
        roots=(os.fsencode(root),),
        rules=rules_of(BUILT_IN),
        jobs=int(jobs),
        measure=what == "sizes",
        changed_before_ns=time.time_ns() - 30 * DAY_NS if what == "flat" else None,
    )
    verbs = load(engine)
    start = time.perf_counter()
    task = verbs.scan(spec)
    columns = task.result()
    seconds = time.perf_counter() - start
    if columns.faults or columns.verdict.strip(bytes([VERDICTS.index("selected")])):
        raise SystemExit(f"scan of {root}: {columns.faults[:3]}")
    sums = {name: sum(array("q", getattr(columns, name))) for name in ("inodes", "size", "allocated")}
    print(json.dumps({"seconds": seconds, "rows": columns.paths.count(b"\0"), **sums}))


if __name__ == "__main__":
    main()
