"""nightly: what runs every night without anybody watching. One root after the other, each by itself:

1. Hold it. 2. Purge its trash. 3. Plan. 4. See whether that is a sane thing to do (`caps`). 5. Archive, within the
budget. 6. Restore some archives and compare (the drill). 7. Leave its state for the next run, and for metrics.

A root that cannot be worked on (locked, gone, too much) does not keep the others from their turn. What is left when the
time is over is found again by the next run; there is nothing else to be resumed.
"""

from __future__ import annotations

import json
import math
import os
import time
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from runark.archive.archive import MAX_FAILURES, archive, check_options
from runark.archive.audit import new_run
from runark.archive.caps import Caps, check_caps, check_outside, check_place
from runark.archive.control import Control
from runark.archive.drill import drill
from runark.archive.filters import Filters
from runark.archive.guard import check_root
from runark.archive.plan import Plan, plan
from runark.archive.purge import purge
from runark.archive.result import Result
from runark.archive.retention import Keep
from runark.archive.root import DIRECTORY, lock_roots
from runark.archive.trash import check_trash
from runark.archive.watch import Budget, Watch
from runark.archive.whole_file import write_whole
from runark.errors import CapReached, InvalidArgument, OperationFailed, RunarkError
from runark.names import PathLike, escape, json_path

__all__ = ["Night", "Policy", "RootNight", "nightly"]

SCHEMA = 1
_STATE = b"nightly.json"
_DAY = 86_400.0


@dataclass(frozen=True)
class Policy:
    """What is done with every root. See docs/nightly.md; each field is a flag of `runark nightly` and a key of
    `runark.yaml`."""

    filters: Filters = field(default_factory=Filters)
    layouts: tuple[str, ...] = ()
    config: bytes | None = None
    keep: Keep = field(default_factory=Keep)
    format: str = "tar.gz"
    level: int | None = None
    verify: Literal["hash", "compare"] = "hash"
    max_sessions: int | None = None
    max_bytes: int | None = None
    max_failures: int = MAX_FAILURES
    caps: Caps = field(default_factory=Caps)
    allow_mount_point: bool = False
    trash_days: float = 0
    max_ops: float = 0.0
    max_bytes_s: float = 0.0
    back_off: bool = True
    drill: int = 0
    scratch: bytes | None = None
    as_owner: bool = True
    jobs: int | None = None
    engine: str = "auto"

    def check(self) -> None:
        """Raises `InvalidArgument` for what can be seen without looking at a root."""
        check_options(self.format, self.level, self.jobs or 1, False, self.verify)
        self.caps.check()
        if self.drill < 0:
            raise InvalidArgument(f"drill is {self.drill}; give 0 (no drill) or more")
        if not self.trash_days >= 0 or math.isinf(self.trash_days):
            raise InvalidArgument(f"trash-days is {self.trash_days:g}; give 0 (no trash) or more")


