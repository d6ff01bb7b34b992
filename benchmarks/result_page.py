"""The result page of an ensemble in Chromium: how soon it opens, how it scrolls, and how soon it answers a hand.

    python benchmarks/result_page.py [--conformers 1000] [--runs 3]

It makes a home with a finished job of so many conformers of ethanol, whose numbers are made up. A run prints the time
of `goto` and of the first paint, the times between frames while the wheel turns, the longest delays between a click or
key and the next picture (INP), and heap and nodes at the end.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from pages_open import _WATCH, size  # type: ignore[import-not-found]
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.api.lab import served
from tests.finished import finish
from tests.support import Home

SHIFTS = {"1": 18.0, "2": 58.0, "4": 1.2, "5": 1.2, "6": 1.2, "7": 3.7, "8": 3.7, "9": 1.0}
_FRAMES = """() => { window.frames_ = []; let last = performance.now();
  const next = (now) => { window.frames_.push(now - last); last = now; requestAnimationFrame(next); };
  requestAnimationFrame(next); }"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--conformers", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    energies = [-154.9 + 2e-6 * number for number in range(asked.conformers)]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        root = Path(folder)
        programs = {"QMRUNNER_XTB": "/bin/true", "QMRUNNER_NWCHEM": "/bin/true"}
        home = Home(root / "home", {"QMRUNNER_API_RATE_PER_MINUTE": "100000", **programs})
        with served(home) as server:
            job = server.submit({"kind": "nmr", "smiles": "CCO", "conformers": "none", "name": "ensemble"})
            finish(home, job, "CCO", SHIFTS, root / "made", energies=energies)
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for _ in range(asked.runs):
                print(measured(browser, f"{server.url}/jobs/{job}/result"))
            browser.close()


def measured(browser: Browser, url: str) -> str:
    """One run in a cold browser, in words."""
    page = browser.new_context(viewport={"width": 1280, "height": 860}).new_page()
    page.set_default_timeout(120_000)
    began = time.perf_counter()
    page.goto(url)
    opened = time.perf_counter() - began
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
    page.wait_for_timeout(1500)
    page.evaluate(_WATCH)
    page.evaluate(_FRAMES)
    page.mouse.move(640, 400)
    for _ in range(40):
        page.mouse.wheel(0, 400)
        page.wait_for_timeout(30)
    frames = sorted(page.evaluate("window.frames_"))
    delays: dict[str, float] = {}

    def note(name: str) -> None:
        page.wait_for_timeout(800)
        delays[name] = page.evaluate("window.slowest")
        page.evaluate("window.slowest = 0")

    page.locator("table.shifts tr button").first.click()
    note("shift")
    page.locator("input[type=range]").last.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(80)
    note("slider")
    page.locator("#show-3d").click()
    page.wait_for_selector("#viewer canvas")
    note("3D")
    for _ in range(5):
        page.get_by_text("›", exact=True).click()
        page.wait_for_timeout(300)
    note("conformer")
    heap, nodes = size(page.context.new_cdp_session(page))
    page.context.close()
    answers = ", ".join(f"{name} {delay:.0f}" for name, delay in delays.items())
    return (
        f"opened in {opened * 1000:.0f} ms, first paint {paint:.0f} ms; frames while scrolling: median "
        f"{frames[len(frames) // 2]:.0f}, p95 {frames[int(0.95 * len(frames))]:.0f}, longest {frames[-1]:.0f} ms; "
        f"INP: {answers} ms; {heap:.1f} MB of heap, {nodes} nodes"
    )


if __name__ == "__main__":
    main()
