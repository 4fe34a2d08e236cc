"""Ownership of one running attempt: keeps the lease while there is progress, and carries progress to the row.

One write (`renew_workflow_job`) serves lease, progress, log lines, preview and checkpoint. Called by the runner; the
dispatcher reaches it to hand a job back. A lost reply is repeated with the same write number, so nothing counts twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol, Self

from loguru import logger

from consumer.errors import InternalError, JobCancelled, JobError, LeaseLost, StoreError, StoreRefused
from consumer.faults import FaultPoint, reached
from consumer.job import Checkpoint, Job, JsonObject, Outcome, Phase, Released
from consumer.replies import Renewal
from consumer.store import Write

# Progress is written at most once per second: a browser sees it move, and the row is not rewritten per token.
WRITE_INTERVAL = 1.0
Verdict = JobError | Released


class Ledger(Protocol):
    """Where attempts are written down: the database (consumer/store.py), or the memory of an evaluation."""

    @property
    def lease_seconds(self) -> int:
        """How long a renewal holds."""

    async def renew(self, job: Job, write: Write) -> Renewal:
        """Extend the lease and write progress."""

    async def settle(
        self, job: Job, outcome: Outcome, *, logs: list[JsonObject] | None, observability: JsonObject
    ) -> bool:
        """Apply the outcome; False when the job is no longer this attempt's."""


class Lease:
    """Use as `async with Lease(...)`; the keeper runs inside. All times are seconds of `time.monotonic()`.

    `on_renewed` is called after each renewal.
    """

    def __init__(self, store: Ledger, job: Job, on_renewed: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._job = job
        self._on_renewed = on_renewed
        self._pending = Write(number=1)
        self._unanswered: Write | None = None
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._urgent = False
        self._claimed_at = self._last_write = time.monotonic()
        self._progressed = True
        self._allowed_until = 0.0
        self._work: asyncio.Future[Any] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.phase = Phase.ANALYZE
        self.progress = 0
        self.verdict: Verdict | None = None

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep(), name=f"lease {self._job.id}")
        self._keeper.add_done_callback(self._on_keeper_done)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    def _on_keeper_done(self, keeper: asyncio.Task[None]) -> None:
        """Without its keeper the lease would run out unseen."""
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            logger.opt(exception=error).error("a defect of the worker ended the keeper of a lease")
            self.end(InternalError("the lease had no keeper any more"))

    def guard(self, work: asyncio.Future[Any]) -> None:
        """Cancel `work` as soon as the attempt must end; `verdict` then says why."""
        self._work = work
        if self.verdict is not None:
            work.cancel()

    def end(self, verdict: Verdict) -> None:
        """End the attempt: lease lost, cancelled by its user, or handed back. The first verdict stands."""
        if self.verdict is None:
            self.verdict = verdict
            if self._work is not None:
                self._work.cancel()

    def allow(self, seconds: float) -> None:
        """Silence is legitimate for so long: a model load or a first token under its own clock."""
        self._allowed_until = time.monotonic() + seconds

    def enter(self, phase: Phase, progress: int, message: str) -> None:
        """A phase begins."""
        self.phase, self.progress = phase, max(progress, self.progress)
        self._set(urgent=False, phase=phase.value, progress=self.progress)
        self.log(message)

    def advance(self, progress: int, preview: JsonObject | None = None) -> None:
        """A token came: the bar moves, or the preview has grown, or at least the lease may be renewed."""
        self._progressed = True
        if progress > self.progress or preview is not None:
            self.progress = max(progress, self.progress)
            self._set(urgent=False, progress=self.progress, preview=preview or self._pending.preview)

    def log(self, message: str) -> None:
        """Add a line to `progress_logs`, with the database's time."""
        line = {"message": message, "progress": self.progress, "phase": self.phase.value, "timestamp": self._now()}
        self._set(urgent=False, logs=[*(self._pending.logs or []), line][-100:])

    def checkpoint(self, step: str, done: Checkpoint | None, progress: int, observability: JsonObject) -> None:
        """A step is finished (or, with None, its stored value is void): written at once."""
        self._progressed = True
        self.progress = max(progress, self.progress)
        value = done.model_dump(mode="json") if done else None
        merged = {**(self._pending.checkpoint or {}), step: value}
        self._set(urgent=True, checkpoint=merged, progress=self.progress, observability=observability)

    def look(self) -> None:
        """Somebody rang about this job (a cancel?): ask the database now."""
        self._urgent = True
        self._changed.set()

    def take_logs(self) -> list[JsonObject]:
        """The log lines not yet sent, for the settling write."""
        lines = self._pending.logs or []
        self._pending = replace(self._pending, logs=None)
        return lines

    async def flush(self) -> None:
        """Write all that is pending; after a failure the rest is left to the keeper."""
        for _ in range(2):  # what is under way, and what has come since
            async with self._writing:
                if self._dirty:
                    await self._write()

    def _now(self) -> str | None:
        """The database's clock: its reading at the claim, and what has passed since. None lets it put its own."""
        if self._job.updated_at is None:
            return None
        return (self._job.updated_at + timedelta(seconds=time.monotonic() - self._claimed_at)).isoformat()

    def _set(self, *, urgent: bool, **fields: object) -> None:
        sooner = (urgent and not self._urgent) or not self._dirty
        self._pending = replace(self._pending, **fields)  # type: ignore[arg-type]  # field names and types are Write's
        self._urgent = self._urgent or urgent
        if sooner:
            self._changed.set()

    @property
    def _dirty(self) -> bool:
        return self._unanswered is not None or self._pending != Write(number=self._pending.number)

    async def _keep(self) -> None:
        while self.verdict is None:
            self._changed.clear()
            wait = self._due_at() - time.monotonic()
            if wait > 0:
                # Not wait_for: before Python 3.12 it drops a cancellation that meets the change it waits for.
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
            elif self._may_renew():
                async with self._writing:
                    if self._due_at() <= time.monotonic():  # a flush may have come first
                        await self._write()

    def _due_at(self) -> float:
        if self._urgent:
            return 0.0
        return self._last_write + (WRITE_INTERVAL if self._dirty else self._store.lease_seconds / 3)

    def _may_renew(self) -> bool:
        """A hung model must lose its lease as a dead worker does (design rule 7)."""
        if self._progressed or self._urgent or self._dirty or time.monotonic() < self._allowed_until:
            return True
        self._last_write = time.monotonic()
        logger.warning("no progress within a third of the lease: not renewed")
        return False

    async def _write(self) -> None:
        """The unanswered write again, or else what is pending. One at a time: hold `_writing`."""
        if self._unanswered is None:
            self._unanswered, self._pending = self._pending, Write(number=self._pending.number + 1)
        self._urgent, self._progressed = False, False
        self._last_write = time.monotonic()
        try:
            answer = await self._store.renew(self._job, self._unanswered)
        except StoreRefused as error:
            logger.error("the database refuses this progress, going on without it: {}", error)
            self._unanswered, self._progressed = None, True
            return
        except StoreError as error:
            logger.warning("renewing the lease failed, trying again: {}", error)
            return
        written, self._unanswered = self._unanswered, None
        self._obey(answer)
        if any((written.checkpoint or {}).values()):
            reached(FaultPoint.CHECKPOINTED, self._job)

    def _obey(self, answer: Renewal) -> None:
        if not answer.held:
            self.end(LeaseLost("another attempt owns the job, or it is over"))
            return
        self._on_renewed()
        if answer.cancel_requested:
            self.end(JobCancelled("its user asked to cancel"))
