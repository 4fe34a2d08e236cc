"""Several whole workers in this process, as the app makes them, whose calls are counted: a crew on one stack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from loguru import logger
from pydantic import SecretStr

from consumer.app import build_ollama
from consumer.extras import redis_bell
from consumer.listener import ListenerState
from consumer.metrics import Observer
from consumer.preflight import check_models
from consumer.redis_bell import RedisBell, Waits
from consumer.settings import Settings
from consumer.worker import Worker
from schemas.catalog import Catalog
from tests.engine import JOBS, until
from tests.faulty import FaultyTransport, faulty_store
from tests.stacks import ThreadedStack

CLAIM = "claim_workflow_jobs"
# Nothing but doorbells, slots and named deadlines starts work while a test runs; and no job is taken ahead.
QUIET: dict[str, Any] = {"heartbeat_seconds": 300, "lease_seconds": 60, "shutdown_grace": 5, "model_batch_size": 1}


@dataclass
class Hand:
    """One worker of the crew, and the network between it and the database."""

    worker: Worker
    net: FaultyTransport

    @property
    def claims(self) -> int:
        """Claims asked for so far."""
        return len(self.net.of(CLAIM))

    @property
    def redis(self) -> RedisBell:
        assert self.worker.redis is not None
        return self.worker.redis

    @property
    def ready(self) -> bool:
        listener = self.worker.listener
        return self.worker.announcer.started and listener.state is ListenerState.READY and listener.broadcast_ready

    @property
    def at_rest(self) -> bool:
        """No job, no claim, and no event that is still to be looked at."""
        waiting = self.worker.redis is not None and self.worker.redis._heard
        return self.worker.dispatcher.idle and not (self.worker.runner.running or waiting)


@dataclass
class Crew:
    """The workers, and what they said."""

    stack: ThreadedStack
    hands: list[Hand]
    said: list[str]

    @property
    def claims(self) -> int:
        """Claims asked for so far, by all."""
        return sum(hand.claims for hand in self.hands)

    @property
    def busy(self) -> list[Hand]:
        """Who has a job."""
        return [hand for hand in self.hands if hand.worker.runner.running]

    async def spreads(self) -> None:
        """Until every worker has Redis."""
        await until("Redis spreads", lambda: all(hand.redis.trouble is None for hand in self.hands))

    async def sees_redis_away(self) -> None:
        """Until some worker does without it."""
        await until("Redis is away", lambda: any(hand.redis.trouble for hand in self.hands))

    async def submit(self, how_many: int = 1) -> list[str]:
        """Insert jobs in one statement."""
        return await asyncio.to_thread(self.stack.submit, "job ", how_many)

    async def completed(self, *job_ids: str) -> None:
        """Until these are completed."""
        listed = ", ".join(f"'{job_id}'" for job_id in job_ids)
        query = f"select count(*) from {JOBS} where status = 'completed' and id in ({listed})"

        async def all_are() -> bool:
            return await asyncio.to_thread(self.stack.psql, query) == str(len(job_ids))

        await until(f"{len(job_ids)} job(s) are completed", all_are)

    async def one_by_one(self, how_many: int) -> None:
        """Insert so many jobs, each when the one before is completed; until nobody has anything left to do."""
        for _ in range(how_many):
            await self.completed(*await self.submit())
        await self.rests()

    async def rests(self) -> None:
        """Until nobody has anything left to do."""
        await until("all are at rest", lambda: all(hand.at_rest for hand in self.hands))


@asynccontextmanager
async def crew(
    stack: ThreadedStack, redis_url: str | None = None, *, size: int = 4, waits: Waits | None = None, **more: Any
) -> AsyncIterator[Crew]:
    """A crew that hears by both doorbells; at the end it drains. `waits` replaces the Redis bell's."""
    said: list[str] = []
    sink = logger.add(lambda line: said.append(line.record["message"]), level="DEBUG")
    try:
        async with AsyncExitStack() as parts:
            hands = [await _hand(parts, stack, redis_url, f"hand-{number}", waits, more) for number in range(size)]
            tasks = [asyncio.create_task(hand.worker.run()) for hand in hands]
            parts.push_async_callback(_stopped, hands, tasks)
            await until("the crew hears", lambda: all(hand.ready for hand in hands))
            found = Crew(stack, hands, said)
            await found.rests()
            yield found
    finally:
        logger.remove(sink)


async def _hand(
    parts: AsyncExitStack, stack: ThreadedStack, redis_url: str | None, worker_id: str, waits: Waits | None,
    more: dict[str, Any],
) -> Hand:  # fmt: skip
    settings = Settings(
        _env_file=None, supabase_url=stack.stack.url, ollama_local_url=stack.stack.ollama_url, worker_id=worker_id,
        supabase_service_role_key=SecretStr(stack.stack.keys.secret),
        redis_url=None if redis_url is None else SecretStr(redis_url), **{**QUIET, **more},
    )  # type: ignore[call-arg]  # fmt: skip
    net = FaultyTransport()
    store = await faulty_store(
        settings.supabase_url, stack.stack.keys.secret, net, worker_id=worker_id, lease_seconds=settings.lease_seconds
    )
    parts.push_async_callback(store.aclose)
    ollama = build_ollama(settings)
    parts.push_async_callback(ollama.aclose)
    digests = dict(await check_models(ollama, settings))
    redis = redis_bell(settings)
    if redis is not None and waits is not None:
        assert isinstance(redis, partial)
        redis = partial(redis, waits=waits)
    return Hand(Worker(settings, store, ollama, digests, Catalog.load(None), Observer(), redis), net)


async def _stopped(hands: Iterable[Hand], tasks: list[asyncio.Task[None]]) -> None:
    for hand in hands:
        hand.worker.stop()
    await asyncio.gather(*tasks)
