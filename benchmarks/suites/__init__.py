"""The suites by name. Each takes the set-up and the book, checks equality first, then measures."""

from __future__ import annotations

from collections.abc import Callable

from context import Setup
from harness import Book

from suites import archive, big, ext4, load, memory, nightly, report, restore, scan, session, stages, workers

SUITES: dict[str, Callable[[Setup, Book], None]] = {
    "archive": archive.run,
    "archive-ext4": ext4.run,
    "restore": restore.run,
    "scan-flat": scan.run_flat,
    "scan-sizes": scan.run_sizes,
    "big": big.run,
    "memory": memory.run,
    "workers": workers.run,
    "latency": workers.run_latency,
    "load": load.run,
    "stages": stages.run,
    "session": session.run,
    "nightly": nightly.run,
    "report": report.run,
}
