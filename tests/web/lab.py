"""A real Chromium on a real server, and what every page must hold whatever a test does with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support import ROOT

AXE = ROOT / "qmrunner/web/static/vendor/tests/axe.js"
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


def chromium() -> str:
    """The path of the browser. Skips without one; fails under CI, where a skip would hide a gap."""
    found = shutil.which("chromium")
    if found is not None:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail("Chromium is not installed; `make setup` installs it as root")
    pytest.skip("Chromium is not installed")


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser that ends with the block."""
    path = chromium()
    with sync_playwright() as driver:
        # Root may not use the browser's own sandbox.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


class Person:
    """One browser profile at a server, with everything noted that must not happen."""

    def __init__(self, browser: Browser, url: str, **more: Any) -> None:
        self.url = url
        self.context: BrowserContext = browser.new_context(base_url=url, **more)
        self.context.set_default_timeout(PATIENCE_MS)
        self.wrong: list[str] = []
        self.outside: list[str] = []
        self.context.on("request", lambda request: self._request(request.url))
        self.page = self.open()

    def open(self) -> Page:
        """Another tab."""
        page = self.context.new_page()
        page.on("dialog", lambda dialog: self._dialog(dialog))
        page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        page.on("console", lambda message: self._console(message.type, message.text))
        return page

    def _request(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:", "about:")):
            self.outside.append(url)

    def _dialog(self, dialog: Any) -> None:
        if dialog.type != "confirm":
            self.wrong.append(f"dialog: {dialog.message}")
        dialog.accept()

    def _console(self, kind: str, text: str) -> None:
        if "Content Security Policy" in text or "Refused to" in text:
            self.wrong.append(f"policy: {text}")

    def check(self) -> None:
        """Nothing wrong has happened, and no other host was asked."""
        assert self.wrong == []
        assert self.outside == []

    def close(self) -> None:
        self.context.close()


def findings(page: Page) -> list[str]:
    """What axe finds on a page by WCAG 2.2 A and AA and best practices."""
    page.evaluate(Path(AXE).read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags)
    return [
        f"{page.url}: {one['id']}: {one['nodes'][0]['html'][:160]} {one['nodes'][0].get('failureSummary', '')[:200]}"
        for one in found["violations"]
    ]