@dataclass(frozen=True)
class RootNight:
    """What became of one root."""

    root: bytes
    plan: Plan | None = None
    archived: Result | None = None
    """None: only planned, or it did not come to that."""
    purged: Result | None = None
    drilled: Result | None = None
    error: RunarkError | None = None
    """Why nothing, or nothing more, was done."""
    notes: tuple[str, ...] = ()
    """About the lock."""

    @property
    def parts(self) -> tuple[Result, ...]:
        """What was done, in this order."""
        return tuple(part for part in (self.purged, self.archived, self.drilled) if part is not None)

    @property
    def ok(self) -> bool:
        return self.error is None and all(part.ok for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "root": json_path(self.root),
            "plan": None if self.plan is None else self.plan.head_json(),
            "archived": None if self.archived is None else self.archived.to_json(),
            "purged": None if self.purged is None else self.purged.to_json(),
            "drilled": None if self.drilled is None else self.drilled.to_json(),
            "error": None if self.error is None else {"kind": type(self.error).__name__, "message": str(self.error)},
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Night:
    """What one run has done."""

    run: str
    executed: bool
    roots: tuple[RootNight, ...]
    began: float
    """Seconds since 1970."""
    seconds: float
    stopped: str
    """Empty, or why it ended early: `interrupted`, `budget`, `terminated`, `STOP`, `lock`."""
    left: int
    """Candidates that were not worked on."""

    @property
    def ok(self) -> bool:
        return not self.stopped and all(root.ok for root in self.roots)

    def to_json(self) -> dict[str, Any]:
        """A document that `json.dumps` takes."""
        return {
            "schema": SCHEMA,
            "what": "nightly",
            "run": self.run,
            "executed": self.executed,
            "began": self.began,
            "seconds": round(self.seconds, 3),
            "stopped": self.stopped,
            "left": self.left,
            "roots": [root.to_json() for root in self.roots],
        }


def nightly(
    roots: Sequence[PathLike],
    policy: Policy | None = None,
    *,
    execute: bool = False,
    budget: Budget | None = None,
    control: Control | None = None,
) -> Night:
    """Work on each root by the policy; without `execute` only plan.

    Raises `InvalidArgument` for a policy that makes no sense. What is wrong with one root stands in its `error`.
    """
    policy = policy or Policy()
    policy.check()
    if not roots:
        raise InvalidArgument("no root given; name directories that hold sessions, or set roots in runark.yaml")
    control, budget = control or Control(), budget or Budget()
    began, clock, run = time.time(), time.monotonic(), new_run()
    done: list[RootNight] = []
    sessions, content, stopped = policy.max_sessions, policy.max_bytes, ""
    for root in roots:
        night = _Night(policy, execute, run, budget, control, sessions, content)
        done.append(night.work(root))
        stopped = stopped or night.stopped
        number, size = _used(done[-1])
        sessions = None if sessions is None else max(0, sessions - number)
        content = None if content is None else max(0, content - size)
        if night.stopped not in ("", "STOP", "lock"):  # file and lock are those of one root
            break
    left = sum(root.archived.left for root in done if root.archived is not None)
    return Night(run, execute, tuple(done), began, time.monotonic() - clock, stopped, left)


def _used(root: RootNight) -> tuple[int, int]:
    """Sessions and bytes of files that went, or would go, in this root."""
    if root.archived is not None:
        counts = root.archived.counts
        return counts.get("archived", 0) + counts.get("trashed", 0), root.archived.bytes_in
    return (len(root.plan.jobs), root.plan.sum("size")) if root.plan is not None and root.error is None else (0, 0)


class _Night:
    """The work on one root."""

    def __init__(
        self,
        policy: Policy,
        execute: bool,
        run: str,
        budget: Budget,
        control: Control,
        max_sessions: int | None,
        max_bytes: int | None,
    ) -> None:
        self.policy, self.execute, self.run, self.budget, self.control = policy, execute, run, budget, control
        self.max_sessions, self.max_bytes = max_sessions, max_bytes
        self.stopped = ""
        self.plan: Plan | None = None
        self.archived: Result | None = None
        self.purged: Result | None = None
        self.drilled: Result | None = None
        self.notes: tuple[str, ...] = ()

    def work(self, given: PathLike) -> RootNight:
        error: RunarkError | None = None
        root = os.fsencode(given)
        try:
            root = check_root(given, changing=True)
            check_outside(root, self.policy.layouts, self.policy.config, self.policy.engine)
            with ExitStack() as stack:
                watch = Watch(self.control, (root,), self.budget)
                if self.execute:
                    self.notes = stack.enter_context(lock_roots((root,), lambda: watch.stop("lock")))
                try:
                    self._steps(root, watch)
                finally:
                    self.stopped = watch.stopped
        except RunarkError as caught:
            error = caught
        except OSError as caught:
            error = OperationFailed(f"{escape(root)}: {caught.strerror or caught}")
        return RootNight(root, self.plan, self.archived, self.purged, self.drilled, error, self.notes)

    def _steps(self, root: bytes, watch: Watch) -> None:
        policy = self.policy
        if policy.trash_days:
            check_trash(root)
        if policy.trash_days and self.execute and not watch.stopped:
            before = time.time() - policy.trash_days * _DAY
            self.purged = purge(
                root,
                before,
                self.run,
                jobs=policy.jobs,
                max_ops=policy.max_ops,
                max_bytes_s=policy.max_bytes_s,
                back_off=policy.back_off,
                engine=policy.engine,
                control=watch,
            )
        if watch.stopped:
            return
        self.plan = todo = plan(
            root,
            filters=policy.filters,
            layouts=policy.layouts,
            config=policy.config,
            measure=self.max_bytes is not None or not self.execute,
            keep=policy.keep,
            max_sessions=self.max_sessions,
            max_bytes=self.max_bytes,
            jobs=policy.jobs,
            engine=policy.engine,
            control=watch,
        )
        if todo.scan.stopped:
            return
        if self.max_bytes != policy.max_bytes and todo.sum("size") > (self.max_bytes or 0):
            # A session larger than all that is allowed goes as the only one of the run, and others have gone.
            self.plan = todo = replace(todo, jobs=todo.jobs.only(array("q")), left=todo.left + len(todo.jobs))
        check_place(todo, root, policy.allow_mount_point)
        state = _read_state(root)
        check_caps(todo, policy.caps, state.get("candidates"))
        if not self.execute:
            return
        self.archived = archive(
            todo,
            format=policy.format,
            level=policy.level,
            verify=policy.verify,
            jobs=policy.jobs,
            max_failures=policy.max_failures,
            trash=policy.trash_days > 0,
            as_owner=policy.as_owner,
            max_ops=policy.max_ops,
            max_bytes_s=policy.max_bytes_s,
            back_off=policy.back_off,
            run=self.run,
            locked=True,
            control=watch,
        )
        if self.archived.stopped == "cap":
            raise CapReached(f"{escape(root)}: more failures than --max-failures allows; nothing further was removed")
        if policy.drill and not watch.stopped:
            self.drilled = drill(
                root,
                number=policy.drill,
                scratch=policy.scratch,
                layouts=policy.layouts,
                config=policy.config,
                engine=policy.engine,
                control=watch,
            )
        _write_state(root, {"run": self.run, "candidates": len(todo.jobs) + todo.left, "ended": int(time.time())})


def _read_state(root: bytes) -> dict[str, Any]:
    """What the last run left; nothing if there was none, or nobody can read it."""
    try:
        # Nothing a user may have put there, a link or a pipe, is to hold the run up.
        handle = os.open(os.path.join(root, DIRECTORY, _STATE), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as stream:
            state = json.loads(stream.read(1 << 16))
    except (OSError, ValueError, RecursionError):
        return {}
    candidates = state.get("candidates") if isinstance(state, dict) else None
    return state if isinstance(candidates, int) and candidates < 1 << 63 else {}


def _write_state(root: bytes, state: dict[str, Any]) -> None:
    path = os.path.join(root, DIRECTORY, _STATE)
    data = json.dumps({"schema": SCHEMA, **state}).encode() + b"\n"
    try:
        write_whole(path, lambda stream: stream.write(data))
    except OSError:
        # No room or no right in `.runark`: the cap on growth then has nothing to compare with.
        return
