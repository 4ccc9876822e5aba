"""WorkDir: a directory of the user's choice to work in. No naming, no clean-up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from runark.errors import NotADirectory, SourceMissing
from runark.names import escape
from runark.workdir.context import logging_to, working_in
from runark.workdir.log_config import LogConfig
from runark.workdir.session_dir import make_directory

__all__ = ["WorkDir"]


class WorkDir:
    """Works in a directory, with logging set up into it."""

    path: Path
    """The directory, absolute."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        log_config: LogConfig | None = None,
        create_if_missing: bool = False,
        *,
        change_directory: bool = True,
    ) -> None:
        """The directory is looked at, and made if so wanted, when the work begins.

        log_config         relative files are in the directory; None: no logging
        create_if_missing  make it, with the directories above it
        change_directory   make it the process's working directory; not for threads and tasks
        """
        self.path = Path(os.path.abspath(directory))
        self.log_config = log_config
        self.create_if_missing = create_if_missing
        self.change_directory = change_directory

    @contextmanager
    def work_context(self) -> Iterator[WorkDir]:
        """Work in the directory; gives this object. Exceptions go on unchanged.

        Raises `SourceMissing`, `NotADirectory`, `OperationFailed` (it cannot be made, entered or logged into).
        """
        if self.create_if_missing:
            make_directory(self.path)
        elif not self.path.exists():
            raise SourceMissing(
                f"{escape(os.fsencode(self.path))} does not exist; make it, or say create_if_missing=True"
            )
        elif not self.path.is_dir():
            raise NotADirectory(f"{escape(os.fsencode(self.path))} is not a directory; name one")
        with ExitStack() as stack:
            stack.enter_context(logging_to(self.log_config, self.path, whole_process=self.change_directory))
            if self.change_directory:
                stack.enter_context(working_in(self.path))
            yield self
