"""Pages in a real, headless Chromium, with everything that they ask for and complain about."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, sync_playwright

# Where a page has a script of its own, it says when it is done.
READY = "html[data-ready], html:not(:has(#stories))"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    path = shutil.which("chromium")
    if path is None:
        reason = "no chromium on PATH; install it, on Debian with `apt-get install chromium`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        profile = tmp_path_factory.mktemp("profile")
        context = playwright.chromium.launch_persistent_context(profile, executable_path=path, args=FLAGS)
        yield context
        context.close()


class Visit:
    """An open page with all that it asked for and complained about."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.route("**/*", self._route)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector(READY, state="attached")

    def _route(self, route: Route) -> None:
        self.requests.append(route.request.url)
        if len(self.requests) == 1:
            route.continue_()
        else:
            route.abort()


@pytest.fixture
def visit(browser: BrowserContext, tmp_path: Path) -> Iterator[Callable[[str], Visit]]:
    page = browser.new_page()

    def go(source: str) -> Visit:
        path = tmp_path / "report.html"
        path.write_text(source, "utf-8")
        return Visit(page, path)

    yield go
    page.close()
