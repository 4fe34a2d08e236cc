"""One attempt at one job: its steps in order, then one outcome, then one guarded write.

Called by the dispatcher with a claimed job; never raises but for its own cancellation, which leaves the job unsettled.
Handlers say what a step is, the lease carries progress, `outcome.decide` turns an error into an outcome, `_settle`
writes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from loguru import logger
from pydantic import ValidationError

from consumer import canonical
from consumer.errors import InputInvalid, InternalError, JobError, LeaseLost, ModelTimeout, StoreError, StoreRefused
from consumer.faults import FaultPoint, reached
from consumer.job import Cancelled, Completed, Failed, Job, JobId, JsonObject, Outcome, Released, Retry
from consumer.lease import Lease, Ledger
from consumer.metrics import Begun, Ended, Event, Renewed, Settled, Settling
from consumer.outcome import RetryPolicy, decide
from consumer.ports import Handler
from consumer.retry import full_jitter
from consumer.steps import Steps
from consumer.workbench import Workbench

HandBack = Released(0, "the worker stops")
# Seconds between two tries to write an outcome, at most: somebody waits for it. And once the worker stops.
LONGEST_PAUSE, LAST_PAUSE = 5.0, 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`attempt` seconds bound a whole attempt; an unwritten outcome is kept and tried for `unwritten` seconds."""

    attempt: float = 1800
    unwritten: float = 900


