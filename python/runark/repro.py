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


def fix_seeds(*_modules: Any, seed: int = 42, verbose: bool = False, **_more: Any) -> RandomStateManager:
    """Seeds `random`, and numpy and torch if they are loaded or as soon as they are. Gives the manager.

    Within a session with the same seed that is done already, and the session's manager comes back. Modules and flags
    for single libraries, as older scripts pass them, are accepted and change nothing. Raises `InvalidArgument`.
    """
    session = state.current()
    if session is not None and session.resources.random is not None and session.resources.random.seed == seed:
        return session.resources.random
    return reset(seed, verbose)


def get() -> RandomStateManager:
    """The session's manager; outside one, the one made last, or a new one with seed 42."""
    session = state.current()
    if session is not None and session.resources.random is not None:
        return session.resources.random
    return _manager if _manager is not None else reset()


def reset(seed: int = 42, verbose: bool = False) -> RandomStateManager:
    """A new manager, all generators from the beginning. Raises `InvalidArgument`."""
    global _manager
    if _manager is not None:
        _manager.put_back()
    _manager = RandomStateManager(seed, verbose)
    return _manager
