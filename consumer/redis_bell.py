"""Spreads the doorbells of new jobs over the workers by Redis: one idle worker claims, not each (decision 9).

Made by the worker where REDIS_URL is set, between listener and bell. Never a second truth: Redis only says who looks
first. Whatever it loses, repeats or invents, each event that is heard here makes this worker look into the database: at
once when it is first or Redis is away, after a second when nobody has claimed the job, after a lease's time otherwise.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from loguru import logger

from consumer.dispatcher import Dispatcher
from consumer.doorbell import Doorbell, Source
from consumer.faults import FaultPoint, reached
from consumer.redis_client import RedisAway, RedisClient
from consumer.retry import full_jitter

# Events held at once; what comes beyond them rings at once, as without Redis.
BOUND = 1000


@dataclass(frozen=True, slots=True)
class Waits:
    """In seconds. Whoever is first has until `deadline` to claim a job, then all the others look as well.

    `lease`: an event that was left to others makes this worker look at the latest after so long. `check`: a Redis that
    nothing is asked of is looked at so often.
    """

    deadline: float = 1.0
    lease: float = 20.0
    check: float = 30.0


@dataclass(slots=True)
class _Heard:
    """An event: its doorbell, when it was heard, and whether it has been left to others."""

    source: Source
    at: float
    left: bool = False


class RedisBell:
    """`trouble`: why Redis is not used now, None while it is. `fallbacks`: how often it was lost."""

    def __init__(self, client: RedisClient, bell: Doorbell, dispatcher: Dispatcher, *, waits: Waits) -> None:
        self._client = client
        self._bell = bell
        self._dispatcher = dispatcher
        self._waits = waits
        self._heard: dict[str, _Heard] = {}
        self._claimed: list[str] = []
        self._owed = False
        self._news = asyncio.Event()
        self._look: asyncio.TimerHandle | None = None
        self._pauses = full_jitter(base=0.5, cap=15)
        self.trouble: str | None = "not connected yet"
        self.fallbacks = 0
        dispatcher.on_claimed = self._on_claimed

    def ring(self, source: Source, job_id: str | None = None) -> None:
        """Something may be there; spread when it is one known job. O(1), never blocks, never raises."""
        if self.trouble or job_id is None or len(self._heard) >= BOUND:
            self._bell.ring(source, job_id)
        elif job_id not in self._heard:
            self._heard[job_id] = _Heard(source, time.monotonic())
            self._news.set()

    async def run(self) -> None:
        """Spread until cancelled; while Redis is away, ring as without it and try again after growing pauses."""
        try:
            while True:
                try:
                    await self._connect()
                    await self._spread()
                except RedisAway as away:
                    self._fall_back(str(away))
                    await asyncio.sleep(next(self._pauses))
        finally:
            if self._look is not None:
                self._look.cancel()
            await self._client.aclose()

    async def _connect(self) -> None:
        await self._client.connect()
        self.trouble = None
        logger.info("Redis answers: the doorbells of new jobs are spread over the idle workers")

    def _fall_back(self, why: str) -> None:
        if self.trouble is None:
            self.fallbacks += 1
            self._pauses = full_jitter(base=0.5, cap=15)
        if self.trouble != why:
            logger.warning("Redis is away, so every idle worker looks at each new job: {}", why)
        self.trouble, self._owed = why, False
        heard, self._heard = self._heard, {}
        for job_id, event in heard.items():
            self._bell.ring(event.source, job_id, event.at)
        self._claimed.clear()

    async def _spread(self) -> None:
        while True:
            self._news.clear()
            await self._tell()
            await self._compete()
            await self._review()
            await self._rest()

    def _on_claimed(self, job_ids: list[str]) -> None:
        """A claim was answered: the others need not look for these, and what waited for the answer goes on."""
        self._owed = False
        if self.trouble is None:
            for job_id in job_ids:
                self._heard.pop(job_id, None)
            self._claimed += job_ids
            self._news.set()

    async def _tell(self) -> None:
        job_ids, self._claimed = self._claimed, []
        if job_ids:
            await self._client.tell_taken(job_ids)

    async def _compete(self) -> None:
        """Be the first for each new event while a slot is free; after a win, not before the claim is answered."""
        for job_id in [job_id for job_id, event in self._heard.items() if not event.left]:
            idle, event = self._dispatcher.idle and not self._owed, self._heard.get(job_id)
            if event is None:
                continue
            if self._due(event) or (self._dispatcher.free_slots > 0 and not idle):
                return  # a claim is on its way: its answer may bring this job, or fill the slots
            if idle and await self._client.first(job_id):
                self._win(job_id)
            event.left = True

    def _win(self, job_id: str) -> None:
        reached(FaultPoint.RING_WON)
        event = self._heard.pop(job_id, None)
        if event is not None:
            self._owed = True
            self._bell.ring(event.source, job_id, event.at)

    async def _review(self) -> None:
        """Whoever was first has had its time: look for what nobody has claimed."""
        due = [job_id for job_id, event in self._heard.items() if self._due(event)]
        taken = await self._client.taken(due) if due else set()
        for job_id in due:
            event = self._heard.pop(job_id, None)
            if event is not None and job_id in taken:
                self._look_within_a_lease()
            elif event is not None:
                self._bell.ring(event.source, job_id, event.at)

    def _due(self, event: _Heard) -> bool:
        return time.monotonic() >= event.at + self._waits.deadline

    def _look_within_a_lease(self) -> None:
        """A claim tells when the leases of others end (and whether Redis was right), so one is made in time."""
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(self._waits.lease, self._look_now)

    def _look_now(self) -> None:
        self._look = None
        self._bell.ring("deadline")

    async def _rest(self) -> None:
        """Until there is news, or the oldest event is due; without either, see whether Redis is still there."""
        oldest = min((event.at for event in self._heard.values()), default=None)
        rest = self._waits.check if oldest is None else oldest + self._waits.deadline - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(rest):
                await self._news.wait()
        if not (self._news.is_set() or self._heard):
            await self._client.check()
