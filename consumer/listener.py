"""Hears that there may be work, through Supabase Realtime, and always has a session or is on the way to one.

Run by the app; the heartbeat calls `rebuild` when it finds the feed deaf. Sessions are disposable (design rule 5): this
module only decides when to make the next one. A retired session serves until its successor is ready.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from loguru import logger
from realtime import AsyncRealtimeClient
from realtime.types import RealtimePostgresChangesListenEvent

from consumer.doorbell import Source, job_ids
from consumer.faults import FaultPoint, reached
from consumer.loss import Loss
from consumer.realtime_client import new_client
from consumer.retry import full_jitter
from consumer.session import Binding, Feed, Session

HOUR = 3600.0


class ListenerState(StrEnum):
    """READY: a session is subscribed and fed. CONNECTING: one is opening. DOWN: waiting before the next try."""

    CONNECTING = "connecting"
    READY = "ready"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ListenerTimings:
    """All in seconds. A refusal that only a person can lift is tried again after `slow_retry` and more.

    A session is replaced at an age between the two of `recycle`: keys of the new kind are cut off at 24 h
    (facts/realtime.md §2.7). After `healthy_after` of a ready session the back-off starts from `backoff_base` again.
    """

    ready_timeout: float = 20.0
    backoff_base: float = 1.0
    backoff_cap: float = 60.0
    slow_retry: float = 60.0
    recycle: tuple[float, float] = (6 * HOUR, 12 * HOUR)
    healthy_after: float = 300.0
    close_timeout: float = 12.0
    # How long a replaced session goes on: events sent to it alone may still be under way.
    overlap: float = 2.0


class Listener:
    """The worker's ear. Callbacks are synchronous and must be quick: they run inside the socket's reader.

    `on_ring(source, job_id)` for each doorbell ("postgres_changes" or "broadcast"); `on_ready()` at each start of the
    feed, which marks a possible gap; `on_canary(beat)` when the worker's own row comes back, and by whom it was
    written, `on_process(hostname, pid)`; `on_poke()` when its `poked_at` changes and at a poke by broadcast, so twice
    where both doorbells work.
    """

    def __init__(
        self, *, realtime_url: str, key: str, worker_id: str,
        on_ring: Callable[[Source, str | None], None], on_ready: Callable[[], None],
        on_canary: Callable[[int], None], on_poke: Callable[[], None],
        on_process: Callable[[object, object], None] = lambda hostname, pid: None,
        timings: ListenerTimings = ListenerTimings(), table: str = "workflow_generation_jobs",
        workers_table: str = "workflow_workers", broadcast_topic: str = "workflow_jobs",
        client_factory: Callable[[str, str], AsyncRealtimeClient] = new_client,
    ) -> None:  # fmt: skip
        self._connect = lambda: client_factory(realtime_url, key)
        self._worker_id = worker_id
        insert, any_change = RealtimePostgresChangesListenEvent.Insert, RealtimePostgresChangesListenEvent.All
        inserts = Binding(table, insert, self._on_insert)
        own_row = Binding(workers_table, any_change, self._on_row, f"worker_id=eq.{worker_id}")
        self._feed = Feed((inserts, own_row), self._on_ready, self._on_ring, broadcast_topic, self._on_poke)
        self._tell_ring, self._tell_ready, self._tell_canary, self._tell_poke = on_ring, on_ready, on_canary, on_poke
        self._tell_process = on_process
        self._timings = timings
        self._delays = full_jitter(timings.backoff_base, timings.backoff_cap)
        self._live: list[Session] = []
        self._better = asyncio.Event()
        self._poked_at: object = None
        self._sessions = 0
        self._losses = 0
        self._last_error: str | None = None
        self._deaf: str | None = None

    @property
    def state(self) -> ListenerState:
        """Whether events can arrive now, as far as the client can tell; only the canary knows."""
        if any(session.ready for session in self._live):
            return ListenerState.READY
        opening = any(not session.over.is_set() for session in self._live)
        return ListenerState.CONNECTING if opening else ListenerState.DOWN

    @property
    def ready_since(self) -> float | None:
        """When the serving session became ready (`time.monotonic()`); None while there is none."""
        return max((session.ready_since or 0 for session in self._live if session.ready), default=None)

    @property
    def sessions(self) -> int:
        """Sessions begun so far, one connect each."""
        return self._sessions

    @property
    def losses(self) -> int:
        """Sessions that ended unplanned, or did not come about."""
        return self._losses

    @property
    def last_error(self) -> str | None:
        """Why there is no new session yet, in a plain sentence; None once one is ready."""
        return self._last_error

    @property
    def broadcast_ready(self) -> bool:
        """Whether the faster doorbell is connected as well."""
        return any(session.broadcast_ready for session in self._live)

    @property
    def trouble(self) -> str | None:
        """Why events may not arrive, in a plain sentence. None: a session is ready.

        After one that was found deaf, only the canary proves the next.
        """
        if self.state is not ListenerState.READY:
            return self._last_error or "no session yet"
        return f"joined, but deaf: {self._deaf}" if self._deaf else None

    async def wait_hearing(self) -> None:
        """Until there is no `trouble`; at once when there is none."""
        while self.trouble is not None:
            self._better.clear()
            await self._better.wait()

    async def wait_lost(self) -> None:
        """Until no session is ready; at once when none is."""
        while ready := next((session for session in self._live if session.ready), None):
            await ready.over.wait()

    def rebuild(self, why: str) -> None:
        """Drop the serving session, which looks alive but was found deaf, and make a new one. Otherwise a no-op."""
        for session in [session for session in self._live if session.ready]:
            self._deaf = why
            logger.info("rebuilding Realtime session {}: {}", session.number, why)
            session.end(Loss(why))

    async def run(self) -> None:
        """Keep a session until cancelled; then close what is open. Server trouble of any kind never ends it."""
        async with asyncio.TaskGroup() as group:
            while True:
                session = self._begin(group)
                await session.opened.wait()
                if session.ready:
                    self._retire_all_but(session)
                    await self._until_due(session)
                await self._pause_after(session)

    def _begin(self, group: asyncio.TaskGroup) -> Session:
        self._sessions += 1
        session = Session(
            self._sessions, self._connect, self._feed,
            ready_timeout=self._timings.ready_timeout, close_timeout=self._timings.close_timeout,
        )  # fmt: skip
        self._live.append(session)
        task = group.create_task(session.run(), name=f"Realtime session {session.number}")
        task.add_done_callback(lambda _: self._live.remove(session))
        return session

    def _retire_all_but(self, successor: Session) -> None:
        replaced = Loss(f"replaced by session {successor.number}")
        for session in self._live:
            if session is not successor:
                asyncio.get_running_loop().call_later(self._timings.overlap, session.end, replaced)

    async def _until_due(self, session: Session) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(*self._timings.recycle)):
                await session.due.wait()

    async def _pause_after(self, session: Session) -> None:
        healthy = session.ready_since and time.monotonic() - session.ready_since >= self._timings.healthy_after
        if healthy:
            self._delays = full_jitter(self._timings.backoff_base, self._timings.backoff_cap)
        delay = next(self._delays)
        if session.loss is None:
            logger.info("Realtime session {} is about to be replaced", session.number)
        else:
            # A key that has worked may only have run out (24 h): a fresh socket is worth a quick try.
            delay += self._timings.slow_retry if session.loss.permanent and session.ready_since is None else 0
            self._losses += 1
            self._last_error = session.loss.reason
            what = "the successor failed" if self.state is ListenerState.READY else "Realtime is down"
            logger.warning("{}: {}; next try in {:.1f} s", what, session.loss.reason, delay)
        await asyncio.sleep(delay)

    def _on_insert(self, record: dict[str, Any]) -> None:
        named = job_ids(record.get("id"))
        self._on_ring("postgres_changes", named[0] if named else None)

    def _on_ring(self, source: Source, job_id: str | None) -> None:
        reached(FaultPoint.EVENT_HEARD)
        self._tell_ring(source, job_id)

    def _on_ready(self) -> None:
        self._last_error = None
        self._better.set()
        self._tell_ready()

    def _on_poke(self, worker_id: object) -> None:
        if worker_id == self._worker_id:
            self._tell_poke()

    def _on_row(self, record: dict[str, Any]) -> None:
        beat, poked_at = record.get("beat"), record.get("poked_at")
        if isinstance(beat, int):
            self._deaf = None
            self._better.set()
            self._tell_canary(beat)
            self._tell_process(record.get("hostname"), record.get("pid"))
        # The first one seen may be from before this process; a poke too many does no harm.
        if poked_at is not None and poked_at != self._poked_at:
            self._poked_at = poked_at
            self._tell_poke()
