"""Numbers of a nightly run for Prometheus' textfile collector (node_exporter), written atomically.

Alert on the age of `runark_nightly_last_success_timestamp_seconds`, not on a failure: a run that never began has none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from runark.archive.nightly import Night
from runark.archive.whole_file import write_whole
from runark.errors import OperationFailed
from runark.names import escape

__all__ = ["metric_lines", "write_metrics"]

_SUCCESS = "runark_nightly_last_success_timestamp_seconds"
_GOOD = (0, 75)
"""Exit codes of a run that did what it was to do in its time."""


def write_metrics(path: bytes, night: Night, code: int) -> None:
    """Write the numbers to a file whose name must end with `.prom` for the collector to take it.

    The time of the last success is taken over from the file if this run was none. Raises `OperationFailed`.
    """
    success = time.time() if code in _GOOD else _last_success(path)
    text = "".join(line + "\n" for line in metric_lines(night, code, success))
    try:
        write_whole(path, lambda stream: stream.write(text.encode()))
    except OSError as error:
        raise OperationFailed(f"cannot write metrics to {escape(path)}: {error.strerror}") from error


def metric_lines(night: Night, code: int, success: float | None) -> Iterator[str]:
    """The numbers in the text format, one family after the other."""
    yield from _family("runark_nightly_last_run_timestamp_seconds", "When the last run ended.", [("", time.time())])
    if success is not None:
        yield from _family(_SUCCESS, "When the last run ended that did its work.", [("", success)])
    yield from _family("runark_nightly_last_run_exit_code", "Its exit code; 75: work is left.", [("", code)])
    yield from _family("runark_nightly_duration_seconds", "How long it took.", [("", round(night.seconds, 3))])
    sessions: list[tuple[str, float]] = []
    sums: dict[str, list[tuple[str, float]]] = {
        "bytes_read": [],
        "bytes_written": [],
        "inodes_freed": [],
        "backlog": [],
    }
    errors: list[tuple[str, float]] = []
    for root in night.roots:
        name = _label("root", escape(root.root))
        counts: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for part in root.parts:
            counts.update(part.counts if part.verb != "drill" else {f"drilled {k}": n for k, n in part.counts.items()})
            kinds.update(outcome.fault.op if outcome.fault else outcome.action for outcome in part.problems)
        if root.error is not None:
            kinds[type(root.error).__name__] += 1
        if root.plan is not None:
            kinds.update(fault.op for fault in root.plan.faults)
        sessions += [(f"{name},{_label('action', action)}", number) for action, number in sorted(counts.items())]
        errors += [(f"{name},{_label('kind', kind)}", number) for kind, number in sorted(kinds.items())]
        done = root.archived
        sums["bytes_read"].append((name, done.bytes_in if done else 0))
        sums["bytes_written"].append((name, done.bytes_out if done else 0))
        freed = sum(part.inodes_freed for part in root.parts)
        sums["inodes_freed"].append((name, freed))
        sums["backlog"].append((name, done.left if done else len(root.plan.jobs) + root.plan.left if root.plan else 0))
    yield from _family("runark_nightly_sessions", "Sessions by what became of them.", sessions)
    yield from _family("runark_nightly_read_bytes", "Bytes of files that were archived.", sums["bytes_read"])
    yield from _family("runark_nightly_written_bytes", "Bytes of archives.", sums["bytes_written"])
    yield from _family("runark_nightly_inodes_freed", "Inodes that came free, net of archives.", sums["inodes_freed"])
    yield from _family("runark_nightly_backlog_sessions", "Candidates that are left.", sums["backlog"])
    yield from _family("runark_nightly_errors", "What went wrong, by kind.", errors)


def _family(name: str, about: str, values: list[tuple[str, float]]) -> Iterator[str]:
    if values:
        yield f"# HELP {name} {about}"
        yield f"# TYPE {name} gauge"
        yield from (
            f"{name}{{{labels}}} {value:.15g}" if labels else f"{name} {value:.15g}" for labels, value in values
        )


def _label(name: str, value: str) -> str:
    text = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{name}="{text}"'


def _last_success(path: bytes) -> float | None:
    try:
        with open(path, encoding="utf-8") as stream:
            return next((float(line.split()[1]) for line in stream if line.startswith(f"{_SUCCESS} ")), None)
    except (OSError, ValueError):
        return None
