"""The native module: what the Rust engine looks like to Python.

Plain values only; `runark.engine.native` turns them into those of `runark.engine.protocol`, where each is described.
A fault is `(op, path, errno, message)`; limits are the fields of `Limits` in order.
"""

from collections.abc import Sequence
from typing import final

__all__ = [
    "ScanTask",
    "Task",
    "__version__",
    "archive",
    "debug",
    "discard",
    "members",
    "restore",
    "scan",
    "seals",
    "verify",
]

__version__: str
debug: bool
"""The module was built without optimisation: fine for tests, many times slower than it should be."""

_Fault = tuple[str, bytes, int, str]
_Limits = tuple[int, int, int, int, int, int]
_Outcome = tuple[bytes, str, str, bytes, int, int, int, int, str, float, str, tuple[str, ...], _Fault | None]
_Progress = tuple[int, int, int, int, int]

@final
class Task:
    """Archiving, restoring, verifying or discarding under way; dropping it cancels and waits."""

    def poll(self, timeout: float) -> list[_Outcome] | None:
        """Wait up to `timeout` seconds for outcomes, the interpreter released; None at the end."""

    def cancel(self) -> None: ...
    def drain(self) -> None: ...
    def use(self, workers: int) -> None: ...
    def progress(self) -> _Progress: ...

@final
class ScanTask:
    """A scan under way."""

    def poll(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; True when the scan has ended."""

    def result(
        self,
    ) -> tuple[
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        tuple[_Fault, ...],
        int,
        int,
        dict[str, int],
    ]:
        """The fields of `ScanColumns` in order; waits for the end. Can be taken once."""

    def cancel(self) -> None: ...
    def progress(self) -> _Progress: ...

def scan(
    *,
    roots: list[bytes],
    rules: list[tuple[str, bytes, bytes | None, bytes | None]],
    workers: int,
    measure: bool,
    kinds: list[str],
    keep_skipped: bool,
    include: list[bytes],
    exclude: list[bytes],
    min_depth: int,
    max_depth: int | None,
    one_file_system: bool,
    changed_after_ns: int | None,
    changed_before_ns: int | None,
    older_than_ns: int | None,
    newer_than_ns: int | None,
    min_size: int | None,
    max_size: int | None,
    statuses: list[str],
    uid: int | None,
    gid: int | None,
    not_uid: int | None,
    not_gid: int | None,
) -> ScanTask:
    """Start a scan. ValueError for a pattern that does not compile."""

def archive(
    jobs: Sequence[tuple[bytes, Sequence[bytes], bool]],
    *,
    format: str,
    level: int | None,
    workers: int,
    keep_source: bool,
    verify: str,
    older_than_ns: int | None,
    reserve: bytes | None,
    sync: str,
    max_ops: float,
    max_bytes: float,
) -> Task:
    """Start archiving.

    ValueError for an unknown format, a level out of range, an unknown way to verify or sync, a rate that is none.
    """

def restore(
    jobs: list[tuple[bytes, bytes, list[bytes]]],
    *,
    workers: int,
    remove_archive: bool,
    same_owner: bool,
    special_modes: bool,
    limits: _Limits,
) -> Task: ...
def verify(paths: list[bytes], *, workers: int, limits: _Limits) -> Task: ...
def discard(jobs: list[tuple[bytes, int, int]], *, workers: int) -> Task: ...
def seals(paths: list[bytes], workers: int) -> list[tuple[str, int, int, int, int] | _Fault | None]:
    """For each path `(sha256, stream, entries, content, size)`, None without a seal, or the fault."""

def members(
    path: bytes, limits: _Limits
) -> list[tuple[bytes, str, int, int, int, bytes, bytes, int, int, bytes]] | _Fault:
    """The fields of `Member` for each member, or the fault that kept them from being read."""
