"""Calling a function of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from runark.errors import InvalidArgument

__all__ = ["call"]


def call(hook: Callable[..., object], *arguments: Any) -> None:
    """Calls a hook; when this returns, it is done. Raises what it raises.

    A coroutine, a generator or a future is not: nothing of it has happened yet, or not all. Raises `InvalidArgument`:
    an archiver that has not archived must not be taken for one that has.
    """
    given = hook(*arguments)
    if inspect.iscoroutine(given) or inspect.isgenerator(given):
        given.close()
    elif not (inspect.isawaitable(given) or inspect.isasyncgen(given) or isinstance(given, Future)):
        return
    raise InvalidArgument(f"gives a {type(given).__name__} and is not done; give a function that is when it returns")
