"""The HTTP server under the face: uvicorn's, except that jobs come first.

Used by the face, in the worker's own event loop. A connection carries one request, so connections are taken at a pace
that leaves the loop to the jobs; the others wait in the kernel, where they cost nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import uvicorn
from loguru import logger
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

# A connection serves one request, in so many seconds: a client that sends slowly or never cannot keep it.
LONGEST_CONNECTION = 30.0
MOST_CONNECTIONS = 100
# Seconds that answers under way may take when the worker ends.
LAST_ANSWERS = 2
# Seconds between two connections. What the loop's thread has worked in them, for answers and jobs alike, is left to it
# so many times over; but some connection is always taken (benchmarks/face.py).
PACE, YIELD, LONGEST_YIELD = 0.005, 2, 0.1
# Seconds until the next try when none can be taken, e.g. for want of file descriptors.
TROUBLE = 1.0


class Server(uvicorn.Server):
    """Answers with `app` at the listener, which it closes in the end; `up` once it does, `over` ends it.

    Without signal handlers, and without uvicorn's ten looks a second.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app, http=_OneRequest, ws="none", lifespan="off", log_config=None, log_level="error", access_log=False,
                server_header=False, limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=LAST_ANSWERS,
            )
        )  # fmt: skip
        self.up, self.over = asyncio.Event(), asyncio.Event()
        self._listener = listener

    async def run_until_over(self) -> None:
        """Serve; a defect is logged, and the worker goes on."""
        try:
            await self.serve(sockets=[self._listener])
        except Exception:
            logger.exception("the HTTP face broke; the worker goes on without it")
        finally:
            self.up.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Nothing of uvicorn's, which would take all connections at once."""
        self._listener.setblocking(False)
        self.servers = []
        self.started = True

    async def main_loop(self) -> None:
        """Take connections until it is over."""
        async with asyncio.TaskGroup() as group:
            taking = group.create_task(self._take_connections(), name="http-connections")
            self.up.set()
            await self.over.wait()
            taking.cancel()

    async def _take_connections(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
                worked = time.thread_time()
                await loop.connect_accepted_socket(self._protocol, connection)
            except OSError as error:
                logger.warning("HTTP: a connection could not be taken: {}", error)
                await asyncio.sleep(TROUBLE)
                continue
            await asyncio.sleep(PACE)
            await asyncio.sleep(min(YIELD * (time.thread_time() - worked), LONGEST_YIELD))

    def _protocol(self) -> asyncio.Protocol:
        return _OneRequest(self.config, self.server_state, self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the worker."""
        yield


class _OneRequest(H11Protocol):
    """A connection with a last moment."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._end = self.loop.call_later(LONGEST_CONNECTION, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)
