"""Caps against the accident everyone remembers: a housekeeping script that removes far more than anybody meant.

They are looked at when the plan is made and before anything is touched. What is too much is not cut down to size: the
run refuses, and a person looks.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from runark.archive.filters import Filters
from runark.archive.plan import Plan, plan
from runark.errors import CapReached, InvalidArgument, UnsafePath
from runark.names import PathLike, escape

__all__ = ["Caps", "check_caps", "check_outside", "check_place", "parse_growth"]

_FEW = 100
"""So many candidates are never called a jump: a quiet week may have had none."""
_LIKE_SESSIONS = ("archive", "tombstone", "part", "staging", "aside")
_STATES = (b"RUNNING", b"FINISHED", b"FINISHED_SUCCESS", b"FINISHED_ERROR")


@dataclass(frozen=True)
class Caps:
    """What is too much. None: no cap."""

    remove: int | None = None
    """Sessions that one run may remove."""
    percent: float | None = None
    """Of the live sessions of a root, in percent."""
    growth: float | None = 3.0
    """Candidates, as a multiple of those of the last run (beyond a hundred)."""

    def check(self) -> None:
        """Raises `InvalidArgument` for values that make no sense."""
        if self.remove is not None and self.remove < 0:
            raise InvalidArgument(f"max-remove is {self.remove}; give 0 or more")
        if self.percent is not None and not 0 <= self.percent <= 100:
            raise InvalidArgument(f"max-remove-percent is {self.percent:g}; give 0 to 100")
        if self.growth is not None and not self.growth >= 1:
            raise InvalidArgument(f"max-growth is {self.growth:g}; give 1 or more, or none")


def parse_growth(text: str) -> float | None:
    """`--max-growth`: a number of times, or `none`. Raises `InvalidArgument`."""
    if text.strip().lower() == "none":
        return None
    try:
        growth = float(text)
    except ValueError:
        raise InvalidArgument(f"--max-growth: {text!r} is neither a number nor none") from None
    Caps(growth=growth).check()
    return growth


def check_outside(root: bytes, layouts: Sequence[str], config: PathLike | None, engine: str) -> None:
    """Raises `UnsafePath` for a root that is a session itself: the lock and the audit would lie in it."""
    found = plan(root, filters=Filters(max_depth=0), layouts=layouts, config=config, measure=False, engine=engine)
    if any(kind == 0 for kind in found.scan.columns.kind):
        raise UnsafePath(f"{escape(root)} is a session itself; name the directory that holds the sessions")


def check_caps(plan: Plan, caps: Caps, last: int | None) -> None:
    """Raises `CapReached` if the plan is too much. `last`: candidates of the last run, None if there was none."""
    where = escape(plan.roots[0])
    number = len(plan.jobs)
    if caps.remove is not None and number > caps.remove:
        raise CapReached(
            f"{where}: {number:,} sessions would be removed, --max-remove is {caps.remove:,}; no session was touched."
            " Look at the plan, then raise the cap or narrow the filters"
        )
    live = sum(kind == 0 for kind in plan.scan.columns.kind)
    going = sum(row >= 0 for row in plan.jobs.rows)  # not those of which a killed run has left only a tombstone
    if caps.percent is not None and going > live * caps.percent / 100:
        raise CapReached(
            f"{where}: {going:,} of {live:,} live sessions would be removed, --max-remove-percent is"
            f" {caps.percent:g}; no session was touched. Look at the plan, then raise the cap or narrow the filters"
        )
    candidates = number + plan.left
    if caps.growth is not None and last is not None and candidates > max(last, _FEW) * caps.growth:
        raise CapReached(
            f"{where}: {candidates:,} candidates, {last:,} at the last run; more than {caps.growth:g} times as many"
            " (--max-growth); no session was touched. Look at the plan, then allow it with --max-growth none"
        )


def check_place(plan: Plan, root: bytes, allow_mount_point: bool) -> None:
    """Raises `UnsafePath` for a root on which no run without a person beside it should work."""
    if os.path.ismount(root) and not allow_mount_point:
        raise UnsafePath(
            f"{escape(root)} is a mount point; name the directory below it that holds the sessions,"
            " or allow it with --allow-mount-point"
        )
    if any(kind == 0 for kind in plan.scan.columns.kind) or any(plan.found.get(kind) for kind in _LIKE_SESSIONS):
        return
    if sum(plan.skipped.values()) or any(os.path.isdir(os.path.join(root, name)) for name in _STATES):
        return
    raise UnsafePath(
        f"{escape(root)} holds neither sessions nor archives, nor RUNNING or FINISHED directories; is it the right one,"
        " and mounted?"
    )
