"""Archiving by an engine within limits: `engine_load.py native|pure ROOT JOBS OPS BYTES`, run by runark's Python.

OPS and BYTES are a second's, 0 for no limit. Prints JSON: seconds from the call to the last outcome, operations and
content bytes of all that time. Every session below ROOT must end as archived.
"""

from __future__ import annotations

import json
import os
import sys
import time

from runark.engine import load
from runark.engine.protocol import ArchiveJob, ArchiveOptions


def main() -> None:
    engine, root, jobs, ops, content = sys.argv[1:]
    todo = [ArchiveJob(os.fsencode(entry.path)) for entry in os.scandir(root) if entry.is_dir()]
    verbs = load(engine)
    begin = time.perf_counter()
    task = verbs.archive(todo, ArchiveOptions(jobs=int(jobs), max_ops=float(ops), max_bytes=float(content)))
    ended = 0
    while (found := task.poll(0.2)) is not None:
        ended += sum(outcome.action == "archived" for outcome in found)
    seconds = time.perf_counter() - begin
    if ended != len(todo):
        raise SystemExit(f"{len(todo) - ended} of {len(todo)} sessions were not archived")
    now = task.progress()
    print(json.dumps({"seconds": seconds, "operations": now.operations, "bytes": now.bytes}))


if __name__ == "__main__":
    main()
