"""Who may ask the HTTP face, and what every answer carries. An ASGI application around another; reads no body.

On loopback the Host must be this machine by name: a page in a browser could otherwise reach the worker through a name
that is made to point here (DNS rebinding). With a token, all paths but the open ones ask for it, also those that do
not exist.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from email.utils import formatdate

from fastapi.responses import JSONResponse
from loguru import logger
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumer.hosts import is_loopback, parse_place

Headers = Mapping[bytes, bytes]


class Guard:
    """Lets a request through to `app`, or answers it. `host` is the address that it came to.

    `open_paths` need no token; one that ends with a slash stands for all paths that begin so, but for "/" itself.
    """

    def __init__(self, app: ASGIApp, host: str, token: SecretStr | None, open_paths: Collection[str]) -> None:
        self._app = app
        self._on_loopback = is_loopback(host)
        self._token = token
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a defect is logged, and never told."""

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                message["headers"] = [*given, *_for_every_answer(but={name for name, _ in given})]
            await send(message)

        try:
            await (self._refusal(scope) or self._app)(scope, receive, sealed)
        except Exception:
            logger.exception("a defect of the HTTP face")

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = dict(scope["headers"])
        if self._on_loopback and not _is_here(headers):
            return JSONResponse({"error": "Ask by the name localhost or by the address."}, 403)
        if not self._is_open(scope["path"]) and not self._knows_the_token(headers):
            return JSONResponse(
                {"error": "Send the header: Authorization: Bearer and the worker's WORKER_API_TOKEN."}, 401,
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        return None

    def _is_open(self, path: str) -> bool:
        return any(path == each or (each[-1:] == "/" != each and path.startswith(each)) for each in self._open_paths)

    def _knows_the_token(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        right = hmac.compare_digest(given.strip(), self._token.get_secret_value().encode())
        return right and scheme.lower() == b"bearer"


def _is_here(headers: Headers) -> bool:
    try:
        return is_loopback(parse_place(headers.get(b"host", b"").decode("latin-1")).host)
    except ValueError:
        return False


def _for_every_answer(but: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """No copy may be kept, no type guessed; and the connection ends, so that no client keeps one.

    `but`: what the answer says itself.
    """
    all_of_them = [
        (b"date", formatdate(usegmt=True).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    return [header for header in all_of_them if header[0] not in but]
