"""The ladder on real small models that fail as the recorded Ollama does: hung, stuck, not loading, gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import psutil
import pytest

from consumer.errors import JobError, ModelNotFound, ModelTimeout, ModelUnavailable
from consumer.lanes import Lanes
from consumer.ollama import Answer, Clocks, ModelOptions, Ollama
from consumer.ports import Message, ModelRequest
from consumer.recovery import Ladder, Recovery
from devstack.model import Fault, Faults, ModelServer
from tests.engine import until
from tests.integration.model_wire import calling, chat, expiry, post

A, B = "mistral:7b", "qwen2.5:7b"
LADDER = Ladder(canary=30, unload=20, look=0.02, first_pause=0.1, longest_pause=0.2)
REQUEST = ModelRequest((Message("user", "Say yes."),), {"type": "string", "maxLength": 40}, 40, 0.2, 1)


@dataclass
class Bench:
    """A server, and what a worker has of it."""

    server: ModelServer
    ollama: Ollama
    lanes: Lanes
    recovery: Recovery

    async def ask(self, model: str) -> Answer:
        """One call as the steps make it; a failure is reported before the turn ends."""
        async with self.lanes.use(model):
            try:
                await self.ollama.preload(model)
                async with aclosing(self.ollama.chat(model, REQUEST)) as pieces:
                    items = [piece async for piece in pieces]
            except JobError as error:
                self.recovery.report(model, error)
                raise
        assert isinstance(items[-1], Answer)
        return items[-1]

    async def open(self) -> str:
        """Why the circuit is open, once it is."""
        await until("the circuit is open", lambda: self.recovery.trouble)
        assert self.recovery.trouble is not None
        return self.recovery.trouble.why

    async def closed(self) -> None:
        """The circuit is closed, and both models answer."""
        await until("the circuit is closed", lambda: self.recovery.trouble is None, timeout=60)
        for model in (A, B):
            assert (await self.ask(model)).text


async def marked(url: str) -> bool:
    return await expiry(url, A) < 1


@asynccontextmanager
async def bench(clocks: Clocks, **faults: object) -> AsyncIterator[Bench]:
    server = ModelServer(faults=Faults(**faults))  # type: ignore[arg-type]  # names are those of Faults
    await server.start()
    ollama = Ollama(server.url, clocks=clocks, options=ModelOptions(num_ctx=1024))
    lanes = Lanes({"analyze": A, "generate": B})
    recovery = Recovery(ollama, lanes, LADDER)
    curing = asyncio.create_task(recovery.run())
    try:
        yield Bench(server, ollama, lanes, recovery)
    finally:
        curing.cancel()
        await asyncio.wait({curing})
        await ollama.aclose()
        await server.stop()


async def test_a_runner_that_hangs_in_mid_answer_is_replaced_before_the_next_call() -> None:
    async with bench(Clocks(between_tokens=1, load=60), ping_seconds=0.2) as parts:
        parts.server.faults.queue.append(Fault("hang", after=3))
        with pytest.raises(ModelTimeout) as late:
            await parts.ask(A)
        hung = parts.server.pids[A]
        assert late.value.clock == "between_tokens"
        assert psutil.Process(hung).status() == psutil.STATUS_STOPPED
        assert (await parts.ask(A)).text
        assert parts.server.pids[A] != hung
        assert await parts.recovery.verdict() is None
        assert parts.recovery.trouble is None


async def test_a_stuck_scheduler_is_freed_by_unloading_the_model_that_is_loaded() -> None:
    """#17408: the other model streams for another client, which asks once more while ours waits for its load."""
    async with bench(Clocks(load=4), deadlock=True) as parts:
        long, keep = {"num_predict": 120}, "5m"
        async with calling(
            parts.server.url, "POST", "/api/chat", chat(A, "Tell a story.", options=long, keep_alive=keep)
        ) as stream:
            await stream.start()
            await stream.next_chunk()
            stuck = asyncio.create_task(parts.ask(B))
            await until("it waits for its load", lambda: parts.lanes.in_use == {B})
            await until("the other is marked for eviction", lambda: marked(parts.server.url))
            await post(parts.server.url, chat(A, options={"num_predict": 2}, keep_alive=keep))
        with pytest.raises(ModelTimeout) as late:
            await stuck
        assert late.value.clock == "load"
        assert await parts.recovery.verdict() is None
        assert parts.recovery.cures == 1
        assert (await parts.ask(B)).text


async def test_loads_that_stall_open_the_circuit_until_they_go_on() -> None:
    async with bench(Clocks(load=2), loads="stall") as parts:
        with pytest.raises(ModelTimeout):
            await parts.ask(A)
        why = await parts.open()
        assert "'mistral:7b' is not loaded within 2 s" in why
        with pytest.raises(ModelUnavailable, match="restart the model server"):
            await parts.ask(B)
        parts.server.faults.loads = "work"
        await parts.closed()


async def test_a_model_that_disappears_is_waited_for_with_the_command_that_brings_it_back() -> None:
    async with bench(Clocks()) as parts:
        await parts.ask(B)
        parts.server.remove(A)
        with pytest.raises(ModelNotFound):
            await parts.ask(A)
        assert "ollama pull mistral:7b" in await parts.open()
        assert B in parts.server.pids, "nothing is unloaded for it"
        parts.server.add(A)
        await parts.closed()


async def test_a_runner_killed_in_mid_answer_costs_the_next_call_a_load_only() -> None:
    async with bench(Clocks()) as parts:
        await parts.ask(A)
        parts.server.faults.queue.append(Fault("error", after=2))
        with pytest.raises(ModelUnavailable):
            await parts.ask(A)
        assert (await parts.ask(A)).text
        assert (parts.recovery.trouble, parts.recovery.cures) == (None, 0)
