"""Open a page from a file in Chromium without a screen; its last line is JSON with the time to the first paint.

    python benchmarks/paint.py PAGE

`seconds`: from the start of the navigation to the first contentful paint, by the browser's own clock. `drawn`: until
everything the page's script draws is there.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

TIMES = """() => new Promise((done) => new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (entry.name === 'first-contentful-paint')
    done([entry.startTime, performance.getEntriesByType('navigation')[0].loadEventEnd]);
}).observe({ type: 'paint', buffered: true }))"""


def main() -> int:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise SystemExit("no Chromium; apt-get install chromium")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=flags)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(Path(sys.argv[1]).resolve().as_uri())
        paint, drawn = page.evaluate(TIMES)
        browser.close()
    print(json.dumps({"seconds": paint / 1000, "drawn": drawn / 1000}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
