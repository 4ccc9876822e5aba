"""Driving a task of the engine: poll it, hand on its outcomes, stop it when asked.

The caller's thread is never away for longer than `POLL` seconds, so that signals are heard. A task that is stopped is
drained: every job's outcome is taken, and what was begun is finished or rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from runark.engine.protocol import Outcome, Progress, ScanColumns, ScanTask, Task

__all__ = ["POLL", "Control", "drive", "finish_scan"]

POLL = 0.05


class Control:
    """What a caller and a running verb share. Subclass or fill in: `stop()` may be called from a signal handler or
    thread."""

    def __init__(
        self,
        on_outcomes: Callable[[Sequence[Outcome]], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_begin: Callable[[str, int], None] | None = None,
    ) -> None:
        """`on_begin(verb, jobs)` once the number of jobs is known (0 for a scan)."""
        self._on_outcomes, self._on_progress, self._on_begin = on_outcomes, on_progress, on_begin
        self._stopped = ""
        self._stopping: Literal["", "gently", "now"] = ""

    @property
    def stopped(self) -> str:
        """Empty, or why the work was asked to stop."""
        return self._stopped

    @property
    def stopping(self) -> Literal["", "gently", "now"]:
        """How: `gently`, what was begun is finished; `now`, what is not published is rolled back."""
        return self._stopping

    def stop(self, why: str = "interrupted", *, gently: bool = False) -> None:
        """Begin nothing more; finish what was begun, or roll back what of it is not published. The first reason stays;
        a gentle stop may be followed by one that is not."""
        self._stopped = self._stopped or why
        if self._stopping != "now":
            self._stopping = "gently" if gently else "now"

    def begin(self, verb: str, jobs: int) -> None:
        if self._on_begin is not None:
            self._on_begin(verb, jobs)

    def outcomes(self, found: Sequence[Outcome]) -> None:
        if self._on_outcomes is not None:
            self._on_outcomes(found)

    def progress(self, now: Progress) -> None:
        if self._on_progress is not None:
            self._on_progress(now)


def drive(task: Task, control: Control, take: Callable[[Sequence[Outcome]], None], before: Progress) -> Progress:
    """Work the task to its end. `before`: what earlier tasks of the same run have done; gives the sum with this one.

    An exception (Ctrl-C too) stops the task and goes on when the task has come to rest.
    """
    told = ""
    try:
        while True:
            if control.stopping != told:
                told = control.stopping
                (task.drain if told == "gently" else task.cancel)()
            found = task.poll(POLL)
            if found is None:
                break
            if found:
                take(found)
            control.progress(_sum(before, task.progress()))
    except BaseException:
        task.cancel()
        while task.poll(POLL) is not None:
            pass
        raise
    total = _sum(before, task.progress())
    control.progress(total)
    return total


def finish_scan(task: ScanTask, control: Control) -> ScanColumns:
    """Work the scan to its end; stopped, it gives what it has found."""
    try:
        while not task.poll(POLL):
            if control.stopped:
                task.cancel()
            control.progress(task.progress())
    except BaseException:
        task.cancel()
        raise
    return task.result()


def _sum(before: Progress, now: Progress) -> Progress:
    return Progress(
        before.done + now.done,
        before.total,
        before.bytes + now.bytes,
        before.entries + now.entries,
        before.operations + now.operations,
    )
