"""A message when a session ends: through apprise, to RUNARK_NOTIFY_URL. Never changes how a session ends."""

from __future__ import annotations

import os
import warnings

from runark import env_vars

__all__ = ["send"]


def send(title: str, body: str) -> None:
    """Warns (RuntimeWarning) if it cannot be sent: not installed, not configured, not accepted."""
    urls = os.environ.get(env_vars.NOTIFY_URL, "").split()
    if not urls:
        _warn(f"notify=True: set {env_vars.NOTIFY_URL} to an apprise URL")
        return
    try:
        import apprise
    except ImportError:
        _warn("notify=True: pip install 'runark[notify]'")
        return
    try:
        service = apprise.Apprise()
        unknown = [url for url in urls if not service.add(url)]
        if unknown:
            _warn(f"notify=True: apprise does not understand {len(unknown)} of the URLs in {env_vars.NOTIFY_URL}")
        elif not service.notify(title=title, body=body):
            _warn("notify=True: the message was not accepted")
    except Exception as error:  # noqa: BLE001 - the network, and somebody else's code
        _warn(f"notify=True: {type(error).__name__}: {error}")


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=2)
