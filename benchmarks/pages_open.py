"""What a page costs that stays open: memory and nodes after a time of changes, and how soon it answers a hand.

    python benchmarks/pages_open.py [--jobs 1000] [--seconds 300]

Three pages (overview, list, job) stay open in Chromium while a job is held and released twice a second. Memory and
nodes are counted after a garbage collection, once after 15 s and once at the end. The second table has the longest
delay between a key or click and the next picture (INP) of each page, ms.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from pages import fill, lengthen, server  # type: ignore[import-not-found]
from playwright.sync_api import Page, sync_playwright

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_WARM_S, _EVERY_S = 15.0, 0.5
_WATCH = """() => { window.slowest = 0;
  const seen = (entry) => { if (entry.interactionId) window.slowest = Math.max(window.slowest, entry.duration); };
  new PerformanceObserver((list) => list.getEntries().forEach(seen))
    .observe({type: "event", durationThreshold: 16, buffered: true}); }"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=300.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        home = Path(folder) / "home"
        jobs = fill(home, asked.jobs)
        lengthen(home, jobs[0], 1000)
        with server(home) as (url, _):
            browser = driver.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-timer-throttling"],
            )
            stay_open(
                browser, url, {"overview": "/", "list": "/jobs", "job": f"/jobs/{jobs[4]}"}, jobs[4], asked.seconds
            )
            answer(browser, url, jobs)
            browser.close()


def stay_open(browser: Any, url: str, paths: dict[str, str], job: str, seconds: float) -> None:
    """Print heap and nodes of each page after a GC, early and late."""
    pages: dict[str, tuple[Page, Any]] = {}
    for name, path in paths.items():
        page = browser.new_context().new_page()  # its own context: no page is hidden
        page.goto(url + path)
        pages[name] = (page, page.context.new_cdp_session(page))
    change(url, job, _WARM_S)
    early = {name: size(session) for name, (_, session) in pages.items()}
    changes = change(url, job, seconds)
    for name, (page, session) in pages.items():
        heap, nodes = size(session)
        print(
            f"{name}: {early[name][0]:.2f} MB of heap and {early[name][1]} nodes, after {changes} changes "
            f"in {seconds:.0f} s {heap:.2f} MB and {nodes}; {page.locator('#live-status').inner_text()}"
        )
        page.context.close()


def change(url: str, job: str, seconds: float) -> int:
    """Hold and release the job for so long; the number of changes."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for verb in ("hold", "release"):
            request = urllib.request.Request(f"{url}/v1/jobs/{job}/{verb}", method="POST", data=b"")
            _OPENER.open(request, timeout=60).close()
            number += 1
            time.sleep(_EVERY_S)
    return number


def size(session: Any) -> tuple[float, int]:
    """Megabytes of heap and nodes of a page, after a garbage collection."""
    session.send("Performance.enable")
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    found = {row["name"]: row["value"] for row in session.send("Performance.getMetrics")["metrics"]}
    return found["JSHeapUsedSize"] / 1e6, int(found["Nodes"])


def answer(browser: Any, url: str, jobs: list[str]) -> None:
    """Print the longest delay of each page."""
    for name, path, act in (
        ("list of 100 rows", "/jobs", in_list),
        ("job of 4,000 steps", f"/jobs/{jobs[0]}", in_grid),
        ("new job", "/jobs/new", in_form),
    ):
        page = browser.new_context().new_page()
        page.goto(url + path)
        page.wait_for_timeout(1000)
        page.evaluate(_WATCH)
        act(page)
        page.wait_for_timeout(1500)
        print(f"{name}: INP {page.evaluate('window.slowest'):.0f} ms")
        page.context.close()


def in_list(page: Page) -> None:
    page.locator("[data-all]").click()
    for key in ("j", "j", "x", "k", "/"):
        page.keyboard.press(key)
        page.wait_for_timeout(150)
    page.keyboard.type("state:failed")


def in_grid(page: Page) -> None:
    page.locator(".cell").nth(500).focus()
    for key in ("ArrowRight", "ArrowDown", "End", "Home", "ArrowUp"):
        page.keyboard.press(key)
        page.wait_for_timeout(150)


def in_form(page: Page) -> None:
    page.locator("#structure").click()
    page.keyboard.type("CC(C)Cc1ccc(cc1)C(C)C(=O)O", delay=30)
    page.get_by_text("More options").click()


if __name__ == "__main__":
    main()
