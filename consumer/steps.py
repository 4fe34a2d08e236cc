"""The steps of one attempt: asks the model, reads its answer, keeps checkpoints, repairs once per distinct failure.

Called by the runner. Owns no I/O of its own: the model lane, the driver and the lease do that.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Literal

from loguru import logger

from consumer.errors import InternalError, JobError, ModelTimeout, ModelUnavailable, Violation, WorkflowInvalid
from consumer.faults import FaultPoint, reached
from consumer.job import Checkpoint, Job, JsonObject
from consumer.lease import Lease
from consumer.metrics import Answered, Asked, CallFailed, Entered, Event, Repaired, Violated
from consumer.observability import added, summary
from consumer.ollama import Answer, canonical
from consumer.ports import CodeStep, Handler, ModelRequest, ModelStep, Step
from consumer.recovery import SUSPICIOUS
from consumer.workbench import Workbench

# Model repair is tried for so many distinct failures of one attempt (design rule 12).
MAX_REPAIRS = 2
# So many claims that cost no retry may end with a model server that dies over the job; then they cost one each.
FREE_RETURNS = 3


class Steps:
    """One attempt's steps and what they have yielded so far."""

    def __init__(self, bench: Workbench, job: Job, lease: Lease, claimed: JsonObject) -> None:
        self._bench = bench
        self._job = job
        self._lease = lease
        self._claimed = claimed
        self._done: dict[str, JsonObject] = {}
        self._figures: dict[str, JsonObject] = {}
        self._repairs: list[JsonObject] = []

    @property
    def observability(self) -> JsonObject:
        """The figures and repairs so far, as the row shows them."""
        return summary(self._figures, self._claimed, self._job.attempt, self._repairs)

    async def run(self, handler: Handler, clock: asyncio.Timeout) -> JsonObject:
        """Do all steps; returns the workflow. `clock` bounds the attempt, and stands still while it waits for the lane.

        Raises:
            JobError: the attempt cannot go on.
        """
        self._clock = clock
        for step in handler.steps:
            self._tell(Entered(step.phase))
            self._lease.enter(step.phase, step.band[0], f"Phase {step.phase.value} begins")
            self._done[step.name] = await self._do(handler, step)
        return handler.result(self._done)

    async def _do(self, handler: Handler, step: Step) -> JsonObject:
        if isinstance(step, CodeStep):
            return await self._compute(handler, step)
        request = step.request(self._job, self._done, self._job.retry_count)
        return self._resumed(step, request) or await self._asked(step, request)

    async def _compute(self, handler: Handler, step: CodeStep) -> JsonObject:
        """Run a code step; when rules stay broken, let the model repair its answer and compute again."""
        seen: set[frozenset[Violation]] = set()
        while True:
            try:
                value = await asyncio.to_thread(step.run, self._job, dict(self._done))
                self._mended("code", value.get("repairs", ()))
                return value
            except WorkflowInvalid as invalid:
                self._tell(Violated(tuple(violation.code for violation in invalid.violations)))
                failure = frozenset(invalid.violations)
                fix = handler.repair(self._job, self._done, invalid)
                if fix is None or failure in seen or len(seen) == MAX_REPAIRS:
                    await self._void_answers()
                    raise
                seen.add(failure)
                self._lease.log(f"Repairing {len(invalid.violations)} violation(s)")
                self._mended("model", [violation.as_json() for violation in invalid.violations])
                request = fix.request(self._job, self._done, self._job.retry_count + len(seen))
                self._done[fix.name] = await self._asked(fix, request)

    def _mended(self, by: Literal["code", "model"], repairs: Sequence[JsonObject]) -> None:
        self._repairs += [{"by": by, **repair} for repair in repairs]
        if codes := tuple(str(repair["code"]) for repair in repairs):
            self._tell(Repaired(by, codes))

    def _tell(self, event: Event) -> None:
        self._bench.observer.see(self._job, event)

    async def _void_answers(self) -> None:
        """A stored answer that cannot be repaired must not be resumed by the next attempt."""
        self._lease.checkpoint("generate", None, self._lease.progress, self.observability)
        await self._lease.flush()

    def _resumed(self, step: ModelStep, request: ModelRequest) -> JsonObject | None:
        stored = (self._job.checkpoint or {}).get(step.name)
        if stored is None or stored.input_hash != self._hash(step, request):
            return None
        logger.info("step {} resumed from its checkpoint", step.name)
        self._lease.log(f"Resumed after {step.phase.value}")
        self._figures[step.name] = stored.figures
        return stored.value

    async def _asked(self, step: ModelStep, request: ModelRequest) -> JsonObject:
        model = self._bench.models[step.model]
        try:
            async with self._turn(model) as waited:
                answer = await self._stream(step, request, model)
        except SUSPICIOUS as error:
            raise await self._judged(error) from error
        self._bench.measure(model, answer)
        figures = replace(answer.figures, queue_time_ms=answer.figures.queue_time_ms + waited)
        self._tell(Answered(model, step.name, figures.as_json(), answer.finish_reason))
        self._figures[step.name] = added(self._figures.get(step.name), figures.as_json())
        with self._counted(step, model):
            value = step.read(self._job, self._done, answer.text)
        done = Checkpoint(input_hash=self._hash(step, request), value=value, figures=self._figures[step.name])
        self._lease.checkpoint(step.name, done, step.band[1], self.observability)
        return value

    @asynccontextmanager
    async def _turn(self, model: str) -> AsyncIterator[float]:
        """The lane, for this model; the wait for it costs the attempt nothing."""
        async with AsyncExitStack() as turn:
            async with self._no_work_of_ours():
                waited = await turn.enter_async_context(self._bench.lanes.use(model))
            yield waited

    @asynccontextmanager
    async def _no_work_of_ours(self) -> AsyncIterator[None]:
        """The attempt's clock stands still and silence costs no lease: the clocks of others bound this wait."""
        deadline, began = self._clock.when(), asyncio.get_running_loop().time()
        self._lease.allow(math.inf)
        self._clock.reschedule(None)
        try:
            yield
        finally:
            if deadline is not None:
                self._clock.reschedule(deadline + asyncio.get_running_loop().time() - began)

    async def _stream(self, step: ModelStep, request: ModelRequest, model: str) -> Answer:
        self._tell(Asked(model, step.name, request.max_tokens, request.temperature, request.seed))
        try:
            with self._counted(step, model):
                await self._load(model)
                return await self._listened(step, request, model)
        except SUSPICIOUS as error:
            self._bench.recovery.report(model, error)
            raise

    @contextmanager
    def _counted(self, step: ModelStep, model: str) -> Iterator[None]:
        try:
            yield
        except JobError as error:
            self._tell(CallFailed(model, step.name, error))
            raise

    async def _load(self, model: str) -> None:
        self._lease.allow(self._bench.load_clock)
        reached(FaultPoint.LOADING, self._job)
        await self._bench.load(model)
        self._lease.allow(self._bench.first_token_clock)

    async def _judged(self, error: JobError) -> JobError:
        """What to make of a failure when the model server has been looked into: a dead one is not the job's fault.

        Unless it dies whenever it works on this very job, which then pays for it: else it would come back for ever.
        """
        async with self._no_work_of_ours():
            why = await self._bench.recovery.verdict()
        returns = self._job.attempt - self._job.retry_count
        return error if why is None or (_in_work(error) and returns > FREE_RETURNS) else ModelUnavailable(why)

    async def _listened(self, step: ModelStep, request: ModelRequest, model: str) -> Answer:
        reader, tokens = step.reader(), 0
        try:
            async with aclosing(self._bench.ollama.chat(model, request)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Answer):
                        return piece
                    tokens += 1
                    if tokens == 1:
                        self._lease.allow(0)  # from here on only progress renews it (design rule 7)
                    changed = reader.feed(piece.text)
                    reached(FaultPoint.STREAMING, self._job)
                    self._lease.advance(_progress(step, tokens), reader.preview if changed else None)
        except ModelUnavailable as error:
            error.in_work = True
            raise
        raise InternalError("the driver's stream ended without an answer")

    def _hash(self, step: ModelStep, request: ModelRequest) -> str:
        """What the answer depends on; seed and temperature are retry knobs, not inputs (design rule 10)."""
        model = self._bench.models[step.model]
        said = [(message.role, message.content) for message in request.messages]
        inputs = [model, self._bench.digests.get(canonical(model)), said, request.schema, request.max_tokens]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _in_work(error: JobError) -> bool:
    """Whether the model was loaded and at work on the request that failed."""
    return getattr(error, "in_work", False) or (isinstance(error, ModelTimeout) and error.clock != "load")


def _progress(step: ModelStep, tokens: int) -> int:
    """Percent within the step's band: moves with tokens and never reaches the end before the answer does."""
    low, high = step.band
    return min(high - 1, low + (high - low) * tokens // max(step.typical_tokens, 1))
