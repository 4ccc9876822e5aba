"""drill: does what is in the archives really come back? Random ones are restored into scratch and compared.

For each: 1. Copy the archive into a fresh scratch directory, so that it is read once and never touched. 2. Restore the
copy; its stream has to have the digest of its seal. 3. Let the engine compare the restored tree with the copy, as it
does with any session that has an archive beside it: every name, mode, owner, time, link, attribute and byte. 4. Take
the scratch directory away.

What cannot be compared so (owners that only root can give, no seal, somebody else's tar) is packed by the engine, and
the members of the two archives are compared; the outcome's reason says so.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from runark.archive.archives import find_archives
from runark.archive.control import Control, drive
from runark.archive.filters import Filters
from runark.archive.leftovers import archived_name
from runark.archive.result import Result, Tally
from runark.archive.scratch import Scratch, scratch_place
from runark.engine import load
from runark.engine.protocol import (
    FORMATS,
    ArchiveJob,
    ArchiveOptions,
    Engine,
    Fault,
    Limits,
    Member,
    Outcome,
    Progress,
    RestoreJob,
    RestoreOptions,
    Seal,
    Task,
)
from runark.errors import InvalidArgument, RunarkError
from runark.names import PathLike, escape

__all__ = ["drill"]

_NO_RIGHT = (errno.EPERM, errno.EINVAL)
_MEMBERS_ONLY = "names, kinds, modes, sizes, times and links compared"


def drill(
    *paths: PathLike,
    number: int,
    scratch: PathLike | None = None,
    seed: int | None = None,
    filters: Filters | None = None,
    layouts: Sequence[str] = (),
    config: PathLike | None = None,
    limits: Limits | None = None,
    keep_outcomes: bool = False,
    jobs: int | None = None,
    engine: str = "auto",
    control: Control | None = None,
) -> Result:
    """Restore `number` random archives into scratch, one after the other, compare, and take the scratch away again.

    paths    archives, or directories searched for archived sessions at any depth; nothing in them is changed
    number   how many; all of them if there are fewer
    scratch  the directory to make the scratch directory in, not among the sessions; without, the one for temporary
             files. It has to have room for the largest session
    seed     the same seed takes the same archives of the same ones; without, others each time
    jobs     workers for the search

    The result counts `sound` (restored, and equal to an archive that agrees with its seal), `unsealed` (restored and
    equal, but the archive has no seal), `damaged`, `unreadable`, `failed` (no room, or scratch could not be written);
    the last three are its problems.

    Raises `SourceMissing`, `NotADirectory`, `UnsafePath`, `InvalidArgument` for paths and options that cannot be used.
    """
    if number < 1:
        raise InvalidArgument(f"drill: {number} archives are none; give 1 or more")
    control = control or Control()
    found = find_archives(
        paths, filters=filters or Filters(), layouts=layouts, config=config, jobs=jobs, engine=engine, control=control
    )
    place = scratch_place(scratch, found)
    worker = load(engine)
    chosen = random.Random(seed).sample(found.paths, min(number, len(found.paths)))
    tally = Tally("drill", worker.name, keep_outcomes)
    control.begin("drill", len(chosen))
    for path in chosen:
        if control.stopped:
            break
        begun = time.perf_counter()
        outcome = _Trial(path, worker, limits or Limits(), control).run(place)._replace(path=path, target=b"")
        outcome = outcome._replace(milliseconds=(time.perf_counter() - begun) * 1000)
        tally.add([outcome])
        control.outcomes([outcome])
        control.progress(Progress(sum(tally.counts.values()), len(chosen), tally.bytes_in, tally.entries))
    left = len(chosen) - sum(tally.counts.values())
    return tally.result(faults=found.faults, stopped=control.stopped, left=left)


class _Trial(NamedTuple):
    """One archive's."""

    path: bytes
    engine: Engine
    limits: Limits
    control: Control

    def run(self, place: bytes) -> Outcome:
        name = archived_name(os.path.basename(self.path))
        if name is None:
            reason = "by its name this is no archive (*.tar.gz, *.tar.zst, *.tar.xz, *.tar)"
            return Outcome(self.path, "unreadable", reason)
        try:
            size = os.lstat(self.path).st_size
            seal = self.engine.seals([self.path], 1)[0]
        except OSError as error:
            return _unreadable(self.path, error)
        try:
            with Scratch(place) as scratch:
                known = seal if isinstance(seal, Seal) else None  # a fault will show again when the copy is read
                lack = scratch.lack(known, size)
                if lack:
                    return Outcome(self.path, "failed", lack)
                try:
                    copy = scratch.copy(self.path, self.control)
                except OSError as error:
                    if error.filename == self.path or error.errno == errno.EIO:
                        return _unreadable(self.path, error)
                    raise
                if self.control.stopped:
                    return Outcome(self.path, "cancelled")
                return self._compare(copy, os.path.join(scratch.path, name), sealed=known is not None)
        except OSError as error:
            fault = Fault("write", place, error.errno or 0, error.strerror or str(error))
            return Outcome(self.path, "failed", f"scratch: {fault.message}", fault=fault)

    def _compare(self, copy: bytes, tree: bytes, *, sealed: bool) -> Outcome:
        restored = self._restore(copy, tree)
        if restored.action != "restored":
            fault = restored.fault
            return restored._replace(fault=None if fault is None else replace(fault, path=self.path))
        sound = restored._replace(action="sound" if sealed else "unsealed", reason="", notes=())
        before = os.lstat(copy).st_ino
        kind = next(name for name in FORMATS if copy.endswith(b"." + name.encode()))
        again = self._work(self.engine.archive([ArchiveJob(tree)], ArchiveOptions(kind, jobs=1, keep_source=True)))
        if again.action == "cancelled":
            return restored._replace(action="cancelled", notes=())
        if again.action != "kept":
            return restored._replace(action="failed", reason=f"restored, but not compared: {again.reason}", notes=())
        if os.lstat(copy).st_ino == before:
            return sound
        # The engine has found a difference, moved the copy aside and packed the tree anew.
        less = "; ".join(note for note in restored.notes)
        try:
            wanted, got = (self.engine.members(path, self.limits) for path in (self.path, copy))
        except RunarkError as error:
            return restored._replace(action="failed", reason=f"restored, but not compared: {error}", notes=())
        top = os.path.basename(tree)
        renamed = sealed and wanted[0].path != top
        difference = _difference(_below_top(wanted, wanted[0].path if sealed else top), _below_top(got, top))
        if not difference and (less or renamed or not sealed):
            why = less or ("renamed since it was packed" if renamed else "no seal")
            return sound._replace(reason=f"{why}; {_MEMBERS_ONLY}")
        told = difference or "; ".join(again.notes)
        return restored._replace(action="damaged", reason=f"what was restored differs: {told}", notes=())

    def _restore(self, copy: bytes, tree: bytes) -> Outcome:
        """With all that this user may restore."""
        for same_owner in (True, False):
            options = RestoreOptions(jobs=1, same_owner=same_owner, special_modes=True, limits=self.limits)
            restored = self._work(self.engine.restore([RestoreJob(copy, tree)], options))
            if restored.fault is None or restored.fault.errno not in _NO_RIGHT:
                break
        return restored

    def _work(self, task: Task) -> Outcome:
        found: list[Outcome] = []
        drive(task, _Quiet(self.control), found.extend, Progress(0, 0, 0, 0))
        return found[0]


