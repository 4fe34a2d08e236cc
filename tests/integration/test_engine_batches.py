"""Jobs of a backlog share the loads of the models: stub for the order of calls, real small models for the loads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from devstack.model import ModelServer
from tests.engine import ANALYZE, GENERATE, Engine, engine, until
from tests.stacks import ThreadedStack


class Until(asyncio.Event):
    """A hold that ends by itself once a condition is met."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        super().__init__()
        self._condition = condition

    async def wait(self) -> bool:  # type: ignore[override]  # an Event's always gives True
        await until("the hold's condition", self._condition)
        return True


async def completed(parts: Engine, *job_ids: str) -> None:
    parts.ring()
    for job_id in job_ids:
        await parts.ended(job_id)


async def test_a_backlog_is_analysed_in_batches_and_then_generated(stack: ThreadedStack) -> None:
    async with engine(stack, batch=3) as parts:
        # An analysis ends when the worker has taken what it wants for now.
        parts.model.hold = Until(lambda: parts.dispatcher.free_slots == 0 or len(parts.model.questions(ANALYZE)) == 4)
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
        await until("one is in work and one is taken ahead", lambda: len(parts.runner.running) == 2)
        assert parts.dispatcher.free_slots == 0
        assert [(await parts.row(job_id))["status"] for job_id in ids] == ["processing"] * 2 + ["pending"] * 2
        parts.model.hold.set()
        for job_id in ids:
            await parts.ended(job_id)


async def test_a_job_that_arrives_during_the_last_generation_is_analysed_right_after_it(stack: ThreadedStack) -> None:
    async with engine(stack, batch=4) as parts:
        parts.model.hold, parts.model.holds = asyncio.Event(), GENERATE
        first = await parts.submit()
        parts.ring()
        await until("it is generated", lambda: parts.lanes.in_use == {GENERATE})
        second = await parts.submit()
        parts.ring()
        await until("the second is taken ahead", lambda: second in parts.runner.running)
        assert not parts.model.questions(ANALYZE)[1:]
        parts.model.hold.set()
        await parts.ended(first)
        await parts.ended(second)


async def test_real_models_that_do_not_fit_together_are_loaded_once_per_batch(stack: ThreadedStack) -> None:
    server = ModelServer(max_loaded=1)
    await server.start()
    try:
        async with engine(stack, ollama_url=server.url, batch=2, lease_seconds=60) as parts:
            await completed(parts, *[await parts.submit() for _ in range(2)])
            assert [parts.bench.speeds[model].loads for model in (ANALYZE, GENERATE)] == [1, 1]
            assert not parts.lanes.both_fit
    finally:
        await server.stop()


async def test_real_models_that_fit_together_work_side_by_side(stack: ThreadedStack) -> None:
    server = ModelServer(max_loaded=2)
    await server.start()
    try:
        async with engine(stack, ollama_url=server.url, batch=2, lease_seconds=60) as parts:
            ids = [await parts.submit() for _ in range(3)]
            parts.ring()
            await until("both models are at work", lambda: len(parts.lanes.in_use) == 2, timeout=120)
            for job_id in ids:
                await parts.ended(job_id)
            assert parts.lanes.both_fit
            assert sum(parts.bench.speeds[model].loads for model in (ANALYZE, GENERATE)) == 2
    finally:
        await server.stop()
