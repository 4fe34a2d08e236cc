"""The lanes: whose turn it is at the model server, when the model changes, and how many jobs are taken ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import ModelUnavailable
from consumer.lanes import Batching, Lanes
from consumer.loaded import LoadedModel
from tests.virtual_time import VirtualLoop

A, G = "mistral:7b", "qwen2.5:7b"
GPU = (LoadedModel(A, 10, 10), LoadedModel(G, 10, 10))


def lanes(size: int = 4, wait: float = 120.0, concurrency: int = 1) -> Lanes:
    return Lanes({"analyze": A, "generate": G}, concurrency, Batching(size, wait))


class Turns:
    """Callers of the lanes, each holding its turn until it is told to leave; `order` is who got one."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.order: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *names: str) -> None:
        """Callers such as "a1": the first letter is the model's."""
        for name in names:
            self._leave[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._call(name))
            await asyncio.sleep(0)

    async def _call(self, name: str) -> None:
        async with self.lanes.use(A if name[0] == "a" else G):
            self.order.append(name)
            await self._leave[name].wait()

    async def leave(self, name: str) -> None:
        self._leave[name].set()
        await self._tasks[name]

    async def leave_all(self) -> list[str]:
        """Everybody leaves as soon as it has its turn; returns the whole order."""
        for event in self._leave.values():
            event.set()
        await asyncio.gather(*self._tasks.values())
        return self.order


async def test_turns_are_counted_by_model_and_changes_while_one_fits() -> None:
    lane = lanes()
    assert (await Turns(lane).leave_all(), lane.changes) == ([], 0)
    for fits, names in ((False, ("a1", "g1", "g2", "a2")), (True, ("g3", "a3"))):
        lane.observe(GPU if fits else GPU[:1])
        for name in names:
            turns = Turns(lane)
            await turns.ask(name)
            await turns.leave_all()
    assert (lane.turns, lane.changes) == ({A: 3, G: 3}, 2)


@asynccontextmanager
async def held(turns: Turns, *names: str) -> AsyncIterator[None]:
    await turns.ask(*names)
    yield
    await turns.leave_all()


async def test_a_free_lane_is_entered_without_waiting_for_anyone() -> None:
    lane = lanes()
    async with lane.use(A) as waited:
        assert waited >= 0
        assert lane.in_use == {A}
    assert not lane.in_use


async def test_a_lone_jobs_next_phase_starts_at_once_whatever_the_batch() -> None:
    turns = Turns(lanes(size=64, wait=3600))
    await turns.ask("a1")
    await turns.leave("a1")
    await turns.ask("g1")
    assert turns.order == ["a1", "g1"]
    await turns.leave_all()


async def test_calls_for_the_loaded_model_go_before_a_change_of_model() -> None:
    turns = Turns(lanes())
    await turns.ask("a1", "g0", "a2", "a3", "g4")
    assert await turns.leave_all() == ["a1", "a2", "a3", "g0", "g4"]


async def test_a_batch_ends_when_it_is_full() -> None:
    turns = Turns(lanes(size=3))
    await turns.ask("a1", "g1", "a2", "a3", "a4", "g2", "a5")
    assert await turns.leave_all() == ["a1", "a2", "a3", "a4", "g1", "g2", "a5"]


async def test_batches_of_one_alternate_while_both_models_are_waited_for() -> None:
    turns = Turns(lanes(size=1))
    await turns.ask("a1", "g1", "a2", "g2", "a3")
    assert await turns.leave_all() == ["a1", "a2", "g1", "a3", "g2"]


def test_a_batch_ends_when_another_call_has_waited_too_long() -> None:
    async def scene() -> None:
        turns = Turns(lanes(size=64, wait=10))
        await turns.ask("a1", "g1", "a2", "a3")
        await asyncio.sleep(9)
        await turns.leave("a1")
        assert turns.order == ["a1", "a2"]
        await asyncio.sleep(2)
        await turns.leave("a2")
        assert turns.order[-1] == "g1"
        assert (await turns.leave_all())[-1] == "a3"

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scene())


