"""The one address of the embedded project: `/rest/v1` and `/realtime/v1` behind API keys, as a hosted gateway has it.

Owns: the HTTP server (uvicorn, in the running event loop), the exchange of API keys for JWTs, CORS. Called by
`devstack.stack` and by the tests, which stop and start it to play an outage.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode

import jwt
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from devstack.errors import DevStackError
from devstack.keys import Keys
from devstack.realtime import RealtimeApi
from devstack.rest import RestApi

GRACE = 1.0
WS_MAX_SIZE = 5_000_000
ABOUT = {"name": "workflow-consumer embedded dev stack", "rest": "/rest/v1", "realtime": "/realtime/v1"}
NOT_HERE = (
    "The embedded dev stack serves /rest/v1 and /realtime/v1 only; there is no auth, storage or functions server."
)


class Gateway:
    """REST and Realtime on one port of `host`; `port` 0 takes a free one and keeps it over restarts.

    `dsn_of(login)` gives the connection URL of a database login role. Without `realtime` a default one is made.
    """

    def __init__(
        self, dsn_of: Callable[[str], str], keys: Keys, *, host: str = "127.0.0.1", port: int = 0,
        realtime: RealtimeApi | None = None,
    ) -> None:  # fmt: skip
        self._host = host
        self._port = port
        self._rest = RestApi(dsn_of("authenticator"), keys.jwt_secret)
        self._realtime = realtime or RealtimeApi(dsn_of, keys)
        self.requests = 0
        self._app = _application(self._rest, self._realtime, Middleware(ApiKeys, keys=keys, count=self._count))
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The project's URL; known once it was started."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen, then start both halves; a database that is away makes them wait, not fail.

        Raises:
            DevStackError: the port is taken or may not be used.
        """
        listener = _bind(self._host, self._port)
        self._port = listener.getsockname()[1]
        try:
            await self._rest.start()
            await self._realtime.start()
        except BaseException:
            listener.close()
            await self._stop_halves()
            raise
        self._server = _Server(_config(self._app))
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="gateway")
        while not self._server.started:
            await asyncio.wait({self._task}, timeout=0.005)
            if self._task.done():
                await self._task

    async def stop(self) -> None:
        """Close the port, every websocket (1012) and every connection; requests get a second to finish, then 503."""
        server, task = self._server, self._task
        if server is None or task is None:
            return
        self._server = self._task = None
        server.should_exit = True
        await asyncio.wait({task}, timeout=GRACE)
        await self._stop_halves()
        await task

    def _count(self) -> None:
        """REST requests so far; the benchmarks ask."""
        self.requests += 1

    async def _stop_halves(self) -> None:
        await self._realtime.stop()
        await self._rest.stop()


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: signals belong to the application around it."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class ApiKeys:
    """Lets requests with a known API key through, with a JWT for the key where no other token is given."""

    def __init__(self, app: ASGIApp, keys: Keys, count: Callable[[], None]) -> None:
        self._app = app
        self._keys = keys
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: 401 without a key or with an unknown one."""
        self._count()
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        headers = MutableHeaders(scope=scope)
        key = headers.get("apikey") or dict(query).get("apikey")
        if not key:
            refusal = _refusal("No API key found in request", "No `apikey` request header or url param was found.")
            return await refusal(scope, receive, send)
        if not self._known(key):
            refusal = _refusal("Invalid API key", "Double check the `anon` or `service_role` API key.")
            return await refusal(scope, receive, send)
        if headers.get("authorization") in (None, f"Bearer {key}"):
            headers["authorization"] = f"Bearer {self._keys.exchange(key)}"
        if "apikey" in dict(query):
            rest = [pair for pair in query if pair[0] != "apikey"]
            scope["query_string"] = urlencode(rest, encoding="latin-1").encode()
        return await self._app(scope, receive, send)

    def _known(self, key: str) -> bool:
        """One of the two `sb_…` keys, or a JWT of ours for one of the two roles that API keys stand for."""
        try:
            claims = jwt.decode(self._keys.exchange(key), self._keys.jwt_secret, algorithms=["HS256"])
        except jwt.PyJWTError:
            return False
        return claims.get("role") in ("anon", "service_role")


def _application(rest: RestApi, realtime: RealtimeApi, api_keys: Middleware) -> Starlette:
    routes: list[BaseRoute] = [
        Mount("/rest/v1", routes=rest.routes, middleware=[api_keys]),
        Mount("/realtime/v1", routes=realtime.routes),
        Route("/", _about),
        Route("/health", _about),
        Mount("/", app=_not_here),
    ]
    cors = Middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], expose_headers=["*"],
        max_age=86400,
    )  # fmt: skip
    return Starlette(routes=routes, middleware=[cors])


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app, http="h11", ws="websockets-sansio", lifespan="off", access_log=False, log_config=None, log_level="warning",
        server_header=False, ws_max_size=WS_MAX_SIZE, ws_per_message_deflate=False, ws_ping_interval=None,
        timeout_graceful_shutdown=2 * int(GRACE),
    )  # fmt: skip


def _bind(host: str, port: int) -> socket.socket:
    # With the protocol named, asyncio switches Nagle's algorithm off; else small answers wait for 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({os.strerror(error.errno or 0)})"
        raise DevStackError(
            f"port {port} of {host} {reason}: stop what listens there, or choose another port (0 takes a free one)"
        ) from error
    return listener


def _refusal(message: str, hint: str) -> JSONResponse:
    return JSONResponse({"message": message, "hint": hint}, 401)


async def _about(_: Request) -> JSONResponse:
    return JSONResponse({**ABOUT, "status": "healthy"})


async def _not_here(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await JSONResponse({"message": NOT_HERE}, 404)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1000})
