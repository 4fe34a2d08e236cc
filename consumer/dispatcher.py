"""From a rung bell to a running job: waits for bell and free slot, claims, starts runners. Nothing polls.

Called by the app. Work starts on a doorbell, a freed slot, or a deadline that the database itself named
(design rule 2). The bell is cleared before the claim, so a ring during the claim is never lost. `process` and `poll`
are for people: they claim at once, in turn with the claims of the bell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from loguru import logger

from consumer.claims import Claims, Closed, Taken
from consumer.doorbell import Doorbell, Ring
from consumer.errors import StoreError
from consumer.in_work import InWork
from consumer.lanes import Lanes
from consumer.replies import Claim
from consumer.runner import Runner
from consumer.store import Store
from consumer.vitals import LONGEST_CALL, Sign

# Who rings for jobs that an event should have announced: the heartbeat, and the reconcile after a gap in the feed.
UNANNOUNCED = ("heartbeat", "ready")
# An idle worker's claim takes milliseconds; a model call, seconds at least.
PATIENCE = 1.0


class Dispatcher:
    """Owns the jobs in `work`; `lanes` say how many to take, and which first.

    `patience`: seconds that a job is left to idle workers before it is taken ahead. `max_retries`, when set, replaces
    the row's own. `claims` counts jobs, `missed_events` the unannounced ones of them. `paused`: an operator wants it to
    claim nothing; `on_pause` is called when that changes, and when a paused one has ended its last job.
    """

    def __init__(
        self, store: Store, runner: Runner, bell: Doorbell, lanes: Lanes, *, max_retries: int | None,
        patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        self._bell = bell
        self._lanes = lanes
        self._patience = patience
        self._claims = Claims(store, max_retries)
        self.work = InWork(runner, self._job_ended)
        self._turn = asyncio.Lock()  # held from a claim until what it took has begun, so that slots are counted right
        self._to_repeat = self._stopping = self.paused = False
        self.on_pause: Callable[[], None] = lambda: None
        self._alone = self._more = self._ahead_due = False
        self._ahead_timer: asyncio.TimerHandle | None = None
        self._slot_free = asyncio.Event()
        self._slot_free.set()
        self.claims = 0
        self.missed_events = 0
        self.answered_at = 0.0  # `time.monotonic()` of the last claim's answer: what was asked before knows less
        self.sign = Sign("dispatcher")
        self.on_claimed: Callable[[list[str]], None] = lambda _: None  # told of each answered claim

    @property
    def free_slots(self) -> int:
        """How many jobs more may be claimed now."""
        return 0 if self.paused or (self._alone and self.work) else self._lanes.room(len(self.work))

    @property
    def trouble(self) -> StoreError | None:
        """Why the last claim failed."""
        return self._claims.trouble

    @property
    def closed(self) -> Closed | None:
        """Why no job is taken now; None when one would be."""
        if self._stopping:
            return "stopping"
        if self.paused:
            return "paused"
        if not self._lanes.room(0):
            return "model server"
        return None if self.free_slots else "busy"

    @property
    def idle(self) -> bool:
        """A slot is free, and nothing is on the way to it: work that waits now has not been heard of."""
        return self.free_slots > 0 and not (self._turn.locked() or self._stopping or self._bell.depth)

    async def run(self) -> None:
        """Claim and start jobs until `stop`; running jobs go on after that."""
        while await self._next_ring():
            async with self._turn:
                if not self._stopping:
                    await self._claim_all(self._bell.clear())

    async def process(self, job_id: str) -> Taken:
        """Claim and start this very job, also before its time; it may be in work here already. Raises as `poll`."""
        async with self._turn:
            if job_id in self.work.ids:
                return Taken((job_id,))
            if self.closed:
                return Taken((), self.closed)
            return await self._claim_and_start({"(manual)": Ring("manual", time.monotonic())}, job_id)

    async def poll(self) -> Taken:
        """Claim and start what is claimable and slots allow.

        Raises:
            StoreError: there was no answer; `run` repeats the claim, and jobs may yet begin.
        """
        async with self._turn:
            if self.closed and not (self.closed == "busy" and self._wanted()):
                self.look_again()  # nobody is to be told of a free slot, and then that there is none
                return Taken((), self.closed)
            return await self._claim_and_start({"(manual)": Ring("manual", time.monotonic())} | self._bell.clear())

    def pause(self, paused: bool) -> None:
        """Claim nothing from now on, or claim again; running jobs go on."""
        if paused == self.paused:
            return
        self.paused = paused
        logger.warning("paused: no job is taken") if paused else logger.info("resumed: jobs are taken again")
        self.look_again()
        if not paused:
            self._bell.ring("manual")
        self.on_pause()

    def stop(self) -> None:
        """Stop claiming at once."""
        self._stopping = self.work.hand_back = True
        self.due_in(None)
        if self._ahead_timer is not None:
            self._ahead_timer.cancel()
        self._slot_free.set()
        self._bell.ring("slot")

    async def drained(self) -> None:
        """After `stop`: until no claim is under way and no job is running."""
        async with self._turn:
            pass
        await self.work.ended()

    async def slot_free(self) -> None:
        """Until a job more may be taken, or a stop."""
        await self._slot_free.wait()

    def look_again(self) -> None:
        """There may be room for a job now, or a reason to take one ahead; or neither any more."""
        if self._stopping:
            return
        if not self._may_claim():
            self._slot_free.clear()
        elif not self._slot_free.is_set():
            self._slot_free.set()
            if self._more:
                self._bell.ring("slot")
        if self._ahead_timer is None and (self._more or self._bell.depth) and self._may_take_ahead():
            self._ahead_timer = asyncio.get_running_loop().call_later(self._patience, self._take_ahead)

    def _may_take_ahead(self) -> bool:
        barred = self._alone or self._stopping or self.paused
        return self.free_slots <= 0 and not barred and self._lanes.ahead(len(self.work))

    def _take_ahead(self) -> None:
        """A job has waited for idle workers long enough: take it, if that still makes sense."""
        self._ahead_timer = None
        if self._may_take_ahead():
            self._ahead_due = True
            self._slot_free.set()
            self._bell.ring("slot")

    def _wanted(self) -> int:
        """How many jobs to claim now. A claim without an answer may have taken some, so it is always repeated."""
        due = self._to_repeat or (self._ahead_due and self._may_take_ahead())
        return self.free_slots or int(due)

    def _may_claim(self) -> bool:
        return self._wanted() > 0 or bool(self._claims.owed)

    def due_in(self, seconds: float | None) -> None:
        """The database named a deadline: ring then. None clears it.

        A claim that waits to be repeated comes first: it may have taken jobs, and its answer names the deadline anew.
        """
        if not (self._to_repeat or self._claims.owed):
            self._bell.ring_in(None if self._stopping else seconds)

    async def _next_ring(self) -> bool:
        """Until there is a ring and a slot for it; False when claiming is over."""
        while not self._stopping:
            await self._bell.wait()
            self.look_again()
            await self._slot_free.wait()
            if self._stopping or self._may_claim():
                break
            self._slot_free.clear()
        return not self._stopping

    async def _claim_all(self, hints: Mapping[str, Ring]) -> None:
        with suppress(StoreError):
            for job_id in self._claims.owed:
                await self._claim_and_start({}, job_id)
            if self._wanted() > 0:
                await self._claim_and_start(hints)

    async def _claim_and_start(self, hints: Mapping[str, Ring], job_id: str | None = None) -> Taken:
        """Claim the job that is named, or the best ones; what has no answer is repeated after a pause."""
        asked_at, room = time.monotonic(), min(self.free_slots, 1) if job_id or self.paused else self._wanted()
        self._ahead_due = False
        self.sign.within(LONGEST_CALL)
        try:
            claim = await self._claims.ask(room, self.work.ids, self._lanes.preferred_step, job_id)
        except StoreError as error:
            pause = self._claims.pause()
            logger.warning("claim failed, trying again in {:.1f} s: {}", pause, error)
            self._to_repeat = self._to_repeat or job_id is None
            self._bell.ring_in(None if self._stopping else pause)
            raise
        finally:
            self.sign.rest()
        self.answered_at = time.monotonic()
        self._to_repeat = self._to_repeat and job_id is not None
        self._alone, self._more = claim.alone and (job_id is None or bool(claim.jobs)), claim.more
        self.due_in(self._claims.next_look(claim, room))
        self._note_missed(claim, hints)
        ids = self.work.start(claim, hints, asked_at)
        self.claims += len(ids)
        self.pause(claim.paused)
        if self.free_slots <= 0:
            self._slot_free.clear()
        self.on_claimed(list(ids))
        return Taken(ids, None if ids else "busy" if claim.alone else self.closed)

    def _note_missed(self, claim: Claim, hints: Mapping[str, Ring]) -> None:
        if claim.jobs and hints and all(hint.source in UNANNOUNCED for hint in hints.values()):
            self.missed_events += len(claim.jobs)
            logger.warning("{} job(s) claimed that no event had announced", len(claim.jobs))

    def _job_ended(self) -> None:
        self._slot_free.set()
        self._bell.ring("slot")
        if self.paused and not self.work:
            self.on_pause()
