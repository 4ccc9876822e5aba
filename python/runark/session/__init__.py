"""Running sessions: `@session`, `start` and `close`, and what belongs to them (docs/session.md).

`runark.session` is the package and, called, the decorator: `@runark.session` and `@runark.session(...)`. What it offers
is loaded when it is first used.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runark.archive.compat import archive_existing as archive_existing
    from runark.archive.compat import archive_session_dir as archive_session_dir
    from runark.archive.compat import restore_existing as restore_existing
    from runark.archive.compat import restore_session_archive as restore_session_archive
    from runark.session.api import close as close
    from runark.session.api import running2finished as running2finished
    from runark.session.api import start as start
    from runark.session.decorator import run as run
    from runark.session.decorator import session as session
    from runark.session.injected import INJECTED as INJECTED
    from runark.session.manager import SessionManager as SessionManager
    from runark.session.manager import register_session_close_hook as register_session_close_hook
    from runark.session.manager import register_session_start_hook as register_session_start_hook
    from runark.session.manager import unregister_session_close_hook as unregister_session_close_hook
    from runark.session.manager import unregister_session_start_hook as unregister_session_start_hook
    from runark.session.reconcile import reconcile as reconcile

_HOMES = {
    "INJECTED": "runark.session.injected",
    "SessionManager": "runark.session.manager",
    "archive_existing": "runark.archive.compat",
    "archive_session_dir": "runark.archive.compat",
    "close": "runark.session.api",
    "reconcile": "runark.session.reconcile",
    "register_session_close_hook": "runark.session.manager",
    "register_session_start_hook": "runark.session.manager",
    "restore_existing": "runark.archive.compat",
    "restore_session_archive": "runark.archive.compat",
    "run": "runark.session.decorator",
    "running2finished": "runark.session.api",
    "session": "runark.session.decorator",
    "start": "runark.session.api",
    "unregister_session_close_hook": "runark.session.manager",
    "unregister_session_start_hook": "runark.session.manager",
}

__all__ = [
    "INJECTED",
    "SessionManager",
    "archive_existing",
    "archive_session_dir",
    "close",
    "reconcile",
    "register_session_close_hook",
    "register_session_start_hook",
    "restore_existing",
    "restore_session_archive",
    "run",
    "running2finished",
    "session",
    "start",
    "unregister_session_close_hook",
    "unregister_session_start_hook",
]


def __getattr__(name: str) -> object:
    import importlib

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'runark.session' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Decorator(types.ModuleType):
    """Calls are the decorator's. A name that is a module's and a function's too (`reconcile`) is the function."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from runark.session.decorator import session

        return session(*args, **options)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType) and name in _HOMES:
            value = getattr(value, name, value)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Decorator