@given(st.lists(st.sampled_from("ag"), max_size=30), st.integers(1, 5))
def test_nobody_overlaps_nobody_is_forgotten_and_no_model_keeps_the_lane(models: Sequence[str], size: int) -> None:
    async def scene() -> None:
        turns = Turns(lanes(size=size, wait=1e9))
        names = [f"{model}{number}" for number, model in enumerate(models)]
        await turns.ask(*names)
        assert len(turns.lanes.in_use) == min(len(names), 1)
        order = await turns.leave_all()
        assert sorted(order) == sorted(names)
        runs = ["".join(run) for _, run in groupby(name[0] for name in order)]
        # All wait from the beginning: only the last run may be longer. The first call found nobody waiting yet.
        assert all(len(run) <= size + (place == 0) for place, run in enumerate(runs[:-1]))
        assert [name for name in order if name[0] == "a"] == [name for name in names if name[0] == "a"]

    asyncio.run(scene())


async def test_the_wait_is_told_in_milliseconds() -> None:
    lane = lanes()

    async def wait() -> float:
        async with lane.use(G) as waited:
            return waited

    async with lane.use(A):
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        queued = perf_counter()
        await asyncio.sleep(0.01)
        kept = (perf_counter() - queued) * 1000
    assert await waiter >= kept >= 1


async def test_a_failed_call_frees_the_lane() -> None:
    lane = lanes()
    with pytest.raises(RuntimeError):
        async with lane.use(A):
            raise RuntimeError
    async with asyncio.timeout(5), lane.use(G):
        assert lane.in_use == {G}


@pytest.mark.parametrize("at_once", [True, False], ids=["while it waits", "in the tick in which the lane is left"])
async def test_a_cancelled_waiter_is_passed_over(at_once: bool) -> None:
    lane, entered = lanes(), asyncio.Event()

    async def wait() -> None:
        async with lane.use(G):
            entered.set()

    async with lane.use(A):
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiter.cancel()
        if at_once:
            await asyncio.wait([waiter])
    await asyncio.wait([waiter])
    assert not lane.in_use
    async with asyncio.timeout(5), lane.use(A):
        assert not entered.is_set()
    await lane.quiet()


async def test_a_waiter_whose_turn_has_come_and_who_is_cancelled_then_leaves_it() -> None:
    lane = lanes()

    async def wait() -> None:
        async with lane.use(G):
            pass

    async with lane.use(A):
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter])
    async with asyncio.timeout(5), lane.use(A):
        pass


async def test_a_waiter_that_is_cancelled_as_the_lane_is_opened_again_is_passed_over() -> None:
    lane = lanes()

    async def wait() -> None:
        async with lane.use(G):
            pass

    lane.pause()
    waiter = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiter.cancel()
    lane.resume()
    await asyncio.wait([waiter])
    assert not lane.in_use


@pytest.mark.parametrize(
    ("loaded", "fit"),
    [
        (GPU, True),
        ((LoadedModel(A, 10, 0), LoadedModel(G, 10, 0)), True),
        ((LoadedModel(A, 10, 10), LoadedModel(G, 10, 7)), False),
        ((LoadedModel(A, 10, 10), LoadedModel(G, 10, 0)), False),
        ((LoadedModel(A, 10, 10),), False),
        ((LoadedModel(A, 10, 10), LoadedModel("llama3:8b", 10, 10)), False),
        ((LoadedModel(A, 10, 10, stopping=True), LoadedModel(G, 10, 10)), False),
    ],
    ids=["GPU", "CPU", "partly on the CPU", "one on the CPU", "one", "another's", "one stops"],
)
async def test_two_models_are_used_at_once_only_when_both_are_seen_to_fit(
    loaded: Sequence[LoadedModel], fit: bool
) -> None:
    turns = Turns(lanes())
    turns.lanes.observe(loaded)
    await turns.ask("a1", "g1", "a2")
    assert turns.order == (["a1", "g1"] if fit else ["a1"])
    await turns.leave_all()


