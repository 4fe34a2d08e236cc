"""Which models are loaded: one load at a time, a limit, eviction, keep_alive timers, unloads.

Called by `devstack.model.server`. As in the real scheduler: a request for a loaded model passes by the queue; all
others are served in order by one worker, which waits for a busy model to finish before it evicts it (facts/ollama.md
§2). Before a loaded model is handed out its process is asked whether it lives, once by the request and, when that gives
up after `Faults.ping_seconds`, once more by the worker, which then unloads it; an unload waits for a question under way
(Ollama's server/sched.go, `needsReload`). That is why the recorded unload of a hung runner took 5 s: the request before
it had come 15 s earlier, and the second question ended 20 s after it (traces `hang.*`, both versions).
Unlike the real one, a model marked for eviction takes no new requests, so two models cannot starve each other, unless
`Faults.deadlock` is on: then #17408 happens as recorded (traces `deadlock.*`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from devstack.model.faults import BUSY, Faults
from devstack.model.loaded import Loaded
from devstack.model.models import Model
from devstack.model.requests import Launch
from devstack.model.runner import Runner
from devstack.model.wire import ApiError, JsonObject


@dataclass(eq=False, slots=True)
class _Ticket:
    model: Model
    launch: Launch
    keep_alive: float | None
    future: asyncio.Future[Loaded]


class Scheduler:
    """Owns every runner. `keep_alive` (seconds) is the default of requests that name none."""

    def __init__(self, *, max_loaded: int, keep_alive: float, max_queue: int, faults: Faults) -> None:
        self._max_loaded = max_loaded
        self._keep_alive = keep_alive
        self._max_queue = max_queue
        self._faults = faults
        self._loaded: dict[str, Loaded] = {}
        self._queue: asyncio.Queue[_Ticket] = asyncio.Queue()
        self._unloads: set[asyncio.Task[None]] = set()
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve requests."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End every runner."""
        if self._worker:
            self._worker.cancel()
            await asyncio.wait({self._worker})
        for loaded in list(self._loaded.values()):
            self._unload_soon(loaded)
        await self._unloaded()

    def running(self) -> list[JsonObject]:
        """What `/api/ps` lists."""
        return [loaded.entry() for loaded in self._loaded.values()]

    @property
    def pids(self) -> dict[str, int]:
        """Process id by name of the loaded models."""
        return {name: loaded.runner.pid for name, loaded in self._loaded.items()}

    @contextlib.asynccontextmanager
    async def lease(self, model: Model, launch: Launch, keep_alive: float | None) -> AsyncIterator[Runner]:
        """The model, loaded with `launch`, and kept until the block is left.

        Raises:
            ApiError: 503 when the queue is full, 500 when the load fails.
        """
        loaded = self._loaded.get(model.name)
        if loaded is None or not await self._fits(loaded, launch):
            loaded = await self._wait(_Ticket(model, launch, keep_alive, asyncio.get_running_loop().create_future()))
        else:
            self._take(loaded, keep_alive)
        try:
            yield loaded.runner
        finally:
            self._release(loaded)

    async def unload(self, model: Model) -> None:
        """Unload when idle; a running answer, and those already sent for it, are finished first."""
        loaded = self._loaded.get(model.name)
        if loaded is None:
            return
        async with loaded.asking:
            loaded.keep_alive = 0
            loaded.unload_at = time.time_ns()
        if not loaded.users:
            self._unload_soon(loaded)

    def _usable(self, loaded: Loaded, launch: Launch) -> bool:
        return loaded.usable(launch, evicting_too=self._faults.deadlock)

    async def _fits(self, loaded: Loaded, launch: Launch) -> bool:
        """Whether a request can use it right now; a hung process costs it the time of a question."""
        if not self._usable(loaded, launch) or not await loaded.answers(self._faults.ping_seconds):
            return False
        return self._loaded.get(loaded.model.name) is loaded and self._usable(loaded, launch)

    async def _wait(self, ticket: _Ticket) -> Loaded:
        if self._queue.qsize() >= self._max_queue:
            raise ApiError(503, BUSY)
        self._queue.put_nowait(ticket)
        try:
            return await ticket.future
        except asyncio.CancelledError:
            # The load may have ended in the same moment in which the client went away.
            if ticket.future.done() and not ticket.future.cancelled() and ticket.future.exception() is None:
                self._release(ticket.future.result())
            ticket.future.cancel()
            raise

    async def _work(self) -> None:
        """Serve tickets one by one; a client that goes away takes its wait or its load with it."""
        while True:
            ticket = await self._queue.get()
            await self._look(ticket)
            if ticket.future.done():
                continue
            job = asyncio.create_task(self._serve(ticket))
            ticket.future.add_done_callback(lambda _, job=job: job.cancel())  # type: ignore[misc]
            try:
                await asyncio.wait({job})
            finally:
                job.cancel()
                await asyncio.wait({job})

    async def _look(self, ticket: _Ticket) -> None:
        """What holds the worker up even when the client has left: the question to a loaded process, and #17408."""
        if ticket.future.done():
            return
        current = self._loaded.get(ticket.model.name)
        if current and self._usable(current, ticket.launch) and not await current.answers(self._faults.ping_seconds):
            current.hung = True
            self._mark(current)
        while self._faults.deadlock and (victim := self._victim(ticket)):
            self._mark(victim)
            await victim.gone.wait()

    async def _serve(self, ticket: _Ticket) -> None:
        try:
            loaded = await self._ready(ticket)
        except ApiError as error:
            if not ticket.future.done():
                ticket.future.set_exception(error)
            return
        self._take(loaded, ticket.keep_alive)
        if ticket.future.done():
            self._release(loaded)
        else:
            ticket.future.set_result(loaded)

    async def _ready(self, ticket: _Ticket) -> Loaded:
        while victim := self._victim(ticket):
            await self._evict(victim)
        if current := self._loaded.get(ticket.model.name):
            return current
        await self._unloaded()
        await self._faults.load()
        runner = await Runner.start(ticket.model.path, ticket.launch)
        loaded = self._loaded[ticket.model.name] = Loaded(ticket.model, runner, self._keep_alive)
        return loaded

    def _victim(self, ticket: _Ticket) -> Loaded | None:
        """The model that has to go before this ticket can be served."""
        current = self._loaded.get(ticket.model.name)
        if current:
            return None if self._usable(current, ticket.launch) else current
        if len(self._loaded) < self._max_loaded:
            return None
        return min(self._loaded.values(), key=lambda loaded: (loaded.users > 0, loaded.keep_alive))

    def _mark(self, loaded: Loaded) -> None:
        """Unload it as soon as it is idle, unless a request with a keep_alive of its own comes before (#17408)."""
        loaded.evicting = True
        loaded.keep_alive = 0
        if not loaded.users:
            self._unload_soon(loaded)

    async def _evict(self, loaded: Loaded) -> None:
        """Wait until it is idle and unload it; it stays when the waiting request is given up."""
        loaded.evicting = True
        try:
            if loaded.users:
                await loaded.idle.wait()
        except asyncio.CancelledError:
            loaded.evicting = False
            if not loaded.users:
                self._rest(loaded)
            raise
        self._unload_soon(loaded)
        await self._unloaded()

    def _take(self, loaded: Loaded, keep_alive: float | None) -> None:
        """Count one more user. The last keep_alive sent holds, and calls off an unload that has not happened yet."""
        if loaded.timer:
            loaded.timer.cancel()
        loaded.users += 1
        loaded.idle.clear()
        loaded.used_at = time.time_ns()
        if keep_alive is not None:
            loaded.keep_alive, loaded.unload_at, loaded.evicting = keep_alive, None, False

    def _release(self, loaded: Loaded) -> None:
        loaded.users -= 1
        loaded.used_at = time.time_ns()
        if loaded.users == 0:
            loaded.idle.set()
            if not loaded.evicting or loaded.keep_alive <= 0:
                self._rest(loaded)

    def _rest(self, loaded: Loaded) -> None:
        """Idle from now on: unload after keep_alive, at once for 0 or when it broke."""
        if loaded.keep_alive <= 0 or not loaded.runner.alive:
            self._unload_soon(loaded)
        elif loaded.keep_alive != math.inf:
            loop = asyncio.get_running_loop()
            loaded.timer = loop.call_later(loaded.keep_alive, self._unload_soon, loaded)

    def _unload_soon(self, loaded: Loaded) -> None:
        if loaded.timer:
            loaded.timer.cancel()
        if self._loaded.get(loaded.model.name) is loaded:
            del self._loaded[loaded.model.name]
            loaded.gone.set()
            task = asyncio.create_task(loaded.runner.stop())
            self._unloads.add(task)
            task.add_done_callback(self._unloads.discard)

    async def _unloaded(self) -> None:
        """Wait for the memory of what is being unloaded."""
        if self._unloads:
            await asyncio.wait(self._unloads)
