"""The page's files: small, plain, self-contained, and safe by the way they are written."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib.resources import files

import httpx
import pytest
from fastapi import FastAPI

from consumer import page_files

FOLDER = files("consumer").joinpath("page")
NAMES = sorted(each.name for each in FOLDER.iterdir())
# What makes HTML or code of a text.
MAKES_CODE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc"
)


def text(name: str) -> str:
    return FOLDER.joinpath(name).read_text()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(page_files.router())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as it:
        yield it


async def test_a_copy_that_is_still_right_is_not_sent_again(client: httpx.AsyncClient) -> None:
    for path in ("/", *(f"/page/files/{name}" for name in NAMES)):
        first = await client.get(path)
        again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
        assert first.headers["content-security-policy"] == again.headers["content-security-policy"]
        assert first.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nobody.js", "..%2fhttp.py", "%2e%2e/http.py", "__init__.py"])
async def test_nothing_but_the_pages_files_is_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/page/files/{name}")).status_code == 404


def test_the_policy_lets_nothing_in_from_elsewhere() -> None:
    rules = dict(rule.strip().partition(" ")[::2] for rule in page_files.POLICY.split(";"))
    assert (rules["default-src"], rules["script-src"], rules["style-src"]) == ("'none'", "'self'", "'self'")
    assert (rules["frame-ancestors"], rules["base-uri"], rules["form-action"]) == ("'none'", "'none'", "'none'")
    assert "unsafe" not in page_files.POLICY
    assert "*" not in page_files.POLICY


@pytest.mark.parametrize("name", NAMES)
def test_no_file_names_another_place_or_makes_code_of_text(name: str) -> None:
    said = text(name).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]+\.", said)
    assert not MAKES_CODE.search(said)


def test_the_html_has_no_script_or_style_of_its_own() -> None:
    html = text("index.html")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", html)


def test_all_of_it_is_small() -> None:
    assert sum(len(text(name)) for name in NAMES) < 80_000
