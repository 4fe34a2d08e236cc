"""The HTTP face: Ollama's native API for development and tests, in the running event loop.

Called by `devstack.stack` and the tests as `devstack.model.ModelServer`. Every answer says what it is: `X-Devstack`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from devstack.model.answers import Clock, answer, no_answer, whole
from devstack.model.asgi import QuietServer, Receive, body_of, gone, is_local, listener_on
from devstack.model.faults import Dropped, Faults, spoil
from devstack.model.models import VERSION, Catalogue, Model, full_name, model_file
from devstack.model.pull import Registry
from devstack.model.reply import Reply
from devstack.model.requests import Kind, Request, parse
from devstack.model.scheduler import Scheduler
from devstack.model.wire import ApiError, JsonObject, dumps, loads

Route = Callable[[bytes, Reply], Awaitable[None]]


class ModelServer:
    """Serves `names`, each a load of its own of the embedded small model, at most `max_loaded` at a time.

    `port` 0 takes a free one. `keep_alive` (seconds) is the default of requests that name none; more than `max_queue`
    requests that wait for a load are refused with 503. The names in `pullable` are served once they are pulled.
    `faults` break it on purpose. `DevStackError` when the model file is missing.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, names: Sequence[str] = ("mistral:7b", "qwen2.5:7b"),
        max_loaded: int = 1, keep_alive: float = 300.0, max_queue: int = 512, faults: Faults | None = None,
        pullable: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._host, self._port = host, port
        self.faults = faults or Faults()
        self._scheduler = Scheduler(
            max_loaded=max_loaded, keep_alive=keep_alive, max_queue=max_queue, faults=self.faults
        )
        self._catalogue = Catalogue(names, model_file())
        self._registry = Registry(pullable, self.faults)
        self._server: QuietServer | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def pids(self) -> dict[str, int]:
        """Process id by name of the loaded models: for tests that kill one or stop it."""
        return self._scheduler.pids

    def add(self, name: str) -> None:
        """Serve this name, as after a pull."""
        self._catalogue.add(name)

    def remove(self, name: str) -> None:
        """Serve this name no longer, as after a delete."""
        self._catalogue.remove(name)

    @property
    def url(self) -> str:
        """Where it listens, e.g. `http://127.0.0.1:11434`."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen, and return when requests are answered; nothing is loaded yet.

        Raises:
            DevStackError: the port is taken.
        """
        listener = listener_on(self._host, self._port)
        self._port = listener.getsockname()[1]
        self._server = QuietServer(self)
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

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        """The ASGI application: one task per request, cancelled when its client goes away."""
        body = await body_of(receive)
        work = asyncio.create_task(self._answer(scope, body, Reply(send, scope["method"] == "HEAD")))
        leaving = asyncio.create_task(gone(receive))
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, leaving):
                task.cancel()
            await asyncio.wait({work, leaving})
        if not work.cancelled() and (error := work.exception()):
            raise error

    async def _answer(self, scope: Any, body: bytes, reply: Reply) -> None:
        if not is_local(dict(scope["headers"]).get(b"host", b"").decode("latin-1")):
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
            "/api/delete": {"DELETE": self._delete},
            "/api/pull": {"POST": self._pull},
            "/api/chat": {"POST": lambda body, reply: self._generate("chat", body, reply)},
            "/api/generate": {"POST": lambda body, reply: self._generate("generate", body, reply)},
        }

    async def _tags(self, _: bytes, reply: Reply) -> None:
        await reply.json(200, {"models": [model.tag() for model in self._catalogue.models]})

    async def _ps(self, _: bytes, reply: Reply) -> None:
        await reply.json(200, {"models": self._scheduler.running()})

    async def _show(self, body: bytes, reply: Reply) -> None:
        await reply.json(200, self._catalogue.find(_named(loads(body))).show(), chunked=True)

    async def _delete(self, body: bytes, reply: Reply) -> None:
        self._catalogue.remove(self._catalogue.find(_named(loads(body))).name)
        await reply.nothing(200)

    async def _pull(self, body: bytes, reply: Reply) -> None:
        asked = loads(body)
        model = Model(full_name(_named(asked)), self._catalogue.path)
        lines = spoil(self._registry.pull(model), self.faults.pulls)
        async with contextlib.aclosing(lines):
            async for line in lines:
                if line["status"] == "success":
                    self._catalogue.add(model.name)
                if asked.get("stream", True):
                    await reply.line(dumps(line))
        await (reply.end() if asked.get("stream", True) else reply.json(200, line))

    async def _generate(self, which: Kind, body: bytes, reply: Reply) -> None:
        asked = time.perf_counter_ns()
        request = parse(which, loads(body))
        model = self._catalogue.find(request.model)
        if request.empty and request.keep_alive == 0:
            await self._scheduler.unload(model)
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
                chunks = spoil(answer(request, runner, clock), self.faults.queue, runner.freeze)
                await self._send(request, chunks, reply)

    async def _send(self, request: Request, chunks: AsyncGenerator[JsonObject, None], reply: Reply) -> None:
        async with contextlib.aclosing(chunks):
            if not request.stream:
                await reply.json(200, await whole(request, chunks))
                return
            async for item in chunks:
                await reply.line(dumps(item))
            await reply.end()


async def _root(_: bytes, reply: Reply) -> None:
    await reply.text(200, "Ollama is running", "text/plain; charset=utf-8")


async def _version(_: bytes, reply: Reply) -> None:
    await reply.json(200, {"version": VERSION})


def _named(body: Any) -> str:
    name = (body.get("model") or body.get("name")) if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise ApiError(400, "model is required")
    return name


def _check_capabilities(request: Request, model: Model) -> None:
    if "tools" in request.wants:
        raise ApiError(400, f"registry.ollama.ai/library/{model.name} does not support tools")
    if "thinking" in request.wants:
        raise ApiError(400, f'"{request.model}" does not support thinking')
