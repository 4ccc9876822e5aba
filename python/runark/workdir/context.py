"""What `SessionHandler` and `WorkDir` have in common: logging into a directory, and working in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runark.errors import OperationFailed
from runark.names import escape
from runark.workdir.messages import log
from runark.workdir.routing import logging_to

__all__ = ["logging_to", "working_in"]


@contextmanager
def working_in(directory: Path) -> Iterator[None]:
    """The process's working directory is this one, and afterwards what it was. Raises `OperationFailed`."""
    before: str | None = None
    with contextlib.suppress(OSError):  # removed, or out of reach: there is nothing to come back to
        before = os.getcwd()
    try:
        os.chdir(directory)
    except OSError as error:
        raise OperationFailed(f"{escape(os.fsencode(directory))}: cannot work in it: {error.strerror}") from error
    try:
        yield
    finally:
        if before is not None:
            try:
                os.chdir(before)
            except OSError as error:
                shown = escape(os.fsencode(before))
                log.warning("%s: cannot go back to this working directory: %s", shown, error.strerror)
