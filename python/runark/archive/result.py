"""What a run has done: counts, sums and everything that went wrong; a value.

Outcomes of millions of sessions would not fit in memory, so a `Result` keeps those that need a person and, only on
request, all of them. A `Tally` adds outcomes up while the run goes on.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from runark.archive.scan import fault_json
from runark.engine.protocol import Fault, Outcome
from runark.names import json_path

__all__ = ["PROBLEMS", "Result", "Tally", "outcome_json", "outcome_text", "with_outcomes"]

SCHEMA = 1
_dumps = json.JSONEncoder(separators=(",", ":")).encode

PROBLEMS = frozenset(("changed", "failed", "damaged", "unreadable", "foreign"))
"""Actions that mean: done, but not with this one."""


@dataclass(frozen=True)
class Result:
    """What a run of `archive`, `restore` or `verify` has done. Sizes in bytes."""

    verb: str
    engine: str
    counts: dict[str, int]
    """Action (see `runark.engine.protocol.Outcome`) -> number of sessions or archives."""
    reasons: dict[str, dict[str, int]]
    """Action -> reason -> number, of the outcomes that gave a reason."""
    entries: int
    inodes_freed: int
    bytes_in: int
    bytes_out: int
    seconds: float
    settled: dict[str, int]
    """How durability was reached -> number of sessions."""
    problems: tuple[Outcome, ...]
    """Outcomes with an action of `PROBLEMS`, or with a fault."""
    outcomes: tuple[Outcome, ...]
    """All outcomes, if they were asked for."""
    notes: tuple[str, ...]
    faults: tuple[Fault, ...]
    """What the scan before could not read."""
    stopped: str
    """Empty, or why the run ended early: `interrupted`, `budget` (max_sessions, max_duration), `cap` (max_failures)."""
    left: int
    """Sessions that were planned and not begun."""

    @property
    def ok(self) -> bool:
        """Everything asked for was done."""
        return not (self.problems or self.faults or self.stopped)

    def to_json(self) -> dict[str, Any]:
        """A document that `json.dumps` takes; paths as `runark.names.JsonPath`."""
        return {
            "schema": SCHEMA,
            "what": self.verb,
            "engine": self.engine,
            "counts": dict(self.counts),
            "reasons": {action: dict(reasons) for action, reasons in self.reasons.items()},
            "entries": self.entries,
            "inodes_freed": self.inodes_freed,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "seconds": round(self.seconds, 6),
            "settled": dict(self.settled),
            "problems": [outcome_json(outcome) for outcome in self.problems],
            "outcomes": [outcome_json(outcome) for outcome in self.outcomes],
            "notes": list(self.notes),
            "faults": [fault_json(fault) for fault in self.faults],
            "stopped": self.stopped,
            "left": self.left,
        }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """One line of `--events`."""
    return {
        "schema": SCHEMA,
        "path": json_path(outcome.path),
        "action": outcome.action,
        "reason": outcome.reason,
        "target": json_path(outcome.target),
        "entries": outcome.entries,
        "inodes_freed": outcome.inodes_freed,
        "bytes_in": outcome.bytes_in,
        "bytes_out": outcome.bytes_out,
        "sha256": outcome.sha256,
        "milliseconds": round(outcome.milliseconds, 3),
        "settled": outcome.settled,
        "notes": list(outcome.notes),
        "fault": None if outcome.fault is None else fault_json(outcome.fault),
    }


def outcome_text(outcome: Outcome) -> str:
    """One line of `--events`: `outcome_json` on one line, with its end."""
    if outcome.notes or outcome.fault is not None:
        return _dumps(outcome_json(outcome)) + "\n"
    # Made by hand: one for every session of a night, and json.dumps of a mapping takes four times as long.
    path, target = _dumps(json_path(outcome.path)), _dumps(json_path(outcome.target))
    return (
        f'{{"schema":{SCHEMA},"path":{path},"action":"{outcome.action}","reason":{_dumps(outcome.reason)},'
        f'"target":{target},"entries":{outcome.entries},"inodes_freed":{outcome.inodes_freed},'
        f'"bytes_in":{outcome.bytes_in},"bytes_out":{outcome.bytes_out},"sha256":"{outcome.sha256}",'
        f'"milliseconds":{round(outcome.milliseconds, 3)!r},"settled":"{outcome.settled}","notes":[],"fault":null}}\n'
    )


def with_outcomes(result: Result, outcomes: Sequence[Outcome], keep: bool) -> Result:
    """The result with outcomes that were not the engine's: sessions it was not given."""
    tally = Tally(result.verb, result.engine, keep)
    tally.add(outcomes)
    reasons = {action: Counter(found) for action, found in result.reasons.items()}
    for action, found in tally.reasons.items():
        reasons.setdefault(action, Counter()).update(found)
    return replace(
        result,
        counts=dict(Counter(result.counts) + tally.counts),
        reasons={action: dict(found) for action, found in reasons.items()},
        problems=result.problems + tuple(tally.problems),
        outcomes=result.outcomes + tuple(tally.outcomes),
    )


_ACTION, _REASON, _SETTLED = attrgetter("action"), attrgetter("reason"), attrgetter("settled")
_ENTRIES, _INODES_FREED = attrgetter("entries"), attrgetter("inodes_freed")
_BYTES_IN, _BYTES_OUT = attrgetter("bytes_in"), attrgetter("bytes_out")


class Tally:
    """Adds outcomes up to a `Result`."""

    def __init__(self, verb: str, engine: str, keep: bool) -> None:
        self.verb, self.engine, self.keep = verb, engine, keep
        self.counts: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self.reasons: dict[str, Counter[str]] = {}
        self.entries = self.inodes_freed = self.bytes_in = self.bytes_out = 0
        self.problems: list[Outcome] = []
        self.outcomes: list[Outcome] = []
        self.notes: list[str] = []
        self.began = time.monotonic()

    def add(self, outcomes: Sequence[Outcome]) -> None:
        if self.keep:
            self.outcomes.extend(outcomes)
        # Column by column: while the workers work, this takes time from them.
        self.counts.update(map(_ACTION, outcomes))
        self.settled.update(filter(None, map(_SETTLED, outcomes)))
        self.entries += sum(map(_ENTRIES, outcomes))
        self.inodes_freed += sum(map(_INODES_FREED, outcomes))
        self.bytes_in += sum(map(_BYTES_IN, outcomes))
        self.bytes_out += sum(map(_BYTES_OUT, outcomes))
        for outcome in filter(_REASON, outcomes):
            self.note_reason(outcome.action, outcome.reason)
        self.problems += [outcome for outcome in outcomes if outcome.action in PROBLEMS or outcome.fault is not None]

    def note_reason(self, action: str, reason: str, number: int = 1) -> None:
        self.reasons.setdefault(action, Counter())[reason] += number

    def result(self, *, faults: tuple[Fault, ...] = (), stopped: str = "", left: int = 0) -> Result:
        """The sum so far."""
        undone = left + self.counts["cancelled"]
        return Result(
            verb=self.verb,
            engine=self.engine,
            counts=dict(self.counts),
            reasons={action: dict(reasons) for action, reasons in self.reasons.items()},
            entries=self.entries,
            inodes_freed=self.inodes_freed,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            seconds=time.monotonic() - self.began,
            settled=dict(self.settled),
            problems=tuple(self.problems),
            outcomes=tuple(self.outcomes),
            notes=tuple(self.notes),
            faults=faults,
            stopped=stopped,
            left=undone,
        )
