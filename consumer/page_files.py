"""The files of the page at `/`: plain HTML, CSS and script in `consumer/page/`, which load nothing from elsewhere.

Included by the page's routes. They hold no data, so nobody is asked for the token. Text of models and users is shown as
text only, and the policy below would stop it even if it were not.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

# Without the token.
OPEN = ("/", "/page/files/")
READ = ["GET", "HEAD"]
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
SAFE = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class File(NamedTuple):
    """One file of the page; `tag` names its content."""

    content: bytes
    kind: str
    tag: str


def router() -> APIRouter:
    """The routes `/` and `/page/files/…`."""
    routes = APIRouter(include_in_schema=False)
    page = _files()

    @routes.api_route("/", methods=READ)
    async def index(request: Request) -> Response:
        return _served(page["index.html"], request)

    @routes.api_route("/page/files/{name}", methods=READ)
    async def file(name: str, request: Request) -> Response:
        if name not in page:
            raise HTTPException(404, "There is no such file.")
        return _served(page[name], request)

    return routes


def _files() -> dict[str, File]:
    """The page's files, read once."""
    found = {}
    for each in files("consumer").joinpath("page").iterdir():
        kind = KINDS.get(each.name[each.name.rfind(".") :])
        if kind is not None:
            content = each.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
            found[each.name] = File(content, f"{kind}; charset=utf-8", tag)
    return found


def _served(file: File, request: Request) -> Response:
    """The file, or that the browser's copy is still right."""
    headers = {**SAFE, "ETag": file.tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers={**headers, "Content-Type": file.kind})
