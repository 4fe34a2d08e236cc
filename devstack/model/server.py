"""The HTTP face: Ollama's native API for development and tests, in the running event loop.

Called by `devstack.stack` and the tests as `devstack.model.ModelServer`. Every answer says what it is: `X-Devstack`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import uvicorn

from devstack.errors import DevStackError
from devstack.model.answers import Clock, answer, no_answer, whole
from devstack.model.faults import Dropped, Faults
from devstack.model.models import VERSION, Catalogue, Model, model_file
from devstack.model.reply import Reply
from devstack.model.requests import Kind, Request, parse
from devstack.model.scheduler import Scheduler
from devstack.model.wire import ApiError, JsonObject, dumps, loads

_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
Route = Callable[[bytes, Reply], Awaitable[None]]


class ModelServer:
    """Serves `names`, each a load of its own of the embedded small model, at most `max_loaded` at a time.

    `port` 0 takes a free one. `keep_alive` (seconds) is the default of requests that name none; more than `max_queue`
    requests that wait for a load are refused with 503. `faults` breaks answers on purpose.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, names: Sequence[str] = ("mistral:7b", "qwen2.5:7b"),
        max_loaded: int = 1, keep_alive: float = 300.0, max_queue: int = 512, faults: Faults | None = None,
    ) -> None:  # fmt: skip
        self._host, self._port = host, port
        self._names = names
        self._faults = faults or Faults()
        self._scheduler = Scheduler(
            max_loaded=max_loaded, keep_alive=keep_alive, max_queue=max_queue, load_delay=self._faults.load_delay
        )
        self._catalogue = Catalogue((), model_file())
        self._server: _Quiet | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens, e.g. `http://127.0.0.1:11434`."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen, and return when requests are answered; nothing is loaded yet.

        Raises:
            DevStackError: the port is taken, or the model file is missing.
        """
        listener = self._bind()
        self._catalogue = Catalogue(self._names, model_file())
        config = uvicorn.Config(
            self, http="h11", ws="none", lifespan="off", log_config=None, log_level="critical", access_log=False,
            server_header=False, timeout_keep_alive=75,
        )  # fmt: skip
        self._server = _Quiet(config)
        self._scheduler.start()
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        await self._server.up.wait()

    async def stop(self) -> None:
        """Drop every connection, unload every model, free the port."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        self._drop()
        await self._serving
        await self._scheduler.stop()
        self._server = self._serving = None

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        """The ASGI application: one task per request, cancelled when its client goes away."""
        body = await _body(receive)
        work = asyncio.create_task(self._answer(scope, body, Reply(send, scope["method"] == "HEAD")))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.wait({work, gone})
        if not work.cancelled() and (error := work.exception()):
            raise error

    def _bind(self) -> socket.socket:
        # The protocol must be named, or asyncio leaves Nagle's algorithm on and chunks wait 40 ms for an ACK.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
        except OSError as error:
            listener.close()
            raise DevStackError(
                f"the model server cannot listen on {self._host}:{self._port} ({error.strerror}): "
                "stop what listens there (perhaps a real Ollama), or choose another port"
            ) from error
        self._port = listener.getsockname()[1]
        return listener

    async def _answer(self, scope: Any, body: bytes, reply: Reply) -> None:
        if not _is_local(dict(scope["headers"]).get(b"host", b"").decode("latin-1")):
            return await reply.nothing(403)
        routes = self._routes().get(scope["path"])
        if routes is None:
            return await reply.text(404, "404 page not found", "text/plain")
        route = routes.get("GET" if scope["method"] == "HEAD" else scope["method"])
        if route is None:
            return await reply.text(405, "405 method not allowed", "text/plain")
        try:
            await route(body, reply)
        except ApiError as error:
            await reply.error(error)
        except Dropped:
            self._drop(scope["client"])

    def _drop(self, client: Any = None) -> None:
        """Break the connection of one client, or all."""
        for connection in list(self._server.server_state.connections) if self._server else ():
            if client is None or getattr(connection, "client", None) == client:
                connection.transport.abort()

    def _routes(self) -> dict[str, dict[str, Route]]:
        return {
            "/": {"GET": _root},
            "/api/version": {"GET": _version},
            "/api/tags": {"GET": self._tags},
            "/api/ps": {"GET": self._ps},
            "/api/show": {"POST": self._show},
            "/api/chat": {"POST": lambda body, reply: self._generate("chat", body, reply)},
            "/api/generate": {"POST": lambda body, reply: self._generate("generate", body, reply)},
        }

    async def _tags(self, _: bytes, reply: Reply) -> None:
        await reply.json(200, {"models": [model.tag() for model in self._catalogue.models]})

    async def _ps(self, _: bytes, reply: Reply) -> None:
        await reply.json(200, {"models": self._scheduler.running()})

    async def _show(self, body: bytes, reply: Reply) -> None:
        asked = loads(body)
        name = (asked.get("model") or asked.get("name")) if isinstance(asked, dict) else None
        if not isinstance(name, str):
            raise ApiError(400, "model is required")
        await reply.json(200, self._catalogue.find(name).show(), chunked=True)

    async def _generate(self, which: Kind, body: bytes, reply: Reply) -> None:
        asked = time.perf_counter_ns()
        request = parse(which, loads(body))
        model = self._catalogue.find(request.model)
        if request.empty and request.keep_alive == 0:
            self._scheduler.unload(model)
            await reply.json(200, no_answer(request, "unload"))
            return
        _check_capabilities(request, model)
        async with self._scheduler.lease(model, request.launch(), request.keep_alive) as runner:
            if request.empty:
                await reply.json(200, no_answer(request, "load"))
                return
            clock = Clock(asked, time.perf_counter_ns())
            reply.streaming = request.stream
            async with runner.slot:
                if not runner.alive:
                    raise ApiError(500, "llama-server process no longer running: unknown ", relayed=True)
                await self._send(request, self._faults.spoil(answer(request, runner, clock)), reply)

    async def _send(self, request: Request, chunks: AsyncGenerator[JsonObject, None], reply: Reply) -> None:
        async with contextlib.aclosing(chunks):
            if not request.stream:
                await reply.json(200, await whole(request, chunks))
                return
            async for item in chunks:
                await reply.line(dumps(item))
            await reply.end()


class _Quiet(uvicorn.Server):
    """uvicorn without signal handlers, and with a word when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the program, not to this server."""
        yield


async def _root(_: bytes, reply: Reply) -> None:
    await reply.text(200, "Ollama is running", "text/plain; charset=utf-8")


async def _version(_: bytes, reply: Reply) -> None:
    await reply.json(200, {"version": VERSION})


def _check_capabilities(request: Request, model: Model) -> None:
    if "tools" in request.wants:
        raise ApiError(400, f"registry.ollama.ai/library/{model.name} does not support tools")
    if "thinking" in request.wants:
        raise ApiError(400, f'"{request.model}" does not support thinking')


def _is_local(host: str) -> bool:
    """Whether a Host header may come from this machine: a guard against DNS rebinding, as in the real one."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]").lower()
    if name in ("", "localhost", socket.gethostname().lower()) or name.endswith(_LOCAL_SUFFIXES):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _body(receive: Callable[[], Awaitable[Any]]) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
