"""The worker's HTTP face (contract §3): how it is, in words for people and in figures for Prometheus. Off unless asked.

Made and run by the app, in the worker's own event loop, from before it says that it is ready until after it has
drained. Its end, or any defect of it, is not the worker's end. What is answered here comes from memory and waits for
nothing; routers of their own modules answer what needs the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from loguru import logger
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import SecretStr

from consumer import http_callers, http_errors, http_jobs, http_page, http_pause, page_files
from consumer.errors import ConfigurationError, ServiceUnavailable, SetupError
from consumer.hosts import Place, is_loopback, parse_origins
from consumer.http_guard import Guard
from consumer.http_parts import Parts
from consumer.http_server import Server
from consumer.prometheus import Exporter
from consumer.status import Status, identity
from consumer.store import Store
from schemas.catalog import Catalog

# Asked without the token; one that ends with a slash stands for all that begin so.
OPEN = ("/healthz", "/readyz", *page_files.OPEN, *http_callers.OPEN)
ROUTERS = (http_jobs.router, http_pause.router, http_callers.router, http_page.router)
Answer = TypeVar("Answer", bound=Callable[..., Any])


class Face:
    """Owns the port from its making on, and answers there while `serving`. `observer` is where its figures arise.

    `token`, where there is one, is asked for by all paths but the open ones.

    Raises:
        ConfigurationError: this machine has no such address, this user may not have the port, or other machines can
            reach it and there is no token.
        ServiceUnavailable: the port is taken.
    """

    def __init__(self, place: Place, token: SecretStr | None) -> None:
        self.observer = Exporter()
        self._token = token
        self._listener = _bound(place, open_to_others=token is not None)
        host, port = self._listener.getsockname()[:2]
        self.place = Place(host, port)

    @contextlib.asynccontextmanager
    async def serving(self, status: Status, store: Store, catalog: Catalog) -> AsyncIterator[None]:
        """Answer meanwhile; requests that came before are answered first."""
        self.observer.read(status)
        parts = Parts(status, self.observer, store, catalog)
        origins = parse_origins(status.settings.http_cors_origins or "")
        app = Guard(build(parts), self.place.host, self._token, OPEN, origins)
        server = Server(app, self._listener)
        work = asyncio.create_task(server.run_until_over(), name="http")
        await server.up.wait()
        logger.info("answering on http://{}", self.place)
        try:
            yield
        finally:
            parts.over.set()
            server.over.set()
            await work

    def close(self) -> None:
        """Leave the port. Repeating it does nothing."""
        self._listener.close()


def build(parts: Parts) -> FastAPI:
    """The routes. Every error is a sentence in JSON."""
    version = str(identity()["version"])
    app = FastAPI(title="workflow-consumer", version=version, docs_url=None, redoc_url=None, redirect_slashes=False)
    http_errors.install(app)
    for router in ROUTERS:
        app.include_router(router(parts))
    _add_looks(app, parts)
    return app


def _add_looks(app: FastAPI, parts: Parts) -> None:
    """How the worker is; answered from memory."""
    status = parts.status

    def read(path: str, *codes: int, kind: type[Response] = JSONResponse) -> Callable[[Answer], Answer]:
        def both(answer: Answer) -> Answer:
            app.head(path, include_in_schema=False)(answer)
            others: dict[int | str, dict[str, Any]] = {code: {} for code in codes}
            return app.get(path, tags=["worker"], response_class=kind, responses=others)(answer)

        return both

    @read("/healthz")
    async def alive() -> JSONResponse:
        """Whether the process lives."""
        return JSONResponse({"status": "alive"})

    @read("/readyz", 503)
    async def ready() -> JSONResponse:
        """Whether a job would be taken now; 503 says why not."""
        why = status.not_ready()
        return JSONResponse({"status": "not ready", "reason": why}, 503) if why else JSONResponse({"status": "ready"})

    @read("/health", 503)
    async def health() -> JSONResponse:
        """How the worker is; 503 when it is degraded or unhealthy, with the reasons."""
        found = status.health()
        return JSONResponse(found.as_json(), 200 if found.status == "healthy" else 503)

    @read("/metrics", kind=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """The figures for Prometheus."""
        return PlainTextResponse(parts.figures.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _bound(place: Place, *, open_to_others: bool) -> socket.socket:
    family, address = _resolved(place)
    if not (open_to_others or is_loopback(str(address[0]))):
        raise ConfigurationError(
            f"WORKER_API_TOKEN: is not set, but other machines can reach {place}. Set it to 16 or more characters, "
            "e.g. the output of: openssl rand -hex 24 (or listen on 127.0.0.1)."
        )
    # The protocol must be named, or asyncio leaves Nagle's algorithm on and an answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise _cannot(place, error) from error
    return listener


def _resolved(place: Place) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    try:
        family, *_, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise _cannot(place, error) from error
    return family, address


def _cannot(place: Place, error: OSError) -> SetupError:
    what = f"HTTP_LISTEN: cannot listen on {place} ({error.strerror})."
    if error.errno == errno.EADDRINUSE:
        return ServiceUnavailable(f"{what} Stop what listens there, or choose another port: --http HOST:PORT.")
    if error.errno == errno.EACCES:
        return ConfigurationError(f"{what} Choose a port over 1023.")
    return ConfigurationError(f"{what} Choose an address of this machine, e.g. 127.0.0.1:8001.")