class _Quiet(Control):
    """Stops with another control, and tells nobody anything."""

    def __init__(self, outer: Control) -> None:
        super().__init__()
        self._outer = outer

    @property
    def stopped(self) -> str:
        return self._outer.stopped

    @property
    def stopping(self) -> Literal["", "gently", "now"]:
        return self._outer.stopping


def _unreadable(path: bytes, error: OSError) -> Outcome:
    fault = Fault("read", path, error.errno or 0, error.strerror or str(error))
    return Outcome(path, "unreadable", fault.message, fault=fault)


def _below_top(members: Sequence[Member], top: bytes) -> dict[bytes, Member]:
    """The members by their paths below the directory `top`, links as well; as they are if some lie outside of it."""
    inside = top + b"/"
    if all(member.path == top or member.path.startswith(inside) for member in members):
        cut = len(inside)
        members = [
            member._replace(
                path=member.path[cut:], link=member.link[cut:] if member.kind == "hardlink" else member.link
            )
            for member in members
        ]
    return {member.path: member for member in members}


def _difference(wanted: dict[bytes, Member], got: dict[bytes, Member]) -> str:
    """Empty, or what is not as in the archive, owners apart. Directories that an archive only implies are no
    difference, nor is which of the names of one file stands for it."""
    for path, member in wanted.items():
        name = escape(path) or "the session directory"
        other = got.get(path)
        if other is None:
            return f"{name} is missing"
        if _plain(member.kind) != _plain(other.kind):
            return f"{name} is a {other.kind}, in the archive a {member.kind}"
        if member.kind == "symlink" and member.link != other.link:
            return f"{name} leads elsewhere"
        if member.kind != "symlink" and member.mode != other.mode:
            return f"{name} has another mode"
        if member.mtime_ns != other.mtime_ns:
            return f"{name} has another mtime"
        if member.kind == other.kind == "file" and member.size != other.size:
            return f"{name} has another size"
    for path in got.keys() - wanted.keys():
        if got[path].kind != "dir":
            return f"{escape(path)} is not in the archive"
    return ""


def _plain(kind: str) -> str:
    return "file" if kind == "hardlink" else kind
