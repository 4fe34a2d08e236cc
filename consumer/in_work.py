"""The jobs that a worker has in work: a task each, from the claimed row to the runner's end of the attempt.

Owned by the dispatcher.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from loguru import logger
from pydantic import ValidationError

from consumer.doorbell import Ring
from consumer.errors import ErrorCode, InputInvalid, StoreError
from consumer.faults import FaultPoint, reached
from consumer.job import Failed, Job, JsonObject
from consumer.replies import Claim
from consumer.runner import Runner
from consumer.store import Store


class InWork:
    """Starts claimed jobs and keeps their tasks; `on_end` is called when one has ended.

    `hand_back`: the worker stops; what a claim brings now is handed back, not begun.
    """

    def __init__(self, store: Store, runner: Runner, on_end: Callable[[], None]) -> None:
        self._store = store
        self._runner = runner
        self._on_end = on_end
        self._tasks: dict[asyncio.Task[None], str] = {}
        self.hand_back = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def ids(self) -> list[str]:
        """Of the jobs in work."""
        return list(self._tasks.values())

    def start(self, claim: Claim, hints: Mapping[str, Ring], asked_at: float) -> tuple[str, ...]:
        """Begin what a claim brought, and give its ids; `hints` rang before it was asked for (`time.monotonic()`)."""
        first = min(hints.values(), key=lambda hint: hint.at, default=None)
        ids = tuple(str(row.get("id")) for row in claim.jobs)
        for job_id, row in zip(ids, claim.jobs, strict=True):
            heard = _heard(hints.get(job_id) or first, asked_at)
            task = asyncio.create_task(self._run(row, heard), name=f"job {job_id}")
            self._tasks[task] = job_id
            task.add_done_callback(self._finished)
        return ids

    async def ended(self) -> None:
        """Until no job is in work."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def abandon(self) -> None:
        """Drop what still runs. Leases bring those jobs back."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    async def _run(self, row: JsonObject, heard: JsonObject) -> None:
        try:
            job = Job.model_validate(row)
        except ValidationError as error:
            await self._refuse(row, error)
            return
        reached(FaultPoint.CLAIMED, job)
        await self._runner.run(job, heard, hand_back=self.hand_back)

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
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.opt(exception=error).error("a defect of the worker ended a job's task")
        self._on_end()


def _heard(ring: Ring | None, asked_at: float) -> JsonObject:
    """How the job came to us: the first doorbell that named it (or any that rang), and what passed since, in ms.

    Until the claim was asked for, and until its answer was there (the round trip included).
    """
    if ring is None:
        return {"doorbell": None}
    asked, answered = (asked_at - ring.at) * 1000, (time.monotonic() - ring.at) * 1000
    return {"doorbell": ring.source, "event_to_request_ms": round(asked, 3), "event_to_claim_ms": round(answered, 3)}