async def test_what_fitted_is_not_believed_after_a_load_that_pushed_the_other_out() -> None:
    turns = Turns(lanes())
    turns.lanes.observe(GPU)
    turns.lanes.observe(GPU[:1])
    async with held(turns, "a1", "g1"):
        assert turns.order == ["a1"]


async def test_one_load_at_a_time() -> None:
    lane, loading = lanes(), list[str]()

    async def load(name: str) -> None:
        async with lane.loading:
            loading.append(name)
            await asyncio.sleep(0)
            loading.remove(name)
            assert not loading

    await asyncio.gather(load("a"), load("g"))


async def test_a_paused_lane_keeps_its_callers_and_a_barred_one_refuses_them() -> None:
    turns = Turns(lanes())
    turns.lanes.pause()
    await turns.ask("a1", "g1")
    assert turns.order == []
    turns.lanes.bar("it is dead")
    for name in ("a1", "g1"):
        with pytest.raises(ModelUnavailable, match="it is dead"):
            await turns.leave(name)
    with pytest.raises(ModelUnavailable, match="it is dead"):
        async with turns.lanes.use(A):
            pass
    turns.lanes.resume()
    async with asyncio.timeout(5), turns.lanes.use(A):
        assert turns.lanes.in_use == {A}


async def test_a_worker_takes_as_many_jobs_as_it_works_on() -> None:
    assert [lanes(concurrency=2).room(running) for running in (0, 1, 2, 3)] == [2, 1, 0, 0]


async def test_jobs_are_taken_ahead_while_the_first_model_works_and_none_waits_for_it() -> None:
    turns = Turns(lanes(size=3))
    assert not turns.lanes.ahead(1), "the lanes are idle"
    await turns.ask("a1")
    assert turns.lanes.ahead(1)
    await turns.ask("a2")
    assert not turns.lanes.ahead(2), "one waits already"
    await turns.leave("a1")
    await turns.ask("g1")
    assert turns.lanes.ahead(2)
    assert not turns.lanes.ahead(3), "the third has not asked for its turn yet"
    await turns.ask("g3")
    assert not turns.lanes.ahead(3), "the batch is full"
    await turns.leave("a2")
    assert turns.order[-1] == "g1"
    assert not turns.lanes.ahead(1), "it would wait for the whole generation"
    await turns.leave_all()


def test_no_job_is_taken_ahead_of_one_that_has_waited_too_long() -> None:
    async def scene() -> None:
        turns = Turns(lanes(size=64, wait=10))
        await turns.ask("a1", "g1")
        assert turns.lanes.ahead(2)
        await asyncio.sleep(11)
        assert not turns.lanes.ahead(2)
        await turns.leave_all()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scene())


async def test_with_room_for_both_the_next_job_is_taken_while_one_is_generated() -> None:
    turns = Turns(lanes())
    turns.lanes.observe(GPU)
    async with held(turns, "g1"):
        assert [turns.lanes.ahead(running) for running in (1, 2)] == [True, False]
        await turns.ask("a2")
        assert turns.order == ["g1", "a2"]
        assert not turns.lanes.ahead(1)


async def test_one_model_for_both_phases_needs_no_batches() -> None:
    lane = Lanes({"analyze": A, "generate": A})
    async with lane.use(A):
        assert not lane.ahead(1)
        assert lane.preferred_step is None


async def test_a_suspect_and_a_barred_server_get_no_jobs() -> None:
    lane, looked = lanes(), list[int]()
    lane.on_change = lambda: looked.append(lane.room(0))
    lane.pause()
    lane.bar("it is dead")
    lane.resume()
    assert looked == [0, 0, 1]


async def test_the_preferred_step_is_the_loaded_models() -> None:
    lane = lanes()
    assert lane.preferred_step is None
    for model, step in ((A, "analyze"), (G, "generate")):
        async with lane.use(model):
            pass
        assert lane.preferred_step == step
    lane.observe(GPU)
    assert lane.preferred_step is None
