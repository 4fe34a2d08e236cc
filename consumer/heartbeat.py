"""The worker's own pulse: one RPC per interval, and the proof that the feed is not deaf (design rule 4).

Called by the app. Each beat updates the worker's row, whose own event must come back (the canary); and its answer says
what is claimable and since when: older than the grace, with a slot free, means that an event was missed. It also says
whether an operator has paused this worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from loguru import logger

from consumer.dispatcher import Dispatcher
from consumer.doorbell import Doorbell
from consumer.errors import StoreError
from consumer.inspection import clock_off
from consumer.job import JsonObject
from consumer.listener import Listener, ListenerState
from consumer.replies import Pulse
from consumer.store import Store
from consumer.vitals import LONGEST_CALL, Sign

# The canary's event comes within the server's idle poll interval (0.5 s) plus decoding; this allows for a busy one.
CANARY_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """`interval` seconds between beats; `grace` seconds a job may be claimable before its event counts as missed."""

    interval: float = 30.0
    grace: float = 5.0
    canary: float = CANARY_GRACE


class Heartbeat:
    """Beats until cancelled. `healthy`: the last beat was answered; `trouble`: why it was not.

    `failures` counts those that were not. `pulse` is the last answer, `answered_at` its moment (`time.monotonic()`);
    None before the first. `clock_off`: how far this host's clock is ahead of the database's, in seconds.
    `sign`: its own sign of life.
    """

    def __init__(
        self, store: Store, listener: Listener, dispatcher: Dispatcher, bell: Doorbell, rhythm: Rhythm,
        describe: Callable[[], JsonObject],
    ) -> None:  # fmt: skip
        self._store = store
        self._listener = listener
        self._dispatcher = dispatcher
        self._bell = bell
        self._rhythm = rhythm
        self._describe = describe
        self._canary = asyncio.Event()
        self._sooner = asyncio.Event()
        self._awaited_beat = 0
        self.healthy = False
        self.sign = Sign("heartbeat")
        self.trouble: StoreError | None = None
        self.clock_off = 0.0
        self.failures = 0
        self.pulse: Pulse | None = None
        self.answered_at: float | None = None

    async def run(self) -> None:
        """Beat for ever; a database that is away is logged and asked again at the next beat."""
        while True:
            self.sign.within(self._rhythm.interval + self._rhythm.canary + LONGEST_CALL)
            self._sooner.clear()
            try:
                await self.beat()
            except StoreError as error:
                self.healthy, self.trouble = False, error
                self.failures += 1
                logger.warning("heartbeat failed: {}", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rhythm.interval):
                    await self._sooner.wait()

    def soon(self) -> None:
        """Beat now: the feed is new, and its canary should fly at once. Never blocks."""
        self._sooner.set()

    async def beat(self) -> None:
        """One beat: update the row, read the answer, wait for the canary.

        Raises:
            StoreError: the database did not answer.
        """
        listening = self._listener.state is ListenerState.READY
        session = self._listener.sessions
        asked, asked_at = time.time(), time.monotonic()
        pulse = await self._store.heartbeat(self._describe())
        self.healthy, self.trouble = True, None
        self.pulse, self.answered_at = pulse, time.monotonic()
        if pulse.now is not None:
            self.clock_off = clock_off(asked, time.time(), pulse.now)
        self._dispatcher.pause(pulse.paused)
        self._look_at_queue(pulse, asked_at, listening=listening)
        same = self._listener.state is ListenerState.READY and session == self._listener.sessions
        if listening and same and pulse.beat is not None:
            await self._expect_canary(pulse.beat, session)

    def heard_canary(self, beat: int) -> None:
        """The feed brought our own row back."""
        if beat >= self._awaited_beat:
            self._awaited_beat = beat
            self._canary.set()

    def _look_at_queue(self, pulse: Pulse, asked_at: float, *, listening: bool) -> None:
        waited = pulse.oldest_claimable_seconds or 0
        idle = self._dispatcher.idle
        overdue = waited > self._rhythm.grace
        if pulse.claimable and idle:
            self._bell.ring("heartbeat" if overdue else "deadline")
            if overdue and listening:
                self._listener.rebuild("an event was missed")
        elif not pulse.claimable and self._dispatcher.answered_at < asked_at:
            self._dispatcher.due_in(pulse.next_due_in)

    async def _expect_canary(self, beat: int, session: int) -> None:
        if self._awaited_beat != beat:  # greater, or begun anew because the worker's row was deleted
            self._awaited_beat = beat
            self._canary.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rhythm.canary):
                    await self._canary.wait()
        if not self._canary.is_set() and session == self._listener.sessions:
            self._listener.rebuild("the canary did not come back")
