"""undo: bring archived sessions back, from the trash by a rename or else from their archives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runark.archive.audit import Audit, new_run, read_audit
from runark.archive.control import Control
from runark.archive.guard import check_root
from runark.archive.leftovers import archived_name
from runark.archive.restore import RestorePlan, plan_restore, restore
from runark.archive.result import Result, Tally, with_outcomes
from runark.archive.root import lock_roots
from runark.archive.trash import Lying, bring_back, lying
from runark.engine.protocol import Fault, Outcome
from runark.errors import InvalidArgument, OperationFailed
from runark.names import PathLike, escape, from_json_path, json_path, to_bytes

__all__ = ["UndoPlan", "plan_undo", "undo"]


@dataclass(frozen=True)
class UndoPlan:
    """What `undo` will do."""

    root: bytes
    trashed: tuple[Lying, ...]
    """In the trash: renamed back, the archive stays beside."""
    archived: RestorePlan | None
    """Only in archives: restored, the archive stays."""
    missing: tuple[bytes, ...]
    """Named, and neither in the trash nor archived."""

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "what": "undo-plan",
            "root": json_path(self.root),
            "trashed": [{"path": json_path(one.session), "run": one.run} for one in self.trashed],
            "archived": None if self.archived is None else self.archived.to_json(),
            "missing": [json_path(path) for path in self.missing],
        }


def plan_undo(root: PathLike, *names: PathLike, run: str | None = None, engine: str = "auto") -> UndoPlan:
    """Which sessions would come back, and from where. Nothing is changed.

    names   sessions: paths (from the root or from here), or the names of their directories
    run     or all that this run has archived, by the root's audit

    Raises `InvalidArgument` for neither or both, and for a run the audit does not know.
    """
    top = check_root(root, changing=True)
    if bool(names) == (run is not None):
        raise InvalidArgument("say what is to come back: names of sessions, or --run and the name of a run")
    in_trash: list[Lying] = []
    with contextlib.suppress(PermissionError):  # another user's trash: the archives are there all the same
        in_trash = sorted(lying(top), key=lambda one: one.run, reverse=True)
    wanted: dict[bytes, bytes | None] = {}
    missing: list[bytes] = []
    if run is not None:
        wanted = _of_run(top, run, in_trash)
    else:
        wanted, missing = _look(top, [to_bytes(name) for name in names], in_trash)
    trashed: dict[bytes, Lying] = {}
    for one in in_trash:
        if one.session in wanted and one.whole and (run is None or one.run == run):
            trashed.setdefault(one.session, one)
    archived = {
        path: archive
        for path, archive in wanted.items()
        if path not in trashed and archive is not None and os.path.lexists(archive)
    }
    missing += [path for path in wanted if path not in trashed and path not in archived]
    planned = plan_restore(*sorted(archived.values()), engine=engine) if archived else None
    return UndoPlan(top, tuple(trashed[path] for path in sorted(trashed)), planned, tuple(sorted(missing)))


def undo(todo: UndoPlan, *, engine: str = "auto", control: Control | None = None) -> Result:
    """Bring the sessions back: those in the trash first, then those in archives. The archives stay.

    A run of the next night would archive them again: a file `.keep` in a session keeps it.
    Raises `RootLocked`. What happens to a session is an outcome (`undone`, `restored`, `failed`, ...).
    """
    control = control or Control()
    tally = Tally("undo", engine, keep=True)
    with lock_roots((todo.root,)) as notes, Audit(todo.root, new_run(), "undo", engine) as audit:
        tally.notes.extend(notes)
        for one in todo.trashed:
            if control.stopped:
                break
            try:
                bring_back(todo.root, one)
                outcome = Outcome(one.session, "undone")
            except OperationFailed as error:
                outcome = Outcome(one.session, "failed", str(error), fault=Fault("rename", one.path, 0, str(error)))
            _take([outcome], audit, tally, control)
        for path in todo.missing:
            text = "neither in the trash nor archived"
            _take([Outcome(path, "failed", text, fault=Fault("stat", path, 0, text))], audit, tally, control)
        audit.end(tally.counts, control.stopped)
    result = tally.result(stopped=control.stopped)
    if todo.archived is None or control.stopped:
        return result
    root = os.geteuid() == 0  # what is not root's does not become root's by coming back
    restored = restore(todo.archived, same_owner=root, keep_outcomes=True, engine=engine, control=control)
    return with_outcomes(restored, result.outcomes, keep=True)


def _take(outcomes: Sequence[Outcome], audit: Audit, tally: Tally, control: Control) -> None:
    audit.add(outcomes)
    tally.add(outcomes)
    control.outcomes(outcomes)


def _of_run(root: bytes, run: str, in_trash: Sequence[Lying]) -> dict[bytes, bytes | None]:
    """Session -> archive, of all that a run has archived; those in the trash also if it could not write them down."""
    found: dict[bytes, bytes | None] = {one.session: None for one in in_trash if one.run == run}
    known = bool(found)
    for line in read_audit(root):
        if line.get("run") != run:
            continue
        known = True
        if line.get("event") in ("archived", "trashed"):
            archive = line.get("archive")
            path = os.path.join(root, from_json_path(line["path"]))
            found[path] = None if archive is None else os.path.join(root, from_json_path(archive))
    if not known:
        raise InvalidArgument(f"{escape(root)}: the audit knows no run {run!r}; see {escape(root)}/.runark/audit.jsonl")
    return found


def _look(
    root: bytes, names: Sequence[bytes], in_trash: Sequence[Lying]
) -> tuple[dict[bytes, bytes | None], list[bytes]]:
    """Sessions of these names, or at these paths, by the trash and by the audit; else archives at these paths.

    Session -> archive, and the names that are none's.
    """
    called: dict[bytes, set[bytes]] = {}
    for name in names:
        for text in (name, os.path.join(root, name), os.path.abspath(name)):
            called.setdefault(text, set()).add(name)
    found: dict[bytes, bytes | None] = {}
    known: set[bytes] = set()

    def note(path: bytes, archive: bytes | None) -> None:
        for text in (path, os.path.basename(path)):
            if text in called:
                found[path] = archive
                known.update(called[text])

    for one in in_trash:
        note(one.session, None)
    for line in read_audit(root):
        if line.get("event") in ("archived", "trashed") and line.get("archive") is not None:
            note(os.path.join(root, from_json_path(line["path"])), os.path.join(root, from_json_path(line["archive"])))
    for name in names:
        for path in (os.path.join(root, name), os.path.abspath(name)):
            session = archived_name(os.path.basename(path))
            if name not in known and session is not None and os.path.isfile(path):
                found[os.path.join(os.path.dirname(path), session)] = path
                known.add(name)
    return found, [name for name in names if name not in known]
