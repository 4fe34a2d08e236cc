"""The model lane: one model at a time, first come first served."""

from __future__ import annotations

import asyncio
from time import perf_counter

import pytest

from consumer.lanes import ModelLane


async def test_a_free_lane_is_entered_without_waiting_for_anyone() -> None:
    lane = ModelLane()
    async with lane.use("a") as waited:
        assert waited >= 0
        assert lane.model == "a"
    assert lane.model is None


async def test_whoever_waits_longest_goes_first_and_nobody_overlaps() -> None:
    lane, order = ModelLane(), list[str]()

    async def slot(model: str) -> None:
        async with lane.use(model):
            order.append(f"{model} in")
            await asyncio.sleep(0)
            assert lane.model == model
            order.append(f"{model} out")

    async with asyncio.TaskGroup() as slots:
        for model in ("a", "b", "a", "c"):
            slots.create_task(slot(model))
    assert order == [f"{model} {way}" for model in ("a", "b", "a", "c") for way in ("in", "out")]


async def test_the_wait_is_told_in_milliseconds() -> None:
    lane = ModelLane()

    async def wait() -> float:
        async with lane.use("b") as waited:
            return waited

    async with lane.use("a"):
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        queued = perf_counter()
        await asyncio.sleep(0.01)
        held = (perf_counter() - queued) * 1000
    assert await waiter >= held >= 1


async def test_a_failed_call_frees_the_lane() -> None:
    lane = ModelLane()
    with pytest.raises(RuntimeError):
        async with lane.use("a"):
            raise RuntimeError
    async with asyncio.timeout(5), lane.use("b"):
        assert lane.model == "b"


async def test_a_cancelled_waiter_is_passed_over() -> None:
    lane, entered = ModelLane(), asyncio.Event()

    async def wait() -> None:
        async with lane.use("b"):
            entered.set()

    async with lane.use("a"):
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
        assert lane.model == "a"
    async with asyncio.timeout(5), lane.use("c"):
        assert not entered.is_set()
