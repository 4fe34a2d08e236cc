"""A running listener and everything it told, for the listener's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from loguru import logger
from realtime import AsyncRealtimeClient

from consumer.doorbell import Source
from consumer.listener import Listener, ListenerState, ListenerTimings
from consumer.realtime_client import new_client

KEY = "sb_secret_do+not/print=me"
# Short waits, so that tests are quick; the clocks that must not fire in a test are long.
QUICK = ListenerTimings(
    ready_timeout=30,
    backoff_base=0.01,
    backoff_cap=0.05,
    slow_retry=0.05,
    recycle=(600, 600),
    close_timeout=0.3,
    overlap=0.3,
)
# For the plays in which an answer never comes.
IMPATIENT = replace(QUICK, ready_timeout=1)


async def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait for a named condition."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"never seen: {what}")


@dataclass
class Ear:
    """What a listener told, and the clients it made."""

    rings: list[tuple[Source, str | None]] = field(default_factory=list)
    beats: list[int] = field(default_factory=list)
    readies: int = 0
    pokes: int = 0
    clients: list[AsyncRealtimeClient] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    listener: Listener = field(init=False)

    @property
    def ready(self) -> bool:
        return self.listener.state is ListenerState.READY

    def on_ring(self, source: Source, job_id: str | None) -> None:
        self.rings.append((source, job_id))

    def on_ready(self) -> None:
        self.readies += 1

    def on_poke(self) -> None:
        self.pokes += 1

    def connect(self, url: str, key: str) -> AsyncRealtimeClient:
        self.clients.append(new_client(url, key))
        return self.clients[-1]

    def said(self, words: str) -> bool:
        """Whether a line of the log holds these words."""
        return any(words in line for line in self.log)

    async def is_ready(self, sessions: int) -> None:
        """Until that many sessions have become ready and one of them is."""
        await until(lambda: self.readies >= sessions and self.ready, f"{sessions} ready session(s)")


@asynccontextmanager
async def listening(
    url: str, timings: ListenerTimings = QUICK, ear: Ear | None = None, **options: Any
) -> AsyncIterator[Ear]:
    """A listener that runs, with its ear; on exit it is cancelled, and must end soon."""
    ear = ear or Ear()
    arguments: dict[str, Any] = {"key": KEY, "worker_id": "worker-1", **options}
    ear.listener = Listener(
        realtime_url=url, on_ring=ear.on_ring, on_ready=ear.on_ready, on_canary=ear.beats.append, on_poke=ear.on_poke,
        timings=timings, client_factory=ear.connect, **arguments,
    )  # fmt: skip
    sink = logger.add(ear.log.append, level=0, format="{level} {message} {extra} {exception}", filter="consumer")
    running = asyncio.create_task(ear.listener.run())
    try:
        yield ear
        assert not running.done(), "the listener ended by itself"
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(running, 10)
        logger.remove(sink)