class Runner:
    """Runs attempts; one instance serves all slots of a worker. `on_change` is called when `running` has changed."""

    def __init__(
        self,
        store: Ledger,
        bench: Workbench,
        handler_for: Callable[[str], Handler],
        policy: RetryPolicy,
        limits: Limits,
    ) -> None:
        self._store = store
        self._bench = bench
        self._handler_for = handler_for
        self._policy = policy
        self._limits = limits
        self._running: dict[JobId, Lease] = {}
        self._stopping = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None

    @property
    def running(self) -> list[JobId]:
        """Ids of the jobs in work."""
        return list(self._running)

    def hand_back(self) -> None:
        """End all attempts now and return their jobs to the queue, with no retry burnt; try kept outcomes at once."""
        self._stopping.set()
        for lease in self._running.values():
            lease.end(HandBack)

    def look(self) -> None:
        """Ask the database about every running job now: one may have been cancelled."""
        for lease in self._running.values():
            lease.look()

    async def run(self, job: Job, claimed: JsonObject, *, hand_back: bool = False) -> None:
        """Run one attempt to its settled end, or with `hand_back` return the job at once.

        `claimed` says how the job was heard (goes into observability).
        """
        self._tell(job, Begun(claimed))
        with logger.contextualize(job=job.id, attempt=job.attempt, **self._bench.observer.words(job)):
            lease, settled = Lease(self._store, job, on_renewed=lambda: self._tell(job, Renewed())), False
            try:
                async with lease:
                    settled = await self._attempt(job, lease, claimed, hand_back=hand_back)
            finally:
                # a renewal that meets the attempt's own end is told that the lease is gone
                self._tell(job, Ended(lost=isinstance(lease.verdict, LeaseLost) and not settled))

    async def _attempt(self, job: Job, lease: Lease, claimed: JsonObject, *, hand_back: bool) -> bool:
        """Whether its end was written, and stands."""
        if older := self._running.get(job.id):
            older.end(LeaseLost("this worker has claimed the job anew"))
        self._running[job.id] = lease
        self.on_change()
        if hand_back:
            lease.end(HandBack)
        try:
            steps = Steps(self._bench, job, lease, claimed)
            outcome = await self._outcome(job, lease, steps)
            if outcome is None:
                logger.warning("attempt ends unsettled: {}", lease.verdict)
                return False
            return await self._settle(job, outcome, lease, steps)
        except asyncio.CancelledError:
            logger.error("the worker ends before the attempt is settled, its lease will bring the job back")
            raise
        finally:
            if self._running.get(job.id) is lease:
                del self._running[job.id]
                self.on_change()

    async def refuse(self, row: JsonObject, error: ValidationError) -> None:
        """A row this version cannot read fails honestly instead of crashing each worker in turn."""
        field = str(error.errors()[0]["loc"][0])
        wrong = InputInvalid(field, "has a form this worker does not understand; correct it and submit again")
        logger.error("job {} cannot be read: {}", row.get("id"), wrong)
        outcome = Failed(wrong.code, str(wrong), {"field": field, "retryable": False})
        unread = Job.model_construct(id=row["id"], attempt=row["attempt"])
        try:
            applied = await self._store.settle(unread, outcome, logs=None, observability={})
        except StoreError as refused:
            logger.warning("the outcome could not be written, the lease will bring the job back: {}", refused)
        else:
            self._tell(unread, Settled(*_named(outcome, applied)))

    def _tell(self, job: Job, event: Event) -> None:
        self._bench.observer.see(job, event)

    async def _outcome(self, job: Job, lease: Lease, steps: Steps) -> Outcome | None:
        work = asyncio.ensure_future(self._work(job, steps))
        lease.guard(work)
        try:
            return Completed(await work)
        except asyncio.CancelledError:
            verdict = lease.verdict
            if verdict is None:
                work.cancel()
                raise
            return verdict if isinstance(verdict, Released) else decide(verdict, job, lease.phase, self._policy)
        except JobError as error:
            return decide(error, job, lease.phase, self._policy)
        except Exception:
            logger.exception("a defect of the worker ended the attempt")
            return decide(InternalError("a defect of the worker"), job, lease.phase, self._policy)

    async def _work(self, job: Job, steps: Steps) -> JsonObject:
        try:
            async with asyncio.timeout(self._limits.attempt) as clock:
                return await steps.run(self._handler_for(job.mode), clock)
        except TimeoutError:
            if clock.expired():
                raise ModelTimeout("total", self._limits.attempt) from None
            raise

    async def _settle(self, job: Job, outcome: Outcome, lease: Lease, steps: Steps) -> bool:
        """Write the outcome; while the database is away, keep it and try again (the fence decides who wins)."""
        self._tell(job, Settling())
        lease.log(_sentence(outcome))
        lease.allow(self._limits.unwritten)  # what is finished keeps its job until it is written
        logs, checkpoint = lease.take_logs(), lease.unstored
        deadline = asyncio.get_running_loop().time() + self._limits.unwritten
        reached(FaultPoint.BEFORE_SETTLE, job)
        for pause in full_jitter(base=0.5, cap=LONGEST_PAUSE):
            try:
                applied = await self._store.settle(
                    job, outcome, logs=logs, observability=steps.observability, checkpoint=checkpoint
                )
                break
            except StoreError as error:
                if asyncio.get_running_loop().time() > deadline:
                    logger.error("giving the outcome up, the lease will bring the job back: {}", error)
                    return False
                logger.warning("the outcome could not be written, trying again: {}", error)
                # What the database refuses may be the answers, which are only of use to a replay.
                outcome = outcome if checkpoint and _about_the_data(error) else _storable(outcome, job, error)
                checkpoint = None if _about_the_data(error) else checkpoint
            await self._pause(pause)
        reached(FaultPoint.AFTER_SETTLE, job)
        name, code = _named(outcome, applied)
        seconds = time.monotonic() - lease.claimed_at
        canonical.say(job, outcome, name, seconds=seconds, observability=steps.observability)
        self._tell(job, Settled(name, code))
        return applied

    async def _pause(self, seconds: float) -> None:
        """Wait before another try; a stop cuts it short, and then there is not much time left."""
        if self._stopping.is_set():
            await asyncio.sleep(min(seconds, LAST_PAUSE))
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()


def _storable(outcome: Outcome, job: Job, error: StoreError) -> Outcome:
    """What to write after this error: the same again, or an honest failure when the database refuses the outcome."""
    if not _about_the_data(error):
        return outcome
    if isinstance(outcome, Failed):
        return Released(60, "outcome refused by the database")
    return Failed("INTERNAL", InternalError.public, {"attempt": job.attempt, "phase": "settle", "retryable": False})


def _about_the_data(error: StoreError) -> bool:
    return isinstance(error, StoreRefused) and error.about_the_data


def _sentence(outcome: Outcome) -> str:
    """The last line of `progress_logs`."""
    match outcome:
        case Completed():
            return "Workflow completed"
        case Retry(delay, _, message, _):
            return f"{message} Trying again in {delay:.1f} s."
        case Failed(_, message, _):
            return message
        case Released():
            return "Handed back to the queue"
        case Cancelled():
            return "Cancelled"


def _named(outcome: Outcome, applied: bool) -> tuple[str, str]:
    """The outcome as it stands in the database, and its error code or an empty text."""
    name = type(outcome).__name__.lower() if applied else "refused"
    return name, str(outcome.code) if isinstance(outcome, Retry | Failed) else ""
