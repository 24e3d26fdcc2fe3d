from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from nnlint.cli.report import write_html
from nnlint.linter.findings import Report

# Without a sandbox, since tests may run as root; without anything that calls home.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# Not for the session: until it is closed, its event loop runs, and other tests start their own.
@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A headless Chromium with a profile of its own."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "the report is tested in Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=path,
            headless=True,
            args=list(FLAGS),
            viewport={"width": 1280, "height": 900},
            color_scheme="light",
        )
        context.set_default_timeout(60_000)
        yield context
        context.close()


class Opened:
    """A page with all that the browser said while it was open."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.hear(message.type, message.text))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))

    def hear(self, kind: str, text: str) -> None:
        """Keep what is said in the console."""
        # Vega-Lite warns of every chart as wide as its place and as high as its rows, though it
        # then draws just that.
        if 'Dropping "fit-y"' not in text:
            self.said.append(f"{kind}: {text}")


@pytest.fixture
def opened(browser: BrowserContext, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Write a report, open it as a file, and wait until its charts are drawn."""
    pages: list[Page] = []

    def open_(report: Report, *, width: int = 1280, scheme: str = "light") -> Opened:
        file = tmp_path / "report.html"
        write_html(report, str(file))
        page = browser.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = Opened(page)
        page.goto(file.as_uri())
        page.wait_for_function("document.documentElement.dataset.ready")
        return found

    yield open_
    for page in pages:
        page.close()
