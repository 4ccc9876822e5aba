"""The contract between policy (Python) and an engine (native or pure).

An engine is given batches of plain values and answers with batches of plain values. Paths are `bytes`, absolute,
without trailing slash; times are integers in nanoseconds since 1970; sizes are bytes. Nothing here depends on
the process: a job or an outcome may be sent to another one.

An engine never raises for one session of many: what went wrong is an `Outcome` or a `Fault`. It raises
`runark.errors.InvalidArgument` for options it cannot work with and `FormatUnavailable` for a missing codec,
before anything is touched.

Long work is a `Task`: the engine works in the background (threads or processes of its own) while the caller
polls. The caller's thread is never blocked longer than the time it gives to `poll`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

__all__ = [
    "ASIDE",
    "FORMATS",
    "KINDS",
    "STATUSES",
    "VERDICTS",
    "ArchiveJob",
    "ArchiveOptions",
    "DiscardJob",
    "Engine",
    "Fault",
    "Limits",
    "Member",
    "Outcome",
    "Progress",
    "RestoreJob",
    "RestoreOptions",
    "Rule",
    "ScanColumns",
    "ScanSpec",
    "ScanTask",
    "Seal",
    "Task",
    "VerifyOptions",
]

FORMATS: tuple[str, ...] = ("tar.gz", "tar.zst", "tar.xz", "tar")
"""Archive formats; also the suffix of the archive's name. Earlier wins where a name could be read twice."""

# ------------------------------------------------------------------------------------------------ scan

KINDS: tuple[str, ...] = ("session", "archive", "part", "tombstone", "staging", "aside", "discard")
"""What a row of a scan is, by name alone (`S` is a session's name, X 16 lowercase hex digits):

session    directory `S`
archive    regular file `S.<format>`
part       regular file `.S.<format>.X.part`: being packed, or left by a killed run
tombstone  directory `.S.removing-X`: being removed, or left by a killed run
staging    directory `.S.restoring-X`: being restored, or left by a killed run
aside      regular file `.S.<format>.damaged-X` or `.S.<format>.superseded-X`: moved aside, never removed by runark
discard    directory `.S.discarding-X`: being discarded, or left by a killed run
"""

ASIDE: tuple[str, ...] = ("damaged", "superseded")

STATUSES: tuple[str, ...] = ("unknown", "success", "error", "finished", "running")
"""By the nearest directory above the session, within the root (the root's own name counts too) that is called
`RUNNING` (running; it wins wherever it stands), `FINISHED_SUCCESS`, `FINISHED_ERROR` or `FINISHED`."""

VERDICTS: tuple[str, ...] = (
    "selected",
    "running",  # below RUNNING/
    "marked",  # `.noarchive` in a directory above it within the root, or that or `.keep` in the session, if that is
    # gone through; else `archive` skips it
    "status",  # not one of ScanSpec.statuses
    "owner",  # not the owner asked for
    "mtime",  # the directory's own mtime is outside changed_after/changed_before
    "young",  # an entry's mtime is at or after `older_than`
    "old",  # the newest mtime of all entries is before `newer_than`
    "size",  # outside min_size/max_size
    "device",  # a mount point, or one in it: it could not be renamed or removed; whatever `one_file_system` says
    "unreadable",  # something in it could not be listed or read; a fault says what
)
"""Why a session row is not selected; tested in this order, the first that holds is reported."""


class Rule(NamedTuple):
    """A layout rule, as the engine needs it. All patterns are matched against the whole name.

    Patterns are bytes regular expressions in the subset that Python's `re` and Rust's `regex` (Unicode off)
    read alike: no look-around, no back references; `runark.layouts` refuses the rest.
    """

    name: str
    pattern: bytes  # the session directory's name
    parent: bytes | None = None  # its parent's name, if that matters (hydra)
    marker: bytes | None = None  # relative path that must exist in the directory (`.hydra`)


@dataclass(frozen=True)
class ScanSpec:
    """What to look for. All filters must hold (AND); `include` patterns are alternatives (OR).

    Roots do not lie in each other.
    """

    roots: tuple[bytes, ...]
    rules: tuple[Rule, ...]
    jobs: int = 2
    measure: bool = False
    """Stat every entry of every selected session: inodes, size, allocated, newest."""
    kinds: tuple[str, ...] = ("session",)
    """Kinds of rows wanted; rows other than sessions are found by name and gone through only if `measure`."""
    keep_skipped: bool = False
    """Also return session rows whose verdict is not `selected` (they are counted in any case)."""
    include: tuple[bytes, ...] = ()
    """Regular expressions searched in the session's name (not anchored; the caller anchors globs)."""
    exclude: tuple[bytes, ...] = ()
    """The same; a directory (session or not) whose name matches is neither reported nor entered."""
    min_depth: int = 0
    """Sessions less deep are not reported. The root itself has depth 0, its children 1."""
    max_depth: int | None = None
    """Directories deeper than this are not looked at."""
    one_file_system: bool = True
    changed_after_ns: int | None = None  # directory's own mtime, strict
    changed_before_ns: int | None = None
    older_than_ns: int | None = None
    """Selected only if every entry's mtime is before this (directory mtime is tested first: no walk if it fails)."""
    newer_than_ns: int | None = None
    """Selected only if some entry's mtime is at or after this."""
    min_size: int | None = None
    max_size: int | None = None
    statuses: tuple[str, ...] = ()
    """Empty: every status but `running`. `running` sessions are never selected unless named here."""
    uid: int | None = None
    gid: int | None = None
    not_uid: int | None = None
    not_gid: int | None = None


