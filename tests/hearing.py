"""The engine of `tests.engine` with its ears and its pulse, for tests of what is heard, missed and noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from consumer.heartbeat import Heartbeat, Rhythm
from consumer.listener import Listener, ListenerState, ListenerTimings
from consumer.reconciler import Reconciler
from tests.engine import Engine, engine, until
from tests.stacks import ThreadedStack


@dataclass
class Hearing:
    """An engine with its ears and its pulse; nothing beats or reconciles unless the test says so."""

    parts: Engine
    listener: Listener
    heartbeat: Heartbeat
    reconciler: Reconciler

    async def rebuilt(self, session: int) -> None:
        """Until there is a later session, ready."""
        await until("a new session", lambda: self.listener.sessions > session)
        await until("it is ready", lambda: self.listener.state is ListenerState.READY)


@asynccontextmanager
async def hearing(
    stack: ThreadedStack, rhythm: Rhythm, realtime_url: str | None = None, **options: Any
) -> AsyncIterator[Hearing]:
    """Ready, on the stack's Realtime or another; the retries of the listener wait next to nothing."""
    async with engine(stack, **options) as parts:
        reconciler = Reconciler(parts.store, parts.dispatcher, parts.bell)
        ready: list[Heartbeat] = []
        listener = Listener(
            realtime_url=realtime_url or f"{stack.stack.url}/realtime/v1",
            key=stack.stack.keys.secret, worker_id=parts.store.worker_id,
            on_ring=parts.bell.ring, on_ready=reconciler.gap, on_canary=lambda beat: ready[0].heard_canary(beat),
            on_poke=parts.runner.look,
            timings=ListenerTimings(backoff_base=0.01, backoff_cap=0.05),
        )  # fmt: skip
        heartbeat = Heartbeat(
            parts.store, listener, parts.dispatcher, parts.bell, rhythm, lambda: {"realtime": listener.state.value}
        )
        ready.append(heartbeat)
        listening = asyncio.create_task(listener.run())
        try:
            await asyncio.wait_for(listener.wait_hearing(), 30)
            yield Hearing(parts, listener, heartbeat, reconciler)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
