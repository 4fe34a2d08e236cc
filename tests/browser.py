"""A real Chromium for tests of pages, and an eye on all that a page must not do: errors, strangers, broken policies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, async_playwright

from tests.debian import program
from tests.node import node_modules

QUIET = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
TOKEN_KEY = "worker-token"
TELL_VIOLATIONS = (
    "addEventListener('securitypolicyviolation', e => console.error(`CSP ${e.violatedDirective}: ${e.blockedURI}`))"
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, headless; skips where it is not installed."""
    path = program("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(QUIET))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser, url: str, *, token: str | None = None, expected: tuple[str, ...] = (), **context: Any
) -> AsyncIterator[Page]:
    """The page at `url` in a fresh profile. At the end: no console error but the `expected`, no request elsewhere."""
    async with await browser.new_context(**context) as profile:
        await profile.add_init_script(TELL_VIOLATIONS)
        if token is not None:
            await profile.add_init_script(f"sessionStorage.setItem('{TOKEN_KEY}', '{token}')")
        page = await profile.new_page()
        wrong: list[str] = []
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(f"{error}\n{error.stack}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        await page.goto(url)
        yield page
        assert [each for each in wrong if not any(known in each for known in expected)] == []
        assert asked - {""} <= {urlsplit(url).netloc}


async def unreachable_by_some(page: Page, *rules: str) -> list[str]:
    """What axe finds that keeps people with some disability out, as `rule: element`; by all rules or by these."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate((node_modules() / "axe-core" / "axe.min.js").read_text())
    found = await page.evaluate("rules => axe.run(rules.length ? { runOnly: rules } : {})", list(rules))
    return [f"{each['id']}: {node['html'][:200]}" for each in found["violations"] for node in each["nodes"]]
