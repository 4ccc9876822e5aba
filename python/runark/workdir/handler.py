"""SessionHandler: the life of a session, from its directory to the pruning of old ones.

directory -> logging -> working directory -> created hook -> the work
-> error hook, if it raised -> exit hook -> working directory as before -> pruning -> logging ends -> session ends
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any

from runark.errors import InvalidArgument
from runark.workdir.context import logging_to, working_in
from runark.workdir.hooks import call
from runark.workdir.log_config import LogConfig
from runark.workdir.messages import log
from runark.workdir.session import Session
from runark.workdir.session_dir import SessionDir

__all__ = ["SessionHandler"]

CreatedHook = Callable[[Path], object]
ExitHook = Callable[[Path, "Exception | None"], object]
PruneHook = Callable[[list[Path]], object]
ErrorHook = Callable[[Exception], object]

_Entered = tuple["SessionHandler", AbstractContextManager[Session]]
_entered: ContextVar[tuple[_Entered, ...]] = ContextVar("runark.workdir.entered", default=())


class SessionHandler:
    """Runs sessions, one after the other or, without `change_directory`, many at once."""

    def __init__(
        self,
        session_dir: SessionDir,
        log_config: LogConfig | None = None,
        *,
        change_directory: bool = True,
        on_session_created: CreatedHook | None = None,
        on_session_exit: ExitHook | None = None,
        on_before_prune: PruneHook | None = None,
        on_session_error: ErrorHook | None = None,
        prune_despite_hook_failure: bool = False,
    ) -> None:
        """
        session_dir         where sessions are made and how many are kept
        log_config          None: no handler, no log file
        change_directory    make the session's directory the process's working directory; False where sessions run at
                            the same time, in threads or tasks: then nothing of the process is touched
        on_session_created  (path): after directory and logging
        on_session_exit     (path, error): when the work has ended, before pruning; error: what it raised, or None
        on_before_prune     (paths): before these sessions are removed; may archive them (`runark.archive_sessions`)
        on_session_error    (error): when the work raised an `Exception`, before the exit hook

        A hook that raises is logged as a warning (`runark.workdir`) and breaks nothing. If it is `on_before_prune`, the
        sessions it was told about are kept, unless `prune_despite_hook_failure`.
        """
        self.session_dir = session_dir
        self.log_config = log_config
        self.change_directory = change_directory
        self.on_session_created = on_session_created
        self.on_session_exit = on_session_exit
        self.on_before_prune = on_before_prune
        self.on_session_error = on_session_error
        self.prune_despite_hook_failure = prune_despite_hook_failure

    @contextmanager
    def session_context(self) -> Iterator[Session]:
        """A session from its beginning to its end. What the work raises goes on unchanged.

        Raises `NotADirectory` or `OperationFailed` if directory or log file cannot be made; then there is no session.
        """
        with ExitStack() as stack:
            session = stack.enter_context(self.session_dir.create())
            try:
                stack.enter_context(logging_to(self.log_config, session.path, whole_process=self.change_directory))
                inside = stack.enter_context(ExitStack())
                if self.change_directory:
                    inside.enter_context(working_in(session.path))
            except BaseException:
                session.withdraw()
                raise
            stack.callback(self._prune, session)
            stack.push(inside.pop_all())
            _call("on_session_created", self.on_session_created, session.path)
            error: BaseException | None = None
            try:
                yield session
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._exited(session, error)

    def __enter__(self) -> Session:
        context = self.session_context()
        session = context.__enter__()
        _entered.set((*_entered.get(), (self, context)))
        return session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> bool | None:
        entered = _entered.get()
        at_index = max((number for number, (owner, _) in enumerate(entered) if owner is self), default=None)
        if at_index is None:
            raise InvalidArgument("the session was entered in another thread or task; leave it where it was entered")
        _entered.set((*entered[:at_index], *entered[at_index + 1 :]))
        return entered[at_index][1].__exit__(kind, error, at)

    def _exited(self, session: Session, error: BaseException | None) -> None:
        """The hooks of the end. Of what ends a program or a task (Ctrl-C, `sys.exit`) only the exit hook hears."""
        if not session.is_ours:
            return
        if isinstance(error, Exception):
            _call("on_session_error", self.on_session_error, error)
        if isinstance(error, SystemExit) and not error.code:
            error = None
        _call("on_session_exit", self.on_session_exit, session.path, error)

    def _prune(self, session: Session) -> None:
        if session.is_ours:
            self.session_dir.prune(self.on_before_prune, prune_despite_hook_failure=self.prune_despite_hook_failure)


def _call(name: str, hook: Callable[..., object] | None, *arguments: Any) -> None:
    """Call a hook of the user's; a failure is a warning."""
    if hook is None:
        return
    try:
        call(hook, *arguments)
    except Exception:  # noqa: BLE001 - somebody else's function
        log.warning("%s failed; the session goes on", name, exc_info=True)
