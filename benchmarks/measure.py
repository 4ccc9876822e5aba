"""Run one command and write what it cost as JSON: `measure.py RESULT STDOUT SAMPLE_MS -- COMMAND...`.

A process of its own, as small as Python can be, because a child inherits its parent's peak memory at `fork`: measured
from a harness that holds a corpus in memory every number would be the harness's. Wall time is from `fork` to
`wait4`; user, system and peak memory are the kernel's own for the command and all its waited-for children (the peak is
that of the largest single process). With SAMPLE_MS > 0 the memory of *all* processes together (PSS: shared pages
counted once) is looked at every so many milliseconds as well. That costs time: never together with a timing.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time


def tree_pss(group: int) -> int:
    """Bytes of memory of all processes of a process group, shared pages divided among them."""
    total = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
            if int(fields[2]) != group:
                continue
            with open(f"/proc/{name}/smaps_rollup", "rb") as rollup:
                total += next(int(line.split()[1]) * 1024 for line in rollup if line.startswith(b"Pss:"))
        except (FileNotFoundError, ProcessLookupError, StopIteration):
            continue  # it ended while it was looked at
    return total


def main() -> int:
    result, stdout, sample_ms, dashes, *command = sys.argv[1:]
    if dashes != "--" or not command:
        raise SystemExit(__doc__)
    out = os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    peak = 0
    ended = threading.Event()
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.dup2(out, 1)
        os.execvp(command[0], command)
    if int(sample_ms):

        def sample() -> None:
            nonlocal peak
            while not ended.wait(int(sample_ms) / 1000):
                peak = max(peak, tree_pss(child))

        threading.Thread(target=sample, daemon=True).start()
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    ended.set()
    with open(result, "w") as file:
        json.dump(
            {
                "seconds": seconds,
                "user": usage.ru_utime,
                "system": usage.ru_stime,
                "max_rss": usage.ru_maxrss * 1024,
                "max_pss_all": peak,
                "exit": os.waitstatus_to_exitcode(status),
            },
            file,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
