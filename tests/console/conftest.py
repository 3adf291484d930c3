"""The console over a seeded store, and a real Chromium that looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from seed import make_app, open_seeded
from starlette.testclient import TestClient

from opintel.console.app import serve
from opintel.store import Store

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
CHROMIUM += ["--disable-background-networking", "--disable-component-update"]
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) => window.violations.push(e.violatedDirective));
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_seeded(tmp_path / "store.db")
    yield opened
    opened.close()


@pytest.fixture
def client(store: Store) -> TestClient:
    """A client on this machine; its POSTs say that they come from the console's own page."""
    return TestClient(
        make_app(store), "http://127.0.0.1:8095", headers={"Origin": "http://127.0.0.1:8095"}, follow_redirects=False
    )


@pytest.fixture
def guarded(store: Store) -> TestClient:
    """The same of a console that wants a token, under another name."""
    return TestClient(
        make_app(store, "correct horse battery"),
        "http://console.example.org",
        headers={"Origin": "http://console.example.org"},
        follow_redirects=False,
    )


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    """Where a served console is."""
    console = serve(make_app(store))
    yield console.url
    console.stop()


@pytest.fixture(scope="session")
def chromium(part: Callable[[str], Path]) -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = part("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(path), args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of 1440x900 that may show no error, run no foreign script and break no policy.

    What serves it is asked for before it, so that it is there until the page is closed.
    """
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script(WATCH)
    context.set_default_timeout(15_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
    yield page
    told = page.evaluate("({pwned: window.pwned ?? null, violations: window.violations})")
    context.close()
    assert problems == []
    assert told == {"pwned": None, "violations": []}
