"""Runs prompts through the worker's own attempts, without a database, and scores what comes out.

Called by `consumer eval`. The runner, its steps, lease, lanes and recovery are those of a worker; only the row is kept
in memory. Retries start at once. The score is the validator's (schemas/validator.py), which knows nothing of handlers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from consumer.app import build_ollama
from consumer.cases import Case, either
from consumer.errors import ServiceUnavailable, WorkflowInvalid
from consumer.job import Attempt, Completed, Failed, Job, JsonObject, Outcome, Released, Retry
from consumer.lanes import Lanes
from consumer.old_system import OldSystem
from consumer.outcome import RetryPolicy
from consumer.ports import Done, Handler, ModelStep
from consumer.preflight import check_models
from consumer.recovery import CANARY, Ladder, Recovery
from consumer.replies import Renewal
from consumer.runner import Limits, Runner
from consumer.scores import Figures, Score, System
from consumer.settings import ModelSettings
from consumer.speed import Speeds
from consumer.store import Write
from consumer.workbench import Workbench
from handlers.registry import handler_for
from schemas.catalog import Catalog
from schemas.validator import Known, validate_workflow

# A prompt may be handed back so often before the model server is given up.
MAX_RELEASES = 3
# Told after each prompt: its place, how many there are, and what it came to.
Say = Callable[[int, int, Score], None]


async def evaluate(settings: ModelSettings, cases: Sequence[Case], system: System, say: Say) -> Figures:
    """Run all prompts, one after the other.

    Raises:
        SetupError: the model server or a model is not there, or fails for good.
    """
    scores = []
    async with _bench(settings) as bench:
        for number, case in enumerate(cases, start=1):
            scores.append(await _run(case, settings, bench, system))
            say(number, len(cases), scores[-1])
    return Figures.of(scores)


@asynccontextmanager
async def _bench(settings: ModelSettings) -> AsyncIterator[Workbench]:
    """What a worker of this machine would work with, its recovery running."""
    ollama = build_ollama(settings)
    try:
        digests = dict(await check_models(ollama, settings))
        lanes, clocks = Lanes(settings.models), settings.clocks.clocks(on_gpu=False)
        recovery = Recovery(ollama, lanes, Ladder(canary=min(CANARY, clocks.first_token)))
        looking = asyncio.create_task(recovery.run(), name="recovery")
        try:
            yield Workbench(
                ollama, lanes, recovery, Speeds(), settings.models, digests, clocks.load, clocks.first_token
            )
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
    finally:
        await ollama.aclose()


async def _run(case: Case, settings: ModelSettings, bench: Workbench, system: System) -> Score:
    row, began, releases = _Row(case.job(settings.max_retries)), time.monotonic(), 0
    handler = _Watched(OldSystem() if system == "old" else handler_for(case.mode))
    runner = Runner(row, bench, lambda _: handler, RetryPolicy(), Limits(attempt=settings.job_timeout))
    while not isinstance(row.outcome, Completed | Failed):
        if isinstance(row.outcome, Released):
            releases += 1
            if releases == MAX_RELEASES:
                raise ServiceUnavailable(f"the model server cannot be used: {row.outcome.reason}. Cure it, run again.")
            await asyncio.sleep(row.outcome.delay)
        await runner.run(row.job, {})
    return _scored(case, row, row.outcome, handler, time.monotonic() - began)


class _Row:
    """A job's row: a Ledger in memory. An attempt that may be repeated leaves the job of the next one here."""

    lease_seconds = 20

    def __init__(self, job: Job) -> None:
        self.job = job
        self.outcome: Outcome | None = None
        self.attempts = 0
        self.model_repairs = 0
        self.tokens = {"input_tokens": 0, "output_tokens": 0}
        self._checkpoint: JsonObject = {}

    async def renew(self, job: Job, write: Write) -> Renewal:
        self._checkpoint.update(write.checkpoint or {})
        return Renewal(held=True)

    async def settle(
        self, job: Job, outcome: Outcome, *, logs: list[JsonObject] | None, observability: JsonObject
    ) -> bool:
        self.outcome = outcome
        self.attempts += not isinstance(outcome, Released)
        for step, figures in observability.get("phases", {}).items():
            if not self._resumed(step, figures):
                self._count(figures)
        if isinstance(outcome, Retry):
            self.job = Job.model_validate(
                {
                    **job.model_dump(),
                    "attempt": Attempt(job.attempt + 1),
                    "retry_count": job.retry_count + 1,
                    "checkpoint": self._checkpoint,
                }
            )
        return True

    def _resumed(self, step: str, figures: JsonObject) -> bool:
        """Whether these are the figures of an earlier attempt, whose answer was used again."""
        stored = (self.job.checkpoint or {}).get(step)
        return stored is not None and stored.figures == figures

    def _count(self, figures: JsonObject) -> None:
        self.model_repairs += figures.get("calls", 1) - 1
        for name in self.tokens:
            self.tokens[name] += figures.get(name, 0)


