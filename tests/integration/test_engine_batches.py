"""Jobs of a backlog share the loads of the models: stub for the order of calls, real small models for the loads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from devstack.model import ModelServer
from tests.engine import ANALYZE, GENERATE, JOBS, Engine, engine, until
from tests.stacks import ThreadedStack

TRIES = 12


class Until(asyncio.Event):
    """A hold that ends by itself once a condition is met."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        super().__init__()
        self._condition = condition

    async def wait(self) -> bool:  # type: ignore[override]  # an Event's always gives True
        await until("the hold's condition", self._condition)
        return True


def satisfied(parts: Engine) -> bool:
    """All jobs in hand have asked for the model, and no more are wanted for now."""
    running = len(parts.runner.running)
    asked = len(parts.lanes.in_use) + len(parts.lanes.waiting)
    return running == asked and not parts.lanes.ahead(running)


async def completed(parts: Engine, *job_ids: str) -> None:
    parts.ring()
    for job_id in job_ids:
        await parts.ended(job_id)


async def test_a_backlog_is_analysed_in_batches_and_then_generated(stack: ThreadedStack) -> None:
    async with engine(stack, batch=3) as parts:
        # An analysis ends when the worker has taken what it wants for now.
        parts.model.hold = Until(lambda: satisfied(parts) or len(parts.model.questions(ANALYZE)) == 4)
        parts.model.holds = ANALYZE
        await completed(parts, *[await parts.submit() for _ in range(4)])
        asked = [body["model"] for body in parts.model.asked]
        assert parts.model.most_open == 1
    assert asked == [ANALYZE] * 3 + [GENERATE] * 3 + [ANALYZE, GENERATE]


async def test_jobs_are_taken_ahead_one_at_a_time_so_that_other_workers_get_some(stack: ThreadedStack) -> None:
    async with engine(stack, batch=4) as parts:
        parts.model.hold, parts.model.holds = asyncio.Event(), ANALYZE
        ids = [await parts.submit() for _ in range(4)]
        parts.ring()
        await until("one is in work and one waits", lambda: parts.lanes.in_use and parts.lanes.waiting)
        assert [(await parts.row(job_id))["status"] for job_id in ids] == ["processing"] * 2 + ["pending"] * 2
        parts.model.hold.set()
        for job_id in ids:
            await parts.ended(job_id)


async def test_a_job_that_arrives_during_a_generation_is_left_to_idle_workers(stack: ThreadedStack) -> None:
    async with engine(stack, batch=4, worker_id="busy") as busy, engine(stack, batch=4, worker_id="idle") as idle:
        busy.model.hold, busy.model.holds = asyncio.Event(), GENERATE
        first = await busy.submit()
        busy.ring()
        await until("it is generated", lambda: busy.lanes.in_use == {GENERATE})
        lone = await busy.submit()
        busy.ring()
        await until("the busy one has heard it and waits", lambda: busy.bell.depth and not busy.dispatcher.idle)
        idle.ring()
        assert (await idle.ended(lone))["worker_id"] == "idle"
        busy.model.hold.set()
        await busy.ended(first)


async def test_a_job_that_arrives_during_an_analysis_is_left_to_idle_workers_first(stack: ThreadedStack) -> None:
    async with (
        engine(stack, batch=4, worker_id="busy", patience=3600) as busy,
        engine(stack, batch=4, worker_id="idle") as idle,
    ):
        busy.model.hold, busy.model.holds = asyncio.Event(), ANALYZE
        first = await busy.submit()
        busy.ring()
        await until("it is analysed", lambda: busy.lanes.in_use == {ANALYZE})
        lone = await busy.submit()
        busy.ring()
        idle.ring()
        assert (await idle.ended(lone))["worker_id"] == "idle"
        busy.model.hold.set()
        await busy.ended(first)


async def test_a_worker_that_holds_back_from_a_backlog_is_not_taken_for_deaf(stack: ThreadedStack) -> None:
    async with engine(stack, batch=4, patience=3600) as parts:
        parts.model.hold = asyncio.Event()
        ids = [await parts.submit() for _ in range(2)]
        parts.ring()
        await until("one is in work", lambda: parts.lanes.in_use)
        await until("its claim is over", lambda: not parts.dispatcher._turn.locked())
        assert not parts.dispatcher.idle
        parts.model.hold.set()
        for job_id in ids:
            await parts.ended(job_id)


async def test_jobs_that_are_all_cancelled_at_once_leave_the_lanes_free(stack: ThreadedStack) -> None:
    """A waiter is cancelled in the very tick in which its turn comes: found by a review, some tries in ten."""
    async with engine(stack, batch=4, slots=4, lease_seconds=600) as parts:
        for _ in range(TRIES):
            parts.model.hold, parts.model.holds = asyncio.Event(), ANALYZE
            ids = [await parts.submit() for _ in range(4)]
            parts.ring()
            await until("all are in hand, and one streams", lambda: parts.model.open_streams == 1 and working(parts))
            await parts.db.execute(f"update {JOBS} set cancel_requested_at = now() where id = any($1)", ids)
            parts.runner.look()
            parts.model.hold.set()
            await until("all are over", lambda: not parts.runner.running)
            assert not parts.lanes.in_use
            assert not parts.lines("defect")


def working(parts: Engine) -> bool:
    return len(parts.runner.running) == 4


async def completed_by_real_models(parts: Engine, *job_ids: str) -> None:
    async def over() -> bool:
        return all([(await parts.row(job_id))["status"] == "completed" for job_id in job_ids])

    await until("all are completed", over, moves=parts.moves)


async def test_real_models_that_do_not_fit_together_are_loaded_once_per_batch(stack: ThreadedStack) -> None:
    server = ModelServer(max_loaded=1)
    await server.start()
    try:
        async with engine(stack, ollama_url=server.url, batch=2, lease_seconds=60) as parts:
            ids = [await parts.submit() for _ in range(2)]
            parts.ring()
            await completed_by_real_models(parts, *ids)
            assert [parts.bench.speeds[model].loads for model in (ANALYZE, GENERATE)] == [1, 1]
            assert not parts.lanes.both_fit
    finally:
        await server.stop()


async def test_real_models_that_fit_together_work_side_by_side(stack: ThreadedStack) -> None:
    server = ModelServer(max_loaded=2)
    await server.start()
    try:
        async with engine(stack, ollama_url=server.url, batch=2, lease_seconds=60) as parts:
            # The second load shows that both fit; then the third is analysed while the second is generated.
            ids = [await parts.submit() for _ in range(3)]
            parts.ring()
            await until("both models are at work", lambda: len(parts.lanes.in_use) == 2, moves=parts.moves)
            await completed_by_real_models(parts, *ids)
            assert parts.lanes.both_fit
            assert sum(parts.bench.speeds[model].loads for model in (ANALYZE, GENERATE)) == 2
    finally:
        await server.stop()
