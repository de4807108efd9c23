"""A real browser for the tests of pages: one for all of them, since a process can drive no two."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120_000
"""Milliseconds to wait for what has to happen, however busy the machine is."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a screen. Where there is none the tests are skipped, or fail if they are required."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        if os.environ.get("OPTBENCH_BROWSER_TESTS") == "required":
            pytest.fail(f"OPTBENCH_BROWSER_TESTS=required, and there is none of {', '.join(BROWSERS)}")
        pytest.skip("no browser found")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"], timeout=PATIENCE)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page with the network off. At the end nothing may have been asked for but the page itself, and nothing
    may have been said on the console."""
    problems: list[str] = []
    contexts = []

    def opened(path: Path, fragment: str = "", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_offline(True)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"console {message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("request", lambda request: requested(request.url))
        address = path.as_uri()

        def requested(url: str) -> None:
            if url.partition("#")[0] != address and not url.startswith("data:image/"):
                problems.append(f"asked for {url[:200]}")

        page.goto(address + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
