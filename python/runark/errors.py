"""Every exception runark raises.

One base class; each subclass also inherits the builtin that fits, so that callers may catch either.
A failure on one file of many is not raised but reported as a `Fault` (see `runark.engine.protocol`).
"""

from __future__ import annotations

__all__ = [
    "ArchiveDamaged",
    "CapReached",
    "ConfigError",
    "EngineUnavailable",
    "FormatUnavailable",
    "InvalidArgument",
    "NotADirectory",
    "OperationFailed",
    "RootLocked",
    "RunarkError",
    "SessionChanged",
    "SessionSkipped",
    "SourceMissing",
    "TargetExists",
    "UnsafePath",
]


class RunarkError(Exception):
    """Base of everything runark raises."""


class InvalidArgument(RunarkError, ValueError):
    """A value that cannot be used: unknown format, bad level, bad time or size text."""


class ConfigError(InvalidArgument):
    """`runark.yaml` is broken; the message names file, line and key."""


class EngineUnavailable(RunarkError, ImportError):
    """The native engine was asked for by name but is not installed, or is out of date."""


class FormatUnavailable(RunarkError, ImportError):
    """A format whose codec is not installed for this engine; the message says what to install."""


class UnsafePath(RunarkError, ValueError):
    """A path runark refuses to work on: `.`, `x/..`, a symlink, `/`, a home directory, a parent of the cwd."""


class SourceMissing(RunarkError, FileNotFoundError):
    """The session or archive named does not exist."""


class NotADirectory(RunarkError, NotADirectoryError):
    """A root or session named is not a directory."""


class OperationFailed(RunarkError, OSError):
    """One session or archive asked for by name could not be worked on; the message has operation, path and cause."""


class SessionSkipped(RunarkError, ValueError):
    """The session asked for by name is one that is not archived; the message says why. It is untouched."""


class TargetExists(RunarkError, FileExistsError):
    """The target exists; runark never replaces anything."""


class SessionChanged(RunarkError, OSError):
    """The session changed while it was archived; nothing of it is lost."""


class ArchiveDamaged(RunarkError, OSError):
    """The archive does not hold what it should; the message names archive and member."""


class CapReached(RunarkError):
    """A safety cap was hit; nothing further was removed."""


class RootLocked(RunarkError, BlockingIOError):
    """Another run holds the root; the message names holder, host, pid and age."""