@dataclass(frozen=True)
class Fault:
    """One thing that went wrong: the operation, the path it was done to, the cause."""

    op: str  # the verb: "open", "read", "stat", "list", "write", "sync", "rename", "unlink", "decode", ...
    path: bytes
    errno: int  # 0 if it is not the system that said no
    message: str  # for errno != 0 the system's text; never holds the path


@dataclass(frozen=True)
class ScanColumns:
    """Rows as columns, sorted by path bytes; item i of each describes row i. Integers are those of `array('q')`."""

    paths: bytes  # NUL after each path
    kind: bytes  # index into KINDS
    status: bytes  # index into STATUSES
    verdict: bytes  # index into VERDICTS
    layout: bytes  # index into ScanSpec.rules
    mtime_ns: bytes
    newest_ns: bytes  # newest mtime of the directory and all entries; the own mtime if not measured
    inodes: bytes  # the row's own inode counted; each path counts, hard links too; 1 for files; 0 if not measured
    size: bytes  # sum of st_size of regular files; 0 if not measured
    allocated: bytes  # sum of st_blocks * 512 of all entries, the top directory too; 0 if not measured
    uid: bytes
    faults: tuple[Fault, ...]
    directories: int  # directories listed
    entries: int  # names seen
    skipped: dict[str, int]  # verdict -> number of session rows, all but "selected"


class Progress(NamedTuple):
    """Counters of a task, readable at any time."""

    done: int  # jobs ended (scan: rows found)
    total: int  # jobs given (scan: 0)
    bytes: int  # content bytes gone through
    entries: int  # entries gone through
    operations: int = 0  # archive: filesystem operations made (`ArchiveOptions.max_ops`); else not all of them, or 0


