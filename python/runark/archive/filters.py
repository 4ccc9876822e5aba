"""Which sessions: all filters of the command line as one frozen value, parsed once and before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass

from runark import patterns
from runark.archive.owners import Owner, parse_owner
from runark.archive.sizes import size_range
from runark.archive.timespec import Age, parse_age, parse_time
from runark.engine.protocol import STATUSES, Rule, ScanSpec
from runark.errors import InvalidArgument

__all__ = ["Filters"]


@dataclass(frozen=True)
class Filters:
    """Which sessions; every field must hold, except that name patterns are alternatives.

    Texts follow docs/scan.md. Wrong ones raise `InvalidArgument` when they are used (`spec`).
    """

    glob: tuple[str, ...] = ()
    """Globs for the whole name of the session."""
    regex: tuple[str, ...] = ()
    """Regular expressions searched in the name."""
    fixed: tuple[str, ...] = ()
    """Texts that occur in the name."""
    exclude: tuple[str, ...] = ()
    """Globs; a directory with such a name is neither taken nor entered."""
    older_than: Age | None = None
    """Nothing in the session has changed since then (mtime of every entry)."""
    newer_than: Age | None = None
    """Something in the session has changed since then."""
    changed_before: str | None = None
    """The directory's own mtime is before this (cheap; says nothing about a growing file)."""
    changed_within: str | None = None
    """The directory's own mtime is after this."""
    size: tuple[str, ...] = ()
    """Sum of the sizes of its files: `+1M`, `-10k`."""
    owner: str | None = None
    """`[!]user|uid[:[!]group|gid]` of the session directory."""
    status: tuple[str, ...] = ()
    """`success`, `error`, `finished`, `unknown`: empty means all. Running sessions are never taken."""
    min_depth: int = 0
    """The root has depth 0, its children 1."""
    max_depth: int | None = None
    one_file_system: bool = True

    def spec(
        self,
        roots: tuple[bytes, ...],
        rules: tuple[Rule, ...],
        *,
        now_ns: int,
        jobs: int,
        measure: bool,
        kinds: tuple[str, ...] = ("session",),
        keep_skipped: bool = False,
    ) -> ScanSpec:
        """What the engine is asked for. `now_ns`: what spans are counted back from. Raises `InvalidArgument`."""
        least, most = size_range(self.size)
        owner = parse_owner(self.owner) if self.owner is not None else Owner()
        include = (
            *(patterns.glob(text) for text in self.glob),
            *(patterns.regex(text, "--regex") for text in self.regex),
            *(patterns.fixed(text) for text in self.fixed),
        )
        self._check()
        return ScanSpec(
            roots=roots,
            rules=rules,
            jobs=jobs,
            measure=measure,
            kinds=kinds,
            keep_skipped=keep_skipped,
            include=include,
            exclude=tuple(patterns.glob(text) for text in self.exclude),
            min_depth=self.min_depth,
            max_depth=self.max_depth,
            one_file_system=self.one_file_system,
            changed_after_ns=_time(self.changed_within, now_ns, "--changed-within"),
            changed_before_ns=_time(self.changed_before, now_ns, "--changed-before"),
            older_than_ns=_age(self.older_than, now_ns, "--older-than"),
            newer_than_ns=_age(self.newer_than, now_ns, "--newer-than"),
            min_size=least,
            max_size=most,
            statuses=self.status,
            uid=owner.uid,
            gid=owner.gid,
            not_uid=owner.not_uid,
            not_gid=owner.not_gid,
        )

    def _check(self) -> None:
        allowed = [status for status in STATUSES if status != "running"]
        for status in self.status:
            if status not in allowed:
                raise InvalidArgument(f"status {status!r}: choose from {', '.join(allowed)}")
        if self.min_depth < 0 or (self.max_depth is not None and self.max_depth < self.min_depth):
            raise InvalidArgument(f"no directory is at least {self.min_depth} and at most {self.max_depth} deep")


def _time(text: str | None, now_ns: int, option: str) -> int | None:
    return None if text is None else parse_time(text, now_ns, option)


def _age(age: Age | None, now_ns: int, option: str) -> int | None:
    return None if age is None else parse_age(age, now_ns, option)
