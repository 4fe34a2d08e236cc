"""Who may ask the HTTP face, and what every answer carries. An ASGI application around another.

On loopback the Host must be this machine by name: a page in a browser could otherwise reach the worker through a name
that is made to point here (DNS rebinding). With a token, all paths but the open ones ask for it, also those that do
not exist. Without one, nothing is changed for a page of another site: its browser says where it comes from. A body is
read no further than the limit. CORS is off but for the origins that are named.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from email.utils import formatdate

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from loguru import logger
from pydantic import SecretStr
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumer.hosts import is_loopback, parse_place

Headers = Mapping[bytes, bytes]
# Bytes: what a job may hold in all (sql_migrations/13), and then some.
LARGEST_BODY = 5 * 1024 * 1024
_READING = ("GET", "HEAD", "OPTIONS")
_TOO_LARGE = f"The body is larger than {LARGEST_BODY} bytes. Make it smaller."


class Guard:
    """Lets a request through to `app`, or answers it. `host` is the address that it came to.

    `open_paths` need no token; one that ends with a slash stands for all paths that begin so, but for "/" itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        token: SecretStr | None,
        open_paths: Collection[str],
        origins: Collection[str] = (),
    ) -> None:
        self._app = app
        self._origins = origins
        self._answer: ASGIApp = self._checked
        if origins:
            self._answer = CORSMiddleware(
                self._checked, allow_origins=list(origins), allow_methods=["GET", "POST"], max_age=600,
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key"], expose_headers=["Retry-After"],
            )  # fmt: skip
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
            await self._answer(scope, receive, sealed)
        except Exception:
            logger.exception("a defect of the HTTP face")

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._refusal(scope) or self._app)(scope, _limited(receive), send)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = dict(scope["headers"])
        if self._on_loopback and not _is_here(headers):
            return JSONResponse({"error": "Ask by the name localhost or by the address."}, 403)
        if not self._is_open(scope["path"]) and not self._knows_the_token(headers):
            return JSONResponse(
                {"error": "Send the header: Authorization: Bearer and the worker's WORKER_API_TOKEN."}, 401,
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        if scope["method"] not in _READING and _length(headers) > LARGEST_BODY:
            return JSONResponse({"error": _TOO_LARGE}, 413)
        if scope["method"] not in _READING and self._token is None and self._from_elsewhere(headers):
            return JSONResponse({"error": "A page of another site may not ask for this. See HTTP_CORS_ORIGINS."}, 403)
        return None

    def _from_elsewhere(self, headers: Headers) -> bool:
        """Whether a browser sends this for a page that is not ours; what is no browser says nothing of it."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin:
            return origin not in self._origins and origin != f"http://{headers.get(b'host', b'').decode('latin-1')}"
        return headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin")

    def _is_open(self, path: str) -> bool:
        return any(path == each or (each[-1:] == "/" != each and path.startswith(each)) for each in self._open_paths)

    def _knows_the_token(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        right = hmac.compare_digest(given.strip(), self._token.get_secret_value().encode())
        return right and scheme.lower() == b"bearer"


def _length(headers: Headers) -> int:
    given = headers.get(b"content-length", b"0")
    return int(given) if given.isdigit() else 0


def _limited(receive: Receive) -> Receive:
    """The same body, until it is too large."""
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > LARGEST_BODY:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return limited


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
