"""The engine in pure Python: standard library only, worker processes for parallel work.

It is also the readable specification of what the native engine does: one file a stage, under the same names, and the
pages `docs/archive-format.md` and `docs/durability.md` are what it implements.
"""

from __future__ import annotations

from collections.abc import Sequence

from runark.engine.protocol import (
    ArchiveJob,
    ArchiveOptions,
    DiscardJob,
    Fault,
    Limits,
    Member,
    RestoreJob,
    RestoreOptions,
    ScanSpec,
    ScanTask,
    Seal,
    Task,
    VerifyOptions,
)
from runark.errors import InvalidArgument

__all__ = ["PureEngine"]


class PureEngine:
    """`protocol.Engine` in Python. Stages are imported when they are first used."""

    @property
    def name(self) -> str:
        return "pure"

    def scan(self, spec: ScanSpec) -> ScanTask:
        """Begin a scan. Raises `InvalidArgument` for a pattern that does not compile."""
        from runark.engine.pure.scan import PureScan

        return PureScan(spec)

    def archive(self, jobs: Sequence[ArchiveJob], options: ArchiveOptions) -> Task:
        """Begin archiving. Raises `InvalidArgument`, `FormatUnavailable`."""
        from runark.engine.pure.codec import check_format
        from runark.engine.pure.task import PureTask

        level = check_format(options.format, options.level)
        _check(options.verify, ("hash", "compare"), "verify")
        _check(options.sync, ("auto", "fsync", "syncfs"), "sync")
        for what, rate in (("max_ops", options.max_ops), ("max_bytes", options.max_bytes)):
            if not 0 <= rate < float("inf"):
                raise InvalidArgument(f"{what} is {rate}; give a number above 0, or 0 for no limit")
        return PureTask("archive", jobs, options, level, _workers(options.jobs), _archive_path)

    def restore(self, jobs: Sequence[RestoreJob], options: RestoreOptions) -> Task:
        """Begin restoring. Raises `InvalidArgument`."""
        from runark.engine.pure.task import PureTask

        return PureTask("restore", jobs, options, 0, _workers(options.jobs), _restore_path)

    def verify(self, paths: Sequence[bytes], options: VerifyOptions) -> Task:
        """Begin verifying. Raises `InvalidArgument`."""
        from runark.engine.pure.task import PureTask

        return PureTask("verify", paths, options, 0, _workers(options.jobs), _same_path)

    def discard(self, jobs: Sequence[DiscardJob], workers: int) -> Task:
        """Begin discarding. Raises `InvalidArgument`."""
        from runark.engine.pure.task import PureTask

        return PureTask("discard", jobs, None, 0, _workers(workers), _discard_path)

    def seals(self, paths: Sequence[bytes], jobs: int) -> list[Seal | Fault | None]:
        """For each archive its seal, None without one, or the fault that kept it from being read."""
        from runark.engine.pure.list import seals

        return seals(paths, _workers(jobs))

    def members(self, path: bytes, limits: Limits) -> list[Member]:
        """The members in order. Raises `ArchiveDamaged`, `SourceMissing`, `OSError`, `FormatUnavailable`."""
        from runark.engine.pure.list import members

        return members(path, limits)


def _workers(jobs: int) -> int:
    if jobs < 1:
        raise InvalidArgument(f"jobs is {jobs}; it must be at least 1")
    return jobs


def _check(value: str, known: tuple[str, ...], what: str) -> None:
    if value not in known:
        raise InvalidArgument(f"unknown value '{value}' for {what}; known are {', '.join(known)}")


def _archive_path(job: ArchiveJob) -> bytes:
    return job.path


def _restore_path(job: RestoreJob) -> bytes:
    return job.archive


def _discard_path(job: DiscardJob) -> bytes:
    return job.path


def _same_path(path: bytes) -> bytes:
    return path
