"""Calls that are cancelled at any moment leave nothing behind: no lost place in a pool, no open connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import psutil

from benchmarks.instant_model import InstantModel
from consumer.ollama import Ollama
from consumer.ports import Message, ModelRequest
from consumer.store import Store
from tests.engine import until
from tests.stacks import threaded_stack

TIMES = 200
REQUEST = ModelRequest((Message("user", "x"),), {"type": "object", "properties": {}, "required": []}, 10, 0.0, 1)


async def cancelled_at_any_moment(call: Callable[[], Awaitable[object]], *, times: int = TIMES) -> None:
    """Cancel so many calls, once or twice each, at moments between their beginning and their usual end."""
    rng = random.Random(1)
    for _ in range(5):  # warm
        await call()
    begun = asyncio.get_running_loop().time()
    await call()
    usual = asyncio.get_running_loop().time() - begun
    for number in range(times):
        task = asyncio.ensure_future(call())
        await asyncio.sleep(rng.uniform(0, usual))
        for _ in range(1 + number % 2):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(task, return_exceptions=True)


def connections_to(url: str) -> int:
    """Sockets of this process that are connected to that port, in any state that the kernel still knows."""
    port = urlsplit(url).port
    return sum(1 for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port)


async def test_the_database_can_still_be_called_after_many_calls_were_cancelled() -> None:
    with threaded_stack(instant=True) as stack:
        store = await Store.connect(stack.stack.url, stack.stack.keys.secret, worker_id="fickle")
        try:
            await cancelled_at_any_moment(lambda: store.heartbeat({}))
            await asyncio.wait_for(store.farewell(), 30)
            beats = await asyncio.wait_for(asyncio.gather(*[store.heartbeat({}) for _ in range(40)]), 60)
            assert len({beat.beat for beat in beats}) == 40
        finally:
            await store.aclose()


async def test_a_cancelled_model_call_leaves_no_connection_open() -> None:
    async with InstantModel() as model:
        ollama = Ollama(model.url)

        async def chat() -> None:
            async for _ in ollama.chat("mistral:7b", REQUEST):
                pass

        try:
            await cancelled_at_any_moment(lambda: ollama.preload("mistral:7b"))
            await cancelled_at_any_moment(chat)
            await until("every stream has ended on the server", lambda: model.open_streams == 0)
            await until("no connection is left", lambda: connections_to(model.url) == 0)
        finally:
            await ollama.aclose()
