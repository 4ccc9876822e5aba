"""Reproducibility outside a session, or beside one: seeds, named generators, checks that results stay the same.

rngg = runark.repro.fix_seeds(seed=42)
weights = rngg("weights").normal(size=100)
"""

from __future__ import annotations

from typing import Any

from runark.session import state
from runark.session.random_state import RandomStateManager

__all__ = ["RandomStateManager", "fix_seeds", "get", "reset"]

_manager: RandomStateManager | None = None


def fix_seeds(*modules: Any, seed: int = 42, verbose: bool = False, **_more: Any) -> RandomStateManager:
    """Seeds `random`, and numpy and torch if they are loaded or as soon as they are. Gives the manager.

    The seed may come first, without its name. Modules and flags for single libraries, as older scripts pass them, are
    accepted and change nothing. Raises `InvalidArgument`; nothing changes then.
    """
    return reset(modules[0] if modules and hasattr(modules[0], "__index__") else seed, verbose)


def get() -> RandomStateManager:
    """The manager in use: the session's; outside one, that of this process, made with seed 42 if there is none."""
    return _existing() or reset()


def reset(seed: int = 42, verbose: bool = False) -> RandomStateManager:
    """Begins anew, with all generators of the manager in use. Gives it. Raises `InvalidArgument`."""
    global _manager
    manager = _existing()
    if manager is None:
        manager = _manager = RandomStateManager(seed, verbose)
    else:
        manager.verbose = verbose
        manager.reset(seed)
    return manager


def _existing() -> RandomStateManager | None:
    session = state.current()
    if session is not None and session.resources.random is not None:
        return session.resources.random
    return _manager
