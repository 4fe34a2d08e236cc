"""From a rung bell to a running job: waits for bell and free slot, claims, starts runners. Nothing polls.

Called by the app. Work starts on a doorbell, a freed slot, or a deadline that the database itself named
(design rule 2). The bell is cleared before the claim, so a ring during the claim is never lost.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping

from loguru import logger
from pydantic import ValidationError

from consumer.doorbell import Doorbell, Ring
from consumer.errors import ErrorCode, InputInvalid, StoreError, StoreRefused
from consumer.faults import FaultPoint, reached
from consumer.job import Failed, Job, JsonObject
from consumer.lanes import Lanes
from consumer.replies import Claim
from consumer.retry import full_jitter
from consumer.runner import Runner
from consumer.store import Store

# A deadline is met a moment late, so that the database's clock has surely passed it.
DEADLINE_SLACK = 0.05
# Who rings for jobs that an event should have announced: the heartbeat, and the reconcile after a gap in the feed.
UNANNOUNCED = ("heartbeat", "ready")
# An idle worker's claim takes milliseconds; a model call, seconds at least.
PATIENCE = 1.0
# The event loop's timers are not for months; the heartbeat names the deadline again anyway.
LONGEST_TIMER = 3600.0


class Dispatcher:
    """Owns the jobs in work; `lanes` say how many to take, and which first.

    `patience`: seconds that a job is left to idle workers before it is taken ahead. `max_retries`, when set, replaces
    the row's own. `missed_events` counts unannounced jobs. `trouble`: why the last claim failed.
    """

    def __init__(
        self, store: Store, runner: Runner, bell: Doorbell, lanes: Lanes, *, max_retries: int | None,
        patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        self._store = store
        self._runner = runner
        self._bell = bell
        self._lanes = lanes
        self._patience = patience
        self._max_retries = max_retries
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._claim_key = secrets.token_hex(8)
        self._pauses = full_jitter(base=0.5, cap=15)
        self._looks = full_jitter(base=0.2, cap=5)
        self._claiming = False
        self._to_repeat = False
        self._stopping = False
        self._alone = self._more = self._ahead_due = False
        self._ahead_timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self._slot_free = asyncio.Event()
        self._slot_free.set()
        self.missed_events = 0
        self.trouble: StoreError | None = None

    @property
    def free_slots(self) -> int:
        """How many jobs more may be claimed now."""
        return 0 if self._alone and self._tasks else self._lanes.room(len(self._tasks))

    @property
    def idle(self) -> bool:
        """A slot is free, and nothing is on the way to it: work that waits now has not been heard of."""
        return self.free_slots > 0 and not (self._claiming or self._stopping or self._bell.depth)

    async def run(self) -> None:
        """Claim and start jobs until `stop`; running jobs go on after that."""
        try:
            while await self._next_ring():
                self._claiming = True
                await self._claim_and_start()
                self._claiming = False
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Stop claiming at once."""
        self._stopping = True
        self.due_in(None)
        if self._ahead_timer is not None:
            self._ahead_timer.cancel()
        self._slot_free.set()
        self._bell.ring("slot")

    async def drained(self) -> None:
        """After `stop`: until no claim is under way and no job is running."""
        await self._ended.wait()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def abandon(self) -> None:
        """After `drained` has had its time: drop what still runs. Leases bring those jobs back."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    def look_again(self) -> None:
        """There may be room for a job now, or a reason to take one ahead; or neither any more."""
        if self._stopping:
            return
        if self._wanted() <= 0:
            self._slot_free.clear()
        elif not self._slot_free.is_set():
            self._slot_free.set()
            if self._more:
                self._bell.ring("slot")
        if self._ahead_timer is None and (self._more or self._bell.depth) and self._may_take_ahead():
            self._ahead_timer = asyncio.get_running_loop().call_later(self._patience, self._take_ahead)

    def _may_take_ahead(self) -> bool:
        return self.free_slots <= 0 and not (self._alone or self._stopping) and self._lanes.ahead(len(self._tasks))

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

    def due_in(self, seconds: float | None) -> None:
        """The database named a deadline: ring then. None clears it.

        A claim that waits to be repeated comes first: it may have taken jobs, and its answer names the deadline anew.
        """
        if not self._to_repeat:
            self._ring_in(seconds)

    def _ring_in(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and not self._stopping:
            delay = min(max(seconds, 0) + DEADLINE_SLACK, LONGEST_TIMER)
            self._timer = asyncio.get_running_loop().call_later(delay, self._bell.ring, "deadline")

    async def _next_ring(self) -> bool:
        """Until there is a ring and a slot for it; False when claiming is over."""
        while not self._stopping:
            await self._bell.wait()
            self.look_again()
            await self._slot_free.wait()
            if self._stopping or self._wanted() > 0:
                break
            self._slot_free.clear()
        return not self._stopping

    async def _claim_and_start(self) -> None:
        hints, asked_at, room = self._bell.clear(), time.monotonic(), self._wanted()
        self._ahead_due = False
        try:
            claim = await self._store.claim(
                room, self._claim_key, running=list(self._tasks.values()), max_retries=self._max_retries,
                prefer=self._lanes.preferred_step,
            )  # fmt: skip
        except StoreError as error:
            self.trouble, pause = error, next(self._pauses)
            if isinstance(error, StoreRefused):
                self._claim_key = secrets.token_hex(8)  # it was answered: what it took, its lease brings back
            logger.warning("claim failed, trying again in {:.1f} s: {}", pause, error)
            self._to_repeat = True
            self._ring_in(pause)
            return
        self._to_repeat, self._alone, self._more, self.trouble = False, claim.alone, claim.more, None
        self._claim_key, self._pauses = secrets.token_hex(8), full_jitter(base=0.5, cap=15)
        self.due_in(self._next_look(claim, room))
        self._start_all(claim, hints, asked_at)

    def _next_look(self, claim: Claim, room: int) -> float | None:
        """Seconds to the next deadline; soon, when there is more that another claim has locked at this moment."""
        if not claim.more or claim.alone or room <= len(claim.jobs):
            self._looks = full_jitter(base=0.2, cap=5)
            return claim.next_due_in
        soon = next(self._looks)
        return soon if claim.next_due_in is None else min(soon, claim.next_due_in)

    def _start_all(self, claim: Claim, hints: Mapping[str, Ring], asked_at: float) -> None:
        first = min(hints.values(), key=lambda hint: hint.at, default=None)
        if claim.jobs and hints and all(hint.source in UNANNOUNCED for hint in hints.values()):
            self.missed_events += len(claim.jobs)
            logger.warning("{} job(s) claimed that no event had announced", len(claim.jobs))
        for row in claim.jobs:
            heard = _heard(hints.get(str(row.get("id"))) or first, asked_at)
            task = asyncio.create_task(self._start(row, heard), name=f"job {row.get('id')}")
            self._tasks[task] = str(row.get("id"))
            task.add_done_callback(self._finished)
        if self.free_slots <= 0:
            self._slot_free.clear()

    async def _start(self, row: JsonObject, heard: JsonObject) -> None:
        try:
            job = Job.model_validate(row)
        except ValidationError as error:
            await self._refuse(row, error)
            return
        reached(FaultPoint.CLAIMED, job)
        # A claim that was answered after the stop is handed back, not begun.
        await self._runner.run(job, heard, hand_back=self._stopping)

    async def _refuse(self, row: JsonObject, error: ValidationError) -> None:
        """A row this version cannot read fails honestly instead of crashing each worker in turn."""
        field = str(error.errors()[0]["loc"][0])
        wrong = InputInvalid(field, "has a form this worker does not understand; correct it and submit again")
        logger.error("job {} cannot be read: {}", row.get("id"), wrong)
        outcome = Failed(ErrorCode.INPUT_INVALID, str(wrong), {"field": field, "retryable": False})
        unread = Job.model_construct(id=row["id"], attempt=row["attempt"])
        try:
            await self._store.settle(unread, outcome, logs=None, observability={})
        except StoreError as refused:
            logger.warning("the outcome could not be written, the lease will bring the job back: {}", refused)

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._slot_free.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.opt(exception=error).error("a defect of the worker ended a job's task")
        self._bell.ring("slot")


def _heard(ring: Ring | None, asked_at: float) -> JsonObject:
    """How the job came to us: the first doorbell that named it (or any that rang), and what passed since, in ms.

    Until the claim was asked for, and until its answer was there (the round trip included).
    """
    if ring is None:
        return {"doorbell": None}
    asked, answered = (asked_at - ring.at) * 1000, (time.monotonic() - ring.at) * 1000
    return {"doorbell": ring.source, "event_to_request_ms": round(asked, 3), "event_to_claim_ms": round(answered, 3)}
