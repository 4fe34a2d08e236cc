"""One Realtime connection from connect to close: a fresh client, one socket, its own topic (design rules 3 and 5).

Made and watched by the listener and by `watching`, which never repair a session: they drop it and make another. The
client's own repairs (rejoin timers, reconnects) are the way into its "alive but deaf" states (facts/realtime.md §1.3,
B1–B8), so anything unexpected ends the session. Callbacks run inside the socket's reader: they are synchronous, never
raise, and only ring.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

from loguru import logger
from realtime import AsyncRealtimeChannel, AsyncRealtimeClient, SuccessSystemPayload
from realtime.types import (
    BroadcastPayload,
    ChannelStates,
    PostgresChangesPayload,
    RealtimeChannelOptions,
    RealtimePostgresChangesListenEvent,
    RealtimeSubscribeStates,
)

from consumer.doorbell import Source
from consumer.loss import Loss, loss_from_error, loss_from_state
from consumer.realtime_client import abandon, client_tasks, close_client, hush

# How often the client's own state is looked at, in case it changed without a callback.
LOOK_EVERY = 5.0
# The events of the broadcast topic: work for whoever is free, and a word to one worker.
PENDING_EVENT, POKE_EVENT = "job_pending", "worker_poke"


class Binding(NamedTuple):
    """Changes of a table to hear of: which, of which rows (as `id=eq.a`; None: all), and who is told the new row."""

    table: str
    event: RealtimePostgresChangesListenEvent
    on_row: Callable[[dict[str, Any]], None]
    rows: str | None = None


@dataclass(frozen=True, slots=True)
class Feed:
    """What a session listens to, and whom it calls, synchronously.

    `on_ready` when the feed (re)starts; `on_ring` for what may have been an event and names no row. On the private
    `broadcast_topic`, if one is named, that is a job, and `on_poke` is told the worker that is meant.
    """

    bindings: tuple[Binding, ...]
    on_ready: Callable[[], None]
    on_ring: Callable[[Source], None]
    broadcast_topic: str | None = None
    on_poke: Callable[[object], None] = lambda worker_id: None


class Session:
    """One connection; `run` is its whole life. Not reusable.

    Events, each set once: `opened` (ready, or over before that), `due` (time to replace it, or over), `over`.
    """

    def __init__(
        self, number: int, connect: Callable[[], AsyncRealtimeClient], feed: Feed,
        *, ready_timeout: float, close_timeout: float,
    ) -> None:  # fmt: skip
        self.number = number
        self.opened, self.due, self.over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.loss: Loss | None = None
        self.ready_since: float | None = None
        self.broadcast_ready = False
        self._connect = connect
        self._feed = feed
        self._ready_timeout = ready_timeout
        self._close_timeout = close_timeout
        self._step = "connecting"
        self._joined = self._fed = self._warned = False
        self._client: AsyncRealtimeClient | None = None
        self._channel: AsyncRealtimeChannel | None = None
        self._broadcast: AsyncRealtimeChannel | None = None

    @property
    def ready(self) -> bool:
        """Subscribed, fed, and not over."""
        return self.ready_since is not None and not self.over.is_set()

    def end(self, loss: Loss) -> None:
        """End the session; the first reason stands. From here on its callbacks are ignored."""
        if self.over.is_set():
            return
        self.loss = loss
        self.broadcast_ready = False
        for event in (self.over, self.due, self.opened):
            event.set()

    async def run(self) -> None:
        """Connect, subscribe, serve until it is over, close. Never raises but for cancellation, which closes it too."""
        hush(self._guard(self._on_unreadable))
        opening = asyncio.create_task(self._open(), name=f"open Realtime session {self.number}")
        try:
            while not self.over.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await self.over.wait()
                self._look()
        finally:
            self.end(Loss("the worker stops listening"))
            opening.cancel()
            if self._client is not None:
                await close_client(self._client, self._close_timeout)

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._ready_timeout):
                await self._subscribe()
                await self.opened.wait()
        except Exception as error:
            self.end(loss_from_error(error, self._step))
        if self.ready and self._feed.broadcast_topic is not None:
            await self._subscribe_to_broadcast(self._feed.broadcast_topic)

    async def _subscribe(self) -> None:
        client = self._client = self._connect()
        await client.connect()
        for task in client_tasks(client):
            task.add_done_callback(self._on_task_done)
        self._step = "joining"
        channel = self._channel = client.channel(f"jobs-{uuid4()}")
        for table, event, on_row, rows in self._feed.bindings:
            channel.on_postgres_changes(event, self._guard(_record_to(on_row)), table, "public", rows)
        channel.on_system(self._guard(self._on_system))
        await channel.subscribe(self._guard(self._on_state))

    async def _subscribe_to_broadcast(self, topic: str) -> None:
        """The faster doorbell, a bonus: where it cannot be had, it is left out until the next session."""
        assert self._client is not None
        self._broadcast = self._client.channel(topic, _private())
        self._broadcast.on_broadcast(PENDING_EVENT, self._guard(self._on_broadcast))
        self._broadcast.on_broadcast(POKE_EVENT, self._guard(self._on_poke))
        try:
            async with asyncio.timeout(self._ready_timeout):
                await self._broadcast.subscribe(self._guard(self._on_broadcast_state))
        except Exception as error:
            self._give_up_broadcast(loss_from_error(error, "joining the broadcast topic"))

    def _on_state(self, state: RealtimeSubscribeStates, error: Exception | None = None) -> None:
        if state != RealtimeSubscribeStates.SUBSCRIBED:
            self.end(loss_from_state(state.value, error, self._step))
        elif self._channel is None or any(b.id is None for b in self._channel.postgres_changes_callbacks):
            self.end(Loss("the join was answered without our bindings: no event would ever arrive"))
        else:
            self._joined = True
            self._step = 'waiting for "Subscribed to PostgreSQL"'
            if self._fed:
                self._on_fed()

    def _on_system(self, payload: SuccessSystemPayload) -> None:
        if payload.extension != "postgres_changes":
            return
        self._fed = True
        if self._joined:
            self._on_fed()

    def _on_fed(self) -> None:
        """The feed starts here: what was inserted before this moment is not announced, so each time is a new gap."""
        again = self.ready_since is not None
        self._step = "listening"
        self.ready_since = self.ready_since or time.monotonic()
        self.opened.set()
        logger.info("Realtime session {} is {}", self.number, "subscribed again" if again else "ready")
        self._feed.on_ready()

    def _on_broadcast(self, _: BroadcastPayload) -> None:
        self._feed.on_ring("broadcast")

    def _on_poke(self, message: BroadcastPayload) -> None:
        self._feed.on_poke(message["payload"].get("worker_id"))

    def _on_broadcast_state(self, state: RealtimeSubscribeStates, error: Exception | None = None) -> None:
        if state == RealtimeSubscribeStates.SUBSCRIBED:
            self.broadcast_ready = True
        else:
            self._give_up_broadcast(loss_from_state(state.value, error, "joining the broadcast topic"))

    def _give_up_broadcast(self, loss: Loss) -> None:
        """Drop that channel before the client's rejoin timer runs: a refused join blocks the whole socket for 5 s."""
        if self._client is None or self._broadcast is None or self.over.is_set():
            return
        abandon(self._client, self._broadcast)
        self._broadcast = None
        logger.info("Realtime session {} has no broadcast doorbell: {}", self.number, loss.reason)
        if self.broadcast_ready:
            self.broadcast_ready = False
            self.due.set()

    def _on_unreadable(self) -> None:
        """A frame the client cannot read may have been an event: ring, and say so once."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "Realtime sent a frame that cannot be read; is SELECT granted on {}?", self._feed.bindings[0].table
            )
        self._feed.on_ring("postgres_changes")

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        self.end(loss_from_error(error, self._step) if error else Loss(f"the client stopped while {self._step}"))

    def _look(self) -> None:
        channel, client = self._channel, self._client
        if not self.ready or channel is None or client is None:
            return
        if channel.state != ChannelStates.JOINED or client.channels.get(channel.topic) is not channel:
            self.end(Loss(f"the channel was found {channel.state.value}, not joined"))

    def _guard(self, callback: Callable[..., None]) -> Callable[..., None]:
        """An exception in a callback would kill the socket's reader silently (bug B3); a late call means nothing."""

        def call(*arguments: Any) -> None:
            if self.over.is_set():
                return
            try:
                callback(*arguments)
            except Exception as error:
                logger.error("a defect in {}: {}", callback.__name__, type(error).__name__)

        return call


def _private() -> RealtimeChannelOptions:
    return {"config": {"broadcast": {"ack": False, "self": False}, "presence": None, "private": True}}


def _record_to(on_row: Callable[[dict[str, Any]], None]) -> Callable[[PostgresChangesPayload], None]:
    @functools.wraps(on_row)
    def hear(payload: PostgresChangesPayload) -> None:
        on_row(payload["data"].get("record") or {})

    return hear
