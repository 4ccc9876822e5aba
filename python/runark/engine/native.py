"""The native engine: `runark._native` behind the protocol.

Converts values and nothing else. Importing it raises ImportError where the module was not built, which
`runark.engine.load` turns into the pure engine or an `EngineUnavailable`.
"""

from __future__ import annotations

import dataclasses
import errno
import warnings
from collections.abc import Sequence

from runark import _native
from runark.engine.protocol import (
    ArchiveJob,
    ArchiveOptions,
    DiscardJob,
    Fault,
    Limits,
    Member,
    Outcome,
    Progress,
    RestoreJob,
    RestoreOptions,
    ScanColumns,
    ScanSpec,
    Seal,
    VerifyOptions,
)
from runark.errors import ArchiveDamaged, InvalidArgument, SourceMissing

__all__ = ["NativeEngine"]

if _native.debug:
    warnings.warn(
        "runark._native is a debug build: right, but many times slower; build it with --release",
        RuntimeWarning,
        stacklevel=2,
    )


class NativeTask:
    """A task of the Rust engine."""

    def __init__(self, task: _native.Task) -> None:
        self._task = task

    def poll(self, timeout: float) -> list[Outcome] | None:
        outcomes = self._task.poll(timeout)
        if outcomes is None:
            return None
        make = Outcome._make
        return [make(row) if row[12] is None else Outcome(*row[:12], Fault(*row[12])) for row in outcomes]

    def cancel(self) -> None:
        self._task.cancel()

    def drain(self) -> None:
        self._task.drain()

    def use(self, workers: int) -> None:
        self._task.use(max(1, workers))

    def progress(self) -> Progress:
        return Progress(*self._task.progress())


class NativeScanTask:
    """A scan of the Rust engine."""

    def __init__(self, task: _native.ScanTask) -> None:
        self._task = task
        self._columns: ScanColumns | None = None

    def poll(self, timeout: float) -> bool:
        return self._task.poll(timeout)

    def result(self) -> ScanColumns:
        if self._columns is None:
            found = self._task.result()
            self._columns = ScanColumns(
                *found[:11], tuple(Fault(*fault) for fault in found[11]), found[12], found[13], found[14]
            )
        return self._columns

    def cancel(self) -> None:
        self._task.cancel()

    def progress(self) -> Progress:
        return Progress(*self._task.progress())


class NativeEngine:
    """Threads, raw directory reads, libdeflate. See `runark.engine.protocol.Engine` for the verbs."""

    @property
    def name(self) -> str:
        return "native"

    def scan(self, spec: ScanSpec) -> NativeScanTask:
        fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
        workers = fields.pop("jobs")
        lists = {key: list(value) for key, value in fields.items() if isinstance(value, tuple)}
        lists["rules"] = [tuple(rule) for rule in spec.rules]
        try:
            return NativeScanTask(_native.scan(workers=workers, **{**fields, **lists}))
        except ValueError as error:
            raise InvalidArgument(str(error)) from None

    def archive(self, jobs: Sequence[ArchiveJob], options: ArchiveOptions) -> NativeTask:
        try:
            task = _native.archive(
                list(jobs),
                format=options.format,
                level=options.level,
                workers=options.jobs,
                keep_source=options.keep_source,
                verify=options.verify,
                older_than_ns=options.older_than_ns,
                reserve=options.reserve,
                sync=options.sync,
                max_ops=options.max_ops,
                max_bytes=options.max_bytes,
            )
        except ValueError as error:
            raise InvalidArgument(str(error)) from None
        return NativeTask(task)

    def restore(self, jobs: Sequence[RestoreJob], options: RestoreOptions) -> NativeTask:
        task = _native.restore(
            [(job.archive, job.dest, list(job.leftovers)) for job in jobs],
            workers=options.jobs,
            remove_archive=options.remove_archive,
            same_owner=options.same_owner,
            special_modes=options.special_modes,
            limits=_limits(options.limits),
        )
        return NativeTask(task)

    def verify(self, paths: Sequence[bytes], options: VerifyOptions) -> NativeTask:
        return NativeTask(_native.verify(list(paths), workers=options.jobs, limits=_limits(options.limits)))

    def discard(self, jobs: Sequence[DiscardJob], workers: int) -> NativeTask:
        return NativeTask(_native.discard([(job.path, job.device, job.inode) for job in jobs], workers=workers))

    def seals(self, paths: Sequence[bytes], jobs: int) -> list[Seal | Fault | None]:
        found: list[Seal | Fault | None] = []
        for row in _native.seals(list(paths), jobs):
            if row is None:
                found.append(None)
            elif len(row) == 5:
                found.append(Seal(*row))
            else:
                found.append(Fault(*row))
        return found

    def members(self, path: bytes, limits: Limits) -> list[Member]:
        found = _native.members(path, _limits(limits))
        if isinstance(found, list):
            return [Member(*row) for row in found]
        fault = Fault(*found)
        text = f"{fault.op} {path.decode(errors='backslashreplace')}: {fault.message}"
        raise SourceMissing(text) if fault.errno == errno.ENOENT else ArchiveDamaged(text)


def _limits(limits: Limits) -> tuple[int, int, int, int, int, int]:
    return (
        limits.max_entries,
        limits.max_path,
        limits.max_depth,
        limits.max_metadata,
        limits.max_bytes,
        limits.max_ratio,
    )
