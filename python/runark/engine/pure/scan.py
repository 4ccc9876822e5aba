"""The finder: walks roots, recognises sessions (and what belongs to them) by name, filters and measures them.

Order for each directory: list it, tell directories from files by the type in the listing (no `stat`), then look at each
name. A session is a leaf: it is only entered to be measured. Everything is done relative to handles; symlinks are never
followed (a root may be one).

A session's verdict is looked for in this order: what costs nothing (where it lies), its own record, its entries. What
cannot be listed or examined is a fault and never stops the scan; what vanishes meanwhile is nothing.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import NamedTuple

from runark.engine.protocol import FORMATS, STATUSES, VERDICTS, Fault, Progress, ScanColumns, ScanSpec
from runark.engine.pure.measure import Measured, exists, measure, open_below, vanished
from runark.engine.pure.names import KIND, NO_ARCHIVE, OWN_DIRECTORY, STATUS, Names, Pattern, leftover, status_below
from runark.engine.pure.rows import Row, Rows
from runark.engine.pure.walk import encode_name
from runark.errors import InvalidArgument

__all__ = ["PureScan"]

_VERDICT = {name: number for number, name in enumerate(VERDICTS)}
_FILES = frozenset({KIND["archive"], KIND["part"], KIND["aside"]})
_ENDS = tuple("." + name for name in FORMATS)  # how names of archives end
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class _Directory(NamedTuple):
    """A directory that is listed, and what holds for its entries (those of a root have depth 1)."""

    fd: int
    path: bytes
    prefix: bytes
    below: bytes  # relative to the root's handle
    device: int
    depth: int
    status: int
    marked: bool
    rules: list[tuple[int, Pattern]]


class PureScan:
    """A `ScanTask`: the walk runs in one thread of this process."""

    def __init__(self, spec: ScanSpec) -> None:
        """Compiles all patterns. Raises `InvalidArgument`."""
        self._spec = spec
        self._names = Names(spec)
        for status in spec.statuses:
            if status not in STATUS:
                raise InvalidArgument(f"unknown status '{status}'; known are {', '.join(STATUSES)}")
        for kind in spec.kinds:
            if kind not in KIND:
                raise InvalidArgument(f"unknown kind '{kind}'; known are {', '.join(KIND)}")
        self._kinds = frozenset(KIND[kind] for kind in spec.kinds)
        self._files = bool(self._kinds & _FILES)
        self._statuses = frozenset(STATUS[name] for name in spec.statuses)
        bounds = (spec.older_than_ns, spec.newer_than_ns, spec.min_size, spec.max_size)
        self._walks = spec.measure or any(bound is not None for bound in bounds)
        self._rows = Rows()
        self._faults: list[Fault] = []
        self._skipped = dict.fromkeys(VERDICTS[1:], 0)
        self._directories = 0
        self._entries = 0
        self._stopped = False
        self._ended = threading.Event()
        self._columns: ScanColumns | None = None
        self._thread = threading.Thread(target=self._run, name="runark-scan", daemon=True)
        self._thread.start()

    def poll(self, timeout: float) -> bool:
        """See `protocol.ScanTask.poll`."""
        return self._ended.wait(max(0.0, timeout))

    def result(self) -> ScanColumns:
        """See `protocol.ScanTask.result`."""
        while not self._ended.wait(1.0):  # in steps: a wait without end could not be interrupted
            pass
        if self._columns is None:
            raise RuntimeError("the scan broke off because of a defect in it; the traceback is above")
        return self._columns

    def cancel(self) -> None:
        """See `protocol.ScanTask.cancel`."""
        self._stopped = True

    def progress(self) -> Progress:
        """See `protocol.ScanTask.progress`."""
        return Progress(len(self._rows), 0, 0, self._entries)

    def _run(self) -> None:
        try:
            for root in sorted(set(self._spec.roots)):
                self._root(root)
            skipped = {verdict: count for verdict, count in self._skipped.items() if count}
            self._columns = self._rows.columns(self._faults, self._directories, self._entries, skipped)
        finally:
            self._ended.set()

    def _is_stopped(self) -> bool:
        return self._stopped

    def _fault(self, op: str, path: bytes, cause: OSError) -> None:
        number = cause.errno or 0
        self._faults.append(Fault(op, path, number, os.strerror(number) if number else str(cause)))

    # ------------------------------------------------------------------------------------------------- walk

    def _root(self, root: bytes) -> None:
        parent, _, name = root.rpartition(b"/")
        parent = parent or b"/"
        try:
            # what is above a root is looked at only if the root may be a session or a leftover itself
            if self._names.is_telling(name) and self._root_row(parent, name):
                return
            fd = os.open(root, _ROOT)
        except OSError as cause:
            self._fault("open", root, cause)
            return
        if self._spec.max_depth == 0:
            os.close(fd)
            return
        top = self._listed(fd, root, b"", 1, status_below(STATUS["unknown"], name), False, name)
        try:
            self._walk(top)
        finally:
            os.close(fd)

    def _root_row(self, parent: bytes, name: bytes) -> bool:
        """Whether the root itself is a session or a leftover; then its row is made. Raises `OSError`."""
        fd = os.open(parent, _ROOT)
        try:
            above = self._listed(fd, parent, b"", 0, STATUS["unknown"], False, parent.rpartition(b"/")[2])
            if not _is_directory(name, fd):  # a link is entered, as it is what was asked for; but it is no session
                return False
            return self._told(above, name) is not False
        finally:
            os.close(fd)

    def _listed(
        self, fd: int, path: bytes, below: bytes, depth: int, status: int, marked: bool, name: bytes
    ) -> _Directory:
        prefix = path if path.endswith(b"/") else path + b"/"
        rules = self._names.rules_below(name)
        return _Directory(fd, path, prefix, below, os.fstat(fd).st_dev, depth, status, marked, rules)

    def _walk(self, top: _Directory) -> None:
        """List directory after directory, depth first; the handle of one that waits is opened when its turn comes."""
        waiting = self._directory(top)
        while waiting and not self._stopped:
            above, name = waiting.pop()
            below = above.below + b"/" + name if above.below else name
            path = above.prefix + name
            try:
                fd = open_below(top.fd, below)
            except OSError as cause:
                if not vanished(cause):
                    self._fault("open", path, cause)
                continue
            try:
                status = status_below(above.status, name)
                directory = self._listed(fd, path, below, above.depth + 1, status, above.marked, name)
                if not self._spec.one_file_system or directory.device == above.device:
                    waiting.extend(self._directory(directory))
            finally:
                os.close(fd)

    def _directory(self, directory: _Directory) -> list[tuple[_Directory, bytes]]:
        """Look at everything in a directory that is no session; the directories to enter."""
        fd = directory.fd
        if not directory.marked:
            try:
                directory = directory._replace(marked=exists(NO_ARCHIVE, fd))
            except OSError as cause:
                self._fault("stat", directory.prefix + NO_ARCHIVE, cause)
                return []
        self._directories += 1
        found: list[bytes] = []
        files: list[bytes] = []
        try:
            with os.scandir(fd) as listing:
                for entry in listing:
                    self._entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        found.append(encode_name(entry.name))
                    elif (
                        self._files
                        and (entry.name.endswith(_ENDS) or entry.name.startswith("."))
                        and entry.is_file(follow_symlinks=False)
                    ):
                        files.append(encode_name(entry.name))
                    if self._stopped:
                        break
        except OSError as cause:
            if not vanished(cause):
                self._fault("list", directory.path, cause)
        for name in files:
            self._file(directory, name)
        enter: list[tuple[_Directory, bytes]] = []
        goes_on = self._spec.max_depth is None or directory.depth < self._spec.max_depth
        for name in found:
            if self._stopped:
                break
            if name == OWN_DIRECTORY or self._names.excluded(name):
                continue
            if self._told(directory, name) is False and goes_on:
                enter.append((directory, name))
        enter.reverse()
        return enter

    # ---------------------------------------------------------------------------------------------- by name

    def _told(self, directory: _Directory, name: bytes) -> bool | None:
        """Make the row of a directory that is a session or a leftover.

        False: it is neither; None: that could not be told, and a fault says why.
        """
        # leftovers first, so that no layout, however wide, takes a half-removed session for a whole one
        left = leftover(name, directory=True) if name.startswith(b".") else None
        if left is not None:
            rule = _rule_of(directory, left[1])
            if rule is not None:
                self._leftover(directory, name, *left, rule)
                return True
        unclear = False
        for number, pattern in directory.rules:
            if pattern.name(name) is None:
                continue
            if pattern.marker is not None:
                marker = name + b"/" + pattern.marker
                try:
                    if not exists(marker, directory.fd):
                        continue
                except OSError as cause:
                    self._fault("stat", directory.prefix + marker, cause)
                    unclear = True
                    continue
            self._session(directory, name, number)
            return True
        return None if unclear else False

    def _wanted(self, directory: _Directory, kind: int, session: bytes) -> bool:
        """The filters on kind, depth and the session's name."""
        return (
            kind in self._kinds
            and directory.depth >= self._spec.min_depth
            and self._names.included(session)
            and not self._names.excluded(session)
        )

    def _file(self, directory: _Directory, name: bytes) -> None:
        """A file that may be an archive, a part file or an archive moved aside."""
        left = leftover(name, directory=False)
        if left is not None:
            rule = _rule_of(directory, left[1])
            if rule is not None:
                self._leftover(directory, name, *left, rule)

    def _leftover(self, directory: _Directory, name: bytes, kind: int, session: bytes, rule: int) -> None:
        """A row that is not a session."""
        if not self._wanted(directory, kind, session):
            return
        path = directory.prefix + name
        found = Measured()
        found.inodes = 1 if kind in _FILES else 0
        if self._spec.measure and kind in _FILES:
            try:
                status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            except OSError as cause:
                if vanished(cause):
                    return
                self._fault("stat", path, cause)
            else:
                found.inodes = 0
                found.own = status
                found.add(status)
        elif self._spec.measure:
            walked = self._measured(directory, name, heeds_mark=False)
            if walked is None:
                return
            found = walked
        mtime, uid = (found.own.st_mtime_ns, found.own.st_uid) if found.own is not None else (0, 0)
        sums = (found.newest, found.inodes, found.size, found.allocated)
        self._rows.add(path, Row(kind, directory.status, 0, rule, mtime, *sums, uid))

    # --------------------------------------------------------------------------------------------- sessions

    def _measured(self, directory: _Directory, name: bytes, *, heeds_mark: bool) -> Measured | None:
        found = measure(
            directory.fd,
            name,
            directory.prefix + name,
            directory.device,
            self._fault,
            heeds_mark=heeds_mark,
            stopped=self._is_stopped,
        )
        if found is not None and not found.marked:  # what is marked counts as not looked into
            self._directories += found.directories
            self._entries += found.entries
        return found

    def _session(self, directory: _Directory, name: bytes, rule: int) -> None:
        if not self._wanted(directory, KIND["session"], name):
            return
        judged = self._judge(directory, name)
        if judged is None:
            return
        verdict, own, found = judged
        if verdict != "selected":
            self._skipped[verdict] += 1
            if not self._spec.keep_skipped:
                return
        mtime, uid = (own.st_mtime_ns, own.st_uid) if own is not None else (0, 0)
        sums = (mtime, 0, 0, 0) if found is None else (found.newest, found.inodes, found.size, found.allocated)
        path, kind = directory.prefix + name, KIND["session"]
        self._rows.add(path, Row(kind, directory.status, _VERDICT[verdict], rule, mtime, *sums, uid))

    def _judge(self, directory: _Directory, name: bytes) -> tuple[str, os.stat_result | None, Measured | None] | None:
        """The verdict on a session, its own record and its sums, as far as they were taken; None if it vanished.

        A session's own `.noarchive` is seen where the session is gone through; elsewhere packing sees it.
        """
        verdict = self._by_place(directory) or self._by_status(directory)
        if verdict and not self._spec.keep_skipped:
            return verdict, None, None
        try:
            own = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        except OSError as cause:
            if vanished(cause):
                return None
            self._fault("stat", directory.prefix + name, cause)
            return verdict or "unreadable", None, None
        walks = not verdict and self._walks
        verdict = verdict or self._by_record(own, directory.device)
        if verdict or not walks:
            return verdict or "selected", own, None
        found = self._measured(directory, name, heeds_mark=True)
        if found is None:
            return None
        own = found.own or own
        if found.marked:
            return "marked", own, None
        verdict = self._by_entries(found)
        if not verdict:
            verdict = "device" if found.mounted else "unreadable" if found.unreadable else "selected"
        return verdict, own, found

    def _by_place(self, directory: _Directory) -> str:
        if directory.status == STATUS["running"] and directory.status not in self._statuses:
            return "running"
        return "marked" if directory.marked else ""

    def _by_status(self, directory: _Directory) -> str:
        return "status" if self._statuses and directory.status not in self._statuses else ""

    def _by_record(self, own: os.stat_result, device: int) -> str:
        spec = self._spec
        if (
            (spec.uid is not None and own.st_uid != spec.uid)
            or (spec.gid is not None and own.st_gid != spec.gid)
            or (spec.not_uid is not None and own.st_uid == spec.not_uid)
            or (spec.not_gid is not None and own.st_gid == spec.not_gid)
        ):
            return "owner"
        mtime = own.st_mtime_ns
        if (spec.changed_after_ns is not None and mtime <= spec.changed_after_ns) or (
            spec.changed_before_ns is not None and mtime >= spec.changed_before_ns
        ):
            return "mtime"
        if spec.older_than_ns is not None and mtime >= spec.older_than_ns:
            return "young"
        # a mount point cannot be renamed, so it cannot be archived; it is not gone through either
        return "device" if own.st_dev != device else ""

    def _by_entries(self, found: Measured) -> str:
        spec = self._spec
        if spec.older_than_ns is not None and found.newest >= spec.older_than_ns:
            return "young"
        if spec.newer_than_ns is not None and found.newest < spec.newer_than_ns:
            return "old"
        if (spec.min_size is not None and found.size < spec.min_size) or (
            spec.max_size is not None and found.size > spec.max_size
        ):
            return "size"
        return ""


def _rule_of(directory: _Directory, session: bytes) -> int | None:
    """The first rule that fits a session's name, where the directory itself is not there to look at."""
    for number, pattern in directory.rules:
        if pattern.name(session) is not None:
            return number
    return None


def _is_directory(name: bytes, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