class ScanTask(Protocol):
    """A scan under way."""

    def poll(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; True when the scan has ended."""
        ...

    def result(self) -> ScanColumns:
        """The columns; waits for the end. Raises `InvalidArgument` for a pattern that does not compile."""
        ...

    def cancel(self) -> None:
        """Stop soon; `result` then gives what was found."""
        ...

    def progress(self) -> Progress: ...


# ------------------------------------------------------------------------------------- archive, restore, verify


class ArchiveJob(NamedTuple):
    """One session to archive.

    leftovers   names of its part files and tombstones beside it, as a scan found them
    unarchived  the scan of this run saw no archive of it: none is looked for (what has come since is never replaced)
    """

    path: bytes
    leftovers: tuple[bytes, ...] = ()
    unarchived: bool = False


@dataclass(frozen=True)
class ArchiveOptions:
    format: str = "tar.gz"
    level: int | None = None  # gz 1-9 (default 1), zst 1-19 (3), xz 0-9 (6), tar: none
    jobs: int = 2
    keep_source: bool = False
    verify: Literal["hash", "compare"] = "hash"
    older_than_ns: int | None = None
    """A session with an entry whose mtime is at or after this is skipped as `young`."""
    reserve: bytes | None = None
    """Directory with reserve files (`reserve-*`) to rename into part files when no inode is left."""
    sync: Literal["auto", "fsync", "syncfs"] = "auto"  # `fsync`: and names are not taken to become durable in order
    max_ops: float = 0.0
    """Filesystem operations a second, of all workers together; 0: no limit.

    An operation is a request that names, examines or changes something on the filesystem: open, create, stat (by name
    or handle), each piece of a listing, readlink, rename, link, unlink, mkdir, rmdir, change of mode, owner, time or
    length, each attribute listed or read, sync, lock, taking and giving back a lease, asking for access or for the kind
    of filesystem. Reading, writing, seeking and closing are none: what is read is limited by `max_bytes`.

    The run as a whole keeps to the limit; what was not used may be made up for, up to one second's worth. A worker may
    wait within a session, never while it holds a lease; a cancel ends the wait.
    """
    max_bytes: float = 0.0
    """Content bytes a second that are read from sessions, of all workers together; 0: no limit.

    Each byte is charged once, before it is read: when it is packed, or compared with an archive that was there already.
    Reading again in order to verify is not charged. Large files are paid for in pieces.
    """


class DiscardJob(NamedTuple):
    """One session to remove without an archive: the directory at `path`, if it still is this one.

    A path that ends in `.S.discarding-X` is what is left of a session whose discarding was interrupted.
    """

    path: bytes
    device: int
    inode: int


@dataclass(frozen=True)
class Limits:
    """What a restore, verify or list accepts. Sessions beyond the first five are not packed in the first place."""

    max_entries: int = 10_000_000
    max_path: int = 32_768  # bytes
    max_depth: int = 512  # components
    max_metadata: int = 1 << 20  # bytes of one pax header; 64 KiB for a long name
    max_bytes: int = 1 << 44  # content; a restore also refuses what the target filesystem has no room for
    max_ratio: int = 2_000  # content bytes per archive byte beyond the first GiB, archives without a seal only


class RestoreJob(NamedTuple):
    """One archive to restore. `leftovers`: names of stale staging directories beside `dest`."""

    archive: bytes
    dest: bytes
    leftovers: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class RestoreOptions:
    jobs: int = 2
    remove_archive: bool = False
    same_owner: bool = False
    special_modes: bool = False  # setuid, setgid, sticky
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class VerifyOptions:
    jobs: int = 2
    limits: Limits = field(default_factory=Limits)


class Outcome(NamedTuple):
    """How one job ended.

    action, of `archive`:
      archived   the archive is published and proven, the source is gone (S4)
      kept       the archive is published and proven, the source is there (S2): `keep_source`, or stopped after it
      skipped    nothing done, reason says why ("young", "socket x", ...)
      changed    the source changed under our hands: it is whole and in its place, or what is left of it is and `target`
                 holds the rest (a note says so)
      failed     an error; `fault` says which; the source is whole and in its place, or its archive is proven
      cancelled  not begun, or rolled back, because the task was cancelled
    action, of `restore`: restored, skipped (target exists), damaged, failed, cancelled
    action, of `verify`: sound (seal and content agree), unsealed (readable tar without a seal),
      damaged, unreadable (the system said no), foreign (not a tar archive), cancelled
    action, of `discard`: discarded, skipped (in use, a mount point in it), changed (another directory by now, or
    changed under our hands), failed, cancelled; but for `discarded`, it is whole and in its place, or `target` is
    what is left of it
    """

    path: bytes  # archive, discard: the session; restore, verify: the archive
    action: str
    reason: str = ""
    target: bytes = b""  # archive: the archive; restore: the directory; discard: what is left
    entries: int = 0
    inodes_freed: int = 0  # inodes removed (hard links once), less the new archive's own
    bytes_in: int = 0  # content bytes (sizes of regular files)
    bytes_out: int = 0  # size of the archive file
    sha256: str = ""  # of the tar stream, hex
    milliseconds: float = 0.0
    settled: str = ""  # how durability was reached: "syncfs", "fsync", "volatile"
    notes: tuple[str, ...] = ()  # e.g. a damaged archive that was moved aside
    fault: Fault | None = None


class Task(Protocol):
    """Archiving, restoring, verifying or discarding under way."""

    def poll(self, timeout: float) -> list[Outcome] | None:
        """Wait up to `timeout` seconds for outcomes. Empty list: none yet. None: all jobs ended, all were given."""
        ...

    def cancel(self) -> None:
        """Begin nothing more, roll back what is not published, end the step under way. Every job gets its outcome."""
        ...

    def drain(self) -> None:
        """Begin nothing more and finish what was begun; a job that was not begun gets the outcome `cancelled`.

        What was begun keeps to the limits. `cancel` may follow.
        """
        ...

    def use(self, workers: int) -> None:
        """From now on at most so many workers begin anything, at least 1 and at most the task's `jobs`.

        The others finish the sessions they have and wait. May be called at any time, also to raise the number again.
        """
        ...

    def progress(self) -> Progress: ...


# ------------------------------------------------------------------------------------------------ reading


class Seal(NamedTuple):
    """The seal of one archive, read without decoding. A claim, not a proof."""

    sha256: str
    stream: int
    entries: int
    content: int
    size: int  # of the archive file


class Member(NamedTuple):
    """One member of an archive, as stored."""

    path: bytes  # as stored, without trailing slash
    kind: str  # "file", "dir", "symlink", "hardlink", "fifo"
    mode: int
    uid: int
    gid: int
    uname: bytes
    gname: bytes
    size: int  # real size of a file, else 0
    mtime_ns: int
    link: bytes


class Engine(Protocol):
    """The verbs. Same names in the CLI, in `runark.archive`, in `rust/engine` and in `engine/pure`."""

    @property
    def name(self) -> str: ...

    def scan(self, spec: ScanSpec) -> ScanTask: ...

    def archive(self, jobs: Sequence[ArchiveJob], options: ArchiveOptions) -> Task: ...

    def restore(self, jobs: Sequence[RestoreJob], options: RestoreOptions) -> Task: ...

    def verify(self, paths: Sequence[bytes], options: VerifyOptions) -> Task: ...

    def discard(self, jobs: Sequence[DiscardJob], workers: int) -> Task: ...

    def seals(self, paths: Sequence[bytes], jobs: int) -> list[Seal | Fault | None]:
        """For each archive its seal, None if it has none, or the fault that kept it from being read."""
        ...

    def members(self, path: bytes, limits: Limits) -> list[Member]:
        """The members in order. Raises `ArchiveDamaged` (what was read before is lost) or `SourceMissing`."""
        ...
