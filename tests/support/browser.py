"""Chromium without a screen, for pages: the one that is installed, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

__all__ = ["Opened", "browser", "find_browser"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str:
    """The program. One that is missing is an error, never a skip."""
    for name in _NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    raise AssertionError("these tests look at pages with Chromium; apt-get install chromium")


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser. Its own sandbox does not work for root, nor in most containers; the pages are ours."""
    with sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        started = driver.chromium.launch(executable_path=find_browser(), args=flags)
        yield started
        started.close()


class Opened:
    """A page from a file, and everything it complained about."""

    def __init__(self, started: Browser, path: Path, **context: Any) -> None:
        self._context = started.new_context(**{"viewport": {"width": 1200, "height": 900}, **context})
        self.page: Page = self._context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def text(self, selector: str) -> str:
        """What the element says."""
        return self.page.locator(selector).inner_text()

    def texts(self, selector: str) -> list[str]:
        """What each of the elements says."""
        return self.page.locator(selector).all_inner_texts()
