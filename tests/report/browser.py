"""A page of the viewer in headless Chromium; everything that it must not do is collected."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def start_browser() -> Iterator[Any]:
    """Start Chromium; skip where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # The tests may run as root, where Chromium's own sandbox does not start.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Reader:
    """A person at the page.

    Args:
        browser: The browser.
        path: The page.
        scheme: ``light`` or ``dark``.
        width: Width of the window in pixels.
    """

    def __init__(self, browser: Any, path: Path, scheme: str = "light", width: int = 1280) -> None:
        self.path = path
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self._on_console)
        self.page.on("dialog", self._on_dialog)
        self.page.on("request", self._on_request)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _on_dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, request: Any) -> None:
        if request.url.split("#")[0] != self.path.as_uri():
            self.faults.append(f"request: {request.url[:100]}")

    def go(self, fragment: str = "") -> "Reader":
        """Open a view of the page anew."""
        self.page.goto("about:blank")
        self.page.goto(self.path.as_uri() + fragment)
        self.page.wait_for_selector("html[data-ready]", state="attached")
        return self.settle()

    def settle(self) -> "Reader":
        """Wait until the page shows what it was asked for."""
        self.page.evaluate(
            "new Promise((done) => setTimeout(() => requestAnimationFrame(() => setTimeout(done, 5)), 5))"
        )
        return self.wait("![...document.querySelectorAll('h1, p')].some((node) => node.textContent === 'Opening …')")

    def wait(self, script: str, seconds: float = 10) -> "Reader":
        """Wait until what a script gives is true. Playwright's own wait evaluates texts, which the page forbids."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(script):
            assert time.monotonic() < end, f"still not so: {script}"
            self.page.wait_for_timeout(10)
        return self

    def click(self, selector: str, text: str | None = None) -> "Reader":
        """Click the first element that fits."""
        found = self.page.locator(selector)
        (found.filter(has_text=text) if text else found).first.click()
        return self.settle()

    def press(self, *keys: str) -> "Reader":
        """Press keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)
            self.settle()
        return self

    def text(self, selector: str) -> str:
        """Return the text of the first element that fits."""
        return str(self.page.locator(selector).first.inner_text())

    def texts(self, selector: str) -> list[str]:
        """Return the text contents of all elements that fit."""
        return [str(text) for text in self.page.locator(selector).all_text_contents()]

    def count(self, selector: str = "*") -> int:
        """Return the number of elements that fit."""
        return int(self.page.locator(selector).count())

    def look(self, script: str) -> Any:
        """Return what a script in the page gives."""
        return self.page.evaluate(script)

    def close(self) -> None:
        """Close the page; it must not have done anything that it must not do."""
        self.context.close()
        assert self.faults == []