class _Watched:
    """A Handler that remembers which repairs by code its last result took."""

    def __init__(self, handler: Handler) -> None:
        self.steps = handler.steps
        self.repairs: list[JsonObject] = []
        self._handler = handler

    def repair(self, job: Job, done: Done, invalid: WorkflowInvalid) -> ModelStep | None:
        return self._handler.repair(job, done, invalid)

    def result(self, done: Done) -> JsonObject:
        self.repairs = done.get("validate", {}).get("repairs", [])
        return self._handler.result(done)


def _scored(case: Case, row: _Row, outcome: Completed | Failed, handler: _Watched, seconds: float) -> Score:
    workflow = outcome.workflow if isinstance(outcome, Completed) else {}
    types = types_of(workflow)
    triggers = types & {node.name for node in Catalog.load() if node.trigger}
    missing = [label for label in case.nodes if not either(label) & types]
    return Score(
        id=case.id,
        outcome="completed" if isinstance(outcome, Completed) else "failed",
        code=None if isinstance(outcome, Completed) else str(outcome.code),
        violations=tuple(violations(case, outcome)),
        repairs=tuple(repair["code"] for repair in handler.repairs),
        model_repairs=row.model_repairs,
        attempts=row.attempts,
        seconds=round(seconds, 3),
        triggers=tuple(sorted(triggers)),
        trigger_right=None if case.trigger is None else trigger_right(case.trigger, triggers),
        nodes_found=len(case.nodes) - len(missing),
        nodes_wanted=len(case.nodes),
        nodes_missing=tuple(missing),
        **row.tokens,
    )


def violations(case: Case, outcome: Completed | Failed) -> list[str]:
    """The codes of the rules that the result breaks; for a failure, of those that made it one."""
    if isinstance(outcome, Failed):
        named: Any = outcome.details.get("violations", [])
        return [violation["code"] for violation in named]
    before = case.current_workflow if case.mode == "edit" else None
    given = frozenset((*_scalars(case.config), *_scalars((before or {}).get("nodes"))))
    previous = {"nodes": [node for node in (before or {}).get("nodes", ()) if isinstance(node.get("id"), str)]}
    found = validate_workflow(
        outcome.workflow, Catalog.load(), known=Known(given, case.prompt), previous=previous if before else None
    )
    return [violation.code for violation in found]


def trigger_right(label: str, triggers: frozenset[str]) -> bool:
    """Whether what starts the workflow is what the label allows, and nothing else."""
    return bool(triggers) and triggers <= either(label)


def types_of(workflow: Mapping[str, Any]) -> frozenset[str]:
    """The node types of any JSON object, however odd."""
    nodes = workflow.get("nodes")
    found = (node.get("type") for node in nodes if isinstance(node, dict)) if isinstance(nodes, list) else ()
    return frozenset(kind for kind in found if isinstance(kind, str))


def _scalars(value: object) -> Iterator[str]:
    """Every text and number in it, as text."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    elif isinstance(value, str | int | float):
        yield str(value)
