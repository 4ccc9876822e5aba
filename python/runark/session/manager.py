"""The sessions of this process, and what others want to know about them: hooks and observers.

Hooks are called once a session, in the order they were registered: at its start with (id, script_path, metadata), at
its end with (status, exit_code). One that raises is logged and changes nothing. Observers are functions without
arguments named by installed packages under the entry point group `runark.observers`; they are called once, before the
first session of the process starts, and usually register hooks.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from runark.session.signals import Terminated

__all__ = [
    "SessionManager",
    "fire_close",
    "fire_start",
    "load_observers",
    "register_session_close_hook",
    "register_session_start_hook",
    "unregister_session_close_hook",
    "unregister_session_start_hook",
]

OBSERVERS = "runark.observers"

StartHook = Callable[[str, str | None, dict[str, Any]], object]
CloseHook = Callable[[str, int | None], object]

_start_hooks: list[StartHook] = []
_close_hooks: list[CloseHook] = []
_sessions: dict[str, dict[str, Any]] = {}
_lock = threading.Lock()
_observed = False


class SessionManager:
    """The sessions this process has started. Every instance shows the same ones.

    An entry has `config`, `start_time`, `status` (`running`, then `success`, `error` or `finished`), `script_path`,
    and when it has ended `end_time` and `exit_code`.
    """

    @property
    def active_sessions(self) -> dict[str, dict[str, Any]]:
        return self.get_active_sessions()

    def get_active_sessions(self) -> dict[str, dict[str, Any]]:
        """Those that run, by their IDs."""
        with _lock:
            return {key: dict(entry) for key, entry in _sessions.items() if entry["status"] == "running"}

    def get_session(self, session_id: str) -> dict[str, Any]:
        """The entry of one; `{}` for an ID nobody knows."""
        with _lock:
            return dict(_sessions.get(session_id, {}))

    def list_sessions(self) -> dict[str, dict[str, Any]]:
        """All of them, those that have ended too."""
        with _lock:
            return {key: dict(entry) for key, entry in _sessions.items()}

    def create_session(self, session_id: str, config: Any, script_path: str | os.PathLike[str] | None = None) -> None:
        """Notes a session that starts. `runark.session.start` does it."""
        entry = {
            "config": config,
            "start_time": datetime.now(),
            "status": "running",
            "script_path": os.fspath(script_path) if script_path is not None else None,
        }
        with _lock:
            _sessions[session_id] = entry

    def close_session(self, session_id: str, status: str = "success", exit_code: int | None = 0) -> None:
        """Notes its end. An ID nobody knows is left alone."""
        with _lock:
            if session_id in _sessions:
                _sessions[session_id].update(status=status, exit_code=exit_code, end_time=datetime.now())


def register_session_start_hook(hook: StartHook) -> StartHook:
    """From now on calls `hook(id, script_path, metadata)` when a session starts: once, however often registered."""
    if hook not in _start_hooks:
        _start_hooks.append(hook)
    return hook


def register_session_close_hook(hook: CloseHook) -> CloseHook:
    """From now on calls `hook(status, exit_code)` when a session ends: `success`, `error` or `finished`."""
    if hook not in _close_hooks:
        _close_hooks.append(hook)
    return hook


def unregister_session_start_hook(hook: StartHook) -> None:
    """Takes it back; one that is not registered is fine."""
    if hook in _start_hooks:
        _start_hooks.remove(hook)


def unregister_session_close_hook(hook: CloseHook) -> None:
    """Takes it back; one that is not registered is fine."""
    if hook in _close_hooks:
        _close_hooks.remove(hook)


def fire_start(session_id: str, script: Path | None, metadata: dict[str, Any]) -> None:
    for hook in tuple(_start_hooks):
        _call(hook, session_id, os.fspath(script) if script is not None else None, metadata)


def fire_close(status: str, exit_code: int | None) -> None:
    for hook in tuple(_close_hooks):
        _call(hook, status, exit_code)


def _call(hook: Callable[..., object], *arguments: Any) -> None:
    try:
        hook(*arguments)
    except Terminated:
        raise
    except (Exception, SystemExit):  # somebody else's code, and the session's business is not its
        import logging

        logging.getLogger("runark.session").exception("hook %r failed; the session goes on", hook)


def load_observers() -> None:
    """Calls the observers of installed packages, once a process."""
    global _observed
    if _observed:
        return
    _observed = True
    if not any(map(_names_observers, sys.path)):
        return
    from importlib.metadata import entry_points

    for entry in entry_points(group=OBSERVERS):
        _call(lambda entry=entry: entry.load()())


def _names_observers(directory: str) -> bool:
    """Whether a package there has observers. Reading the few files is quicker than importing importlib.metadata."""
    try:
        names = os.listdir(directory or ".")
    except OSError:
        return False
    for name in names:
        if name.endswith((".dist-info", ".egg-info")):
            try:
                with open(os.path.join(directory or ".", name, "entry_points.txt"), "rb") as stream:
                    if OBSERVERS.encode() in stream.read():
                        return True
            except OSError:
                continue
    return False
