"""What every verb that works does around its work: signals, progress, events, and how it ends."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TextIO

from runark.archive.control import Control
from runark.archive.result import Result, outcome_text
from runark.cli.exit_codes import SIGNALLED
from runark.cli.progress import Display
from runark.cli.signals import Signals
from runark.engine.protocol import Fault, Outcome

__all__ = ["Work", "ending", "finish", "show_result", "tell", "tell_faults", "tell_problems", "working"]

_OPEN_FILES = 65_536


class Work(NamedTuple):
    """The control to hand to the verb, and the signal that came."""

    control: Control
    signals: Signals


@contextmanager
def working(
    quiet: bool, *, unit: str = "sessions", events: bytes | None = None, budget: bool = False
) -> Iterator[Work]:
    """Signals stop the work, progress is shown, outcomes are written to `events` as they come. `budget`: see
    `Signals`."""
    _allow_many_files()
    with ExitStack() as stack:
        display = Display(quiet, unit)
        stack.callback(display.close)
        take = None
        if events is not None:
            take = _Events(stack.enter_context(open(events, "a", encoding="ascii"))).take
        control = Control(take, display.progress, display.begin)
        yield Work(control, stack.enter_context(Signals(control, display.status, budget=budget)))


def _allow_many_files() -> None:
    """Up to the hard limit: an engine makes its batches, and so its syncs, as large as it may have files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Events:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def take(self, outcomes: Sequence[Outcome]) -> None:
        self._stream.write("".join(map(outcome_text, outcomes)))
        self._stream.flush()  # so that the file is right up to here whatever happens next


def tell(text: str) -> None:
    """A line on stderr, after what stdout has been given: in a file or pipe that takes both the order holds."""
    sys.stdout.flush()
    print(f"runark: {text}", file=sys.stderr)


def tell_faults(faults: Sequence[Fault]) -> None:
    """What could not be read, on stderr."""
    if faults:
        from runark.report.text import fault_lines

        for line in fault_lines(faults):
            tell(line)


def tell_problems(result: Result) -> None:
    """The notes of a run and what went wrong with sessions, on stderr."""
    for note in result.notes:
        tell(note)
    if not result.problems:
        return
    from runark.report.text import FAULTS_SHOWN, outcome_line

    for outcome in result.problems[:FAULTS_SHOWN]:
        tell(outcome_line(outcome))
    if len(result.problems) > FAULTS_SHOWN:
        tell(f"... and {len(result.problems) - FAULTS_SHOWN:,} more (--json or --events tells all)")


def show_result(result: Result, as_json: bool, quiet: bool) -> None:
    """The summary on stdout, what needs a person on stderr."""
    tell_faults(result.faults)
    tell_problems(result)
    if as_json:
        import json

        json.dump(result.to_json(), sys.stdout, separators=(",", ":"))
        sys.stdout.write("\n")
    elif not quiet:
        from runark.report.text import result_lines, write_lines

        write_lines(sys.stdout, result_lines(result))


def ending(code: int, signals: Signals) -> int:
    """The exit code: this one, or that of the signal that came."""
    return SIGNALLED + signals.number if signals.number else code


def finish(code: int, signals: Signals) -> None:
    """End the command with this code, or with that of the signal that came."""
    sys.stdout.flush()
    if signals.number:
        tell("interrupted: this is not all")
    sys.exit(ending(code, signals))
