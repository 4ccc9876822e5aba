"""The cut-offs of a report: the ages at which its numbers are exact.

Hours up to two days, days up to three months, weeks up to two years, then months. What lies between two of them is
counted with the younger one, so nothing is interpolated. The age that was asked for is one of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from runark.archive.timespec import Age, parse_age

__all__ = ["Cutoff", "Cutoffs", "cutoffs"]

_AGES: tuple[str, ...] = (
    *(f"{hours}h" for hours in (1, 2, 3, 6, 12, 18)),
    *(f"{days}d" for days in range(1, 91)),
    *(f"{days}d" for days in range(97, 731, 7)),
    *(f"{days}d" for days in range(760, 7301, 30)),
)


class Cutoff(NamedTuple):
    """An age as `--older-than` takes it, and the time it means: nanoseconds since 1970. The first one is no age and
    no time: everything is older."""

    age: str
    before_ns: int | None


class Cutoffs(Sequence[Cutoff]):
    """From no cut-off to the oldest."""

    def __init__(self, found: Sequence[Cutoff]) -> None:
        self._found = tuple(found)
        self._keys = [-cutoff.before_ns for cutoff in found if cutoff.before_ns is not None]

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: int) -> Cutoff:  # type: ignore[override] # no slices are asked for
        return self._found[index]

    def reached(self, newest_ns: int) -> int:
        """The index of the last cut-off at which a session with this newest change is old enough."""
        return bisect_left(self._keys, -newest_ns)


def cutoffs(now_ns: int, oldest_ns: int, wanted: Age | None) -> tuple[Cutoffs, int]:
    """The cut-offs up to the first that no session reaches, and the index of `wanted` among them (0: none).

    oldest_ns   the newest change of the session that has not changed for the longest time
    """
    found = [Cutoff("", None)]
    for age in _AGES:
        before = parse_age(age, now_ns)
        found.append(Cutoff(age, before))
        if before <= oldest_ns:
            break
    if wanted is None:
        return Cutoffs(found), 0
    before = parse_age(wanted, now_ns, "--older-than")
    at = next((i for i, cutoff in enumerate(found) if cutoff.before_ns is not None and cutoff.before_ns <= before), -1)
    if at >= 0 and found[at].before_ns == before:
        found[at] = Cutoff(_text(wanted, before), before)
        return Cutoffs(found), at
    at = len(found) if at < 0 else at
    found.insert(at, Cutoff(_text(wanted, before), before))
    return Cutoffs(found), at


def _text(age: Age, before_ns: int) -> str:
    """As `--older-than` takes it."""
    return age.strip() if isinstance(age, str) else f"@{before_ns // 10**9}.{before_ns % 10**9:09d}"
