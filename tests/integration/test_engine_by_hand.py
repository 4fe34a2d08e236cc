"""Claims that a person asks for, one job by its name or all that is claimable, and a worker that is paused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from consumer.claims import Taken
from consumer.errand import Errand
from consumer.errors import StoreUnavailable
from tests.engine import JOBS, Engine, engine, until
from tests.stacks import ThreadedStack

CLAIM, HEARTBEAT, PAUSE = "claim_workflow_jobs", "heartbeat_workflow_worker", "pause_workflow_workers"


async def held(parts: Engine, **columns: Any) -> str:
    """A job in work whose model call does not end until `parts.model.hold` is set."""
    parts.model.hold = asyncio.Event()
    job_id = await parts.submit(**columns)
    assert await parts.dispatcher.process(job_id) == Taken((job_id,))
    await parts.model.began.wait()
    return job_id


async def test_a_job_is_processed_by_its_name_also_before_its_time_and_only_that_one(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        other = await parts.submit()
        job_id = await parts.submit(run_at=await parts.db.fetchval("select now() + interval '1 hour'"))
        await held(parts, priority=5)
        assert await parts.dispatcher.process(job_id) == Taken((), "busy")
        assert (await parts.row(job_id))["status"] == "pending"
        parts.model.hold.set()  # type: ignore[union-attr]
        await parts.ended(other)  # the freed slot goes on with the queue
        await until("the worker is idle", lambda: parts.dispatcher.idle)
        assert await parts.dispatcher.process(job_id) == Taken((job_id,))
        row = await parts.ended(job_id)
    assert (row["attempt"], row["observability"]["doorbell"]) == (1, "manual")


async def test_processing_a_job_that_is_in_work_here_is_a_repeat_and_asks_nobody(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        job_id = await held(parts)
        asked = len(parts.net.of(CLAIM))
        assert await parts.dispatcher.process(job_id) == Taken((job_id,))
        assert len(parts.net.of(CLAIM)) == asked
        parts.model.hold.set()  # type: ignore[union-attr]
        await parts.ended(job_id)
        assert await parts.dispatcher.process(job_id) == Taken()
        assert await parts.dispatcher.process("nobodys") == Taken()


BY_HAND: list[tuple[str, Callable[[Engine, str], Awaitable[Taken]]]] = [
    ("process", lambda parts, job_id: parts.dispatcher.process(job_id)),
    ("poll", lambda parts, _: parts.dispatcher.poll()),
]


@pytest.mark.parametrize("call", [call for _, call in BY_HAND], ids=[name for name, _ in BY_HAND])
async def test_a_lost_reply_is_repeated_with_its_key_and_the_job_begins_all_the_same(
    stack: ThreadedStack, call: Callable[[Engine, str], Awaitable[Taken]]
) -> None:
    async with engine(stack) as parts:
        parts.net.lose_reply(CLAIM)
        job_id = await parts.submit()
        with pytest.raises(StoreUnavailable):
            await call(parts, job_id)
        row = await parts.ended(job_id)
        first, again = parts.net.of(CLAIM)[:2]
    assert (row["attempt"], first["p_claim_key"]) == (1, again["p_claim_key"])


async def test_a_repeated_claim_takes_no_job_for_which_there_is_no_slot_any_more(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        parts.net.refuse(CLAIM)
        wanted, other = await parts.submit(), await parts.submit()
        with pytest.raises(StoreUnavailable):
            await parts.dispatcher.process(wanted)
        parts.model.hold = asyncio.Event()
        await parts.dispatcher.process(other)
        await until("the first claim was repeated", lambda: len(parts.net.of(CLAIM)) >= 3)
        assert [call["p_how_many"] for call in parts.net.of(CLAIM) if call["p_job"] == wanted] == [1, 0]
        parts.model.hold.set()
        await parts.ended(wanted)
    assert parts.model.most_open == 1


async def test_a_poll_takes_what_is_claimable_and_slots_allow(stack: ThreadedStack) -> None:
    async with engine(stack, slots=2) as parts:
        assert await parts.dispatcher.poll() == Taken()
        parts.model.hold = asyncio.Event()
        ids = [await parts.submit() for _ in range(3)]
        assert await parts.dispatcher.poll() == Taken(tuple(ids[:2]))
        assert await parts.dispatcher.poll() == Taken((), "busy")
        parts.model.hold.set()
        for job_id in ids:
            await parts.ended(job_id)


async def test_each_claimed_job_is_counted_once(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        await parts.finished()
        assert await parts.dispatcher.poll() == Taken()
        assert parts.dispatcher.claims == 1


async def test_a_refused_claim_ends_the_errand_and_says_why_once_its_job_has_ended(stack: ThreadedStack) -> None:
    async with engine(stack, slots=2) as parts:
        running = await held(parts)
        errand = Errand()
        parts.net.answer(CLAIM, httpx.Response(403, json={"code": "42501", "message": "permission denied"}))
        work = asyncio.create_task(errand.run(parts.dispatcher))
        await until("it is refused", lambda: errand.lost)
        assert not work.done()
        parts.model.hold.set()  # type: ignore[union-attr]
        await work
        assert (await parts.row(running))["status"] == "completed"
    assert "permission denied" in str(errand.lost)


async def test_polls_and_doorbells_at_once_take_no_more_than_there_are_slots(stack: ThreadedStack) -> None:
    async with engine(stack, slots=2) as parts:
        parts.model.hold = asyncio.Event()
        ids = [await parts.submit() for _ in range(8)]
        parts.ring()
        await asyncio.gather(*(parts.dispatcher.poll() for _ in range(4)), parts.dispatcher.process(ids[-1]))
        assert len(parts.dispatcher.work) == 2
        parts.model.hold.set()
        for job_id in ids:
            await parts.ended(job_id)


async def test_after_a_stop_nothing_more_is_claimed_and_a_claim_under_way_is_handed_back(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        gate = parts.net.hold_reply(CLAIM)
        job_id = await parts.submit()
        call = asyncio.create_task(parts.dispatcher.process(job_id))
        await gate.reached.wait()
        parts.dispatcher.stop()
        drained = asyncio.create_task(parts.dispatcher.drained())
        gate.open.set()
        assert await call == Taken((job_id,))
        await drained
        assert await parts.events(job_id) == ["claimed", "released"]
        assert await parts.dispatcher.poll() == await parts.dispatcher.process(job_id) == Taken((), "stopping")


async def test_a_suspect_waits_until_its_worker_is_at_no_other_work(stack: ThreadedStack) -> None:
    async with engine(stack, slots=2) as parts:
        suspect = await parts.submit()
        await parts.db.execute(
            f"""update {JOBS} set error_details = '{{"history": [{{"code": "LEASE_LOST"}}]}}' where id = $1""", suspect
        )
        running = await held(parts)
        assert await parts.dispatcher.process(suspect) == Taken((), "busy")
        parts.model.hold.set()  # type: ignore[union-attr]
        await parts.ended(running)
        await parts.ended(suspect)


async def paused(parts: Engine, paused: bool) -> None:
    """As an operator does it, unheard by the worker."""
    await parts.store.heartbeat({})
    await parts.store.database.call(PAUSE, {"p_worker": parts.store.worker_id, "p_paused": paused})


async def test_a_paused_worker_finishes_what_it_has_and_claims_nothing_until_it_is_resumed(
    stack: ThreadedStack,
) -> None:
    told: list[bool] = []
    async with engine(stack, slots=2) as parts:
        parts.dispatcher.on_pause = lambda: told.append(parts.dispatcher.paused)
        running = await held(parts)
        await paused(parts, True)
        waiting = await parts.submit()
        parts.ring()
        await until("the claim's answer says so", lambda: parts.dispatcher.paused)
        assert (parts.dispatcher.free_slots, parts.dispatcher.idle, parts.dispatcher.closed) == (0, False, "paused")
        asked = len(parts.net.of(CLAIM))
        parts.ring()
        assert await parts.dispatcher.poll() == await parts.dispatcher.process(waiting) == Taken((), "paused")
        parts.model.hold.set()  # type: ignore[union-attr]
        await parts.ended(running)
        assert len(parts.net.of(CLAIM)) == asked
        assert (await parts.row(waiting))["status"] == "pending"
        await paused(parts, False)
        parts.dispatcher.pause((await parts.store.heartbeat({})).paused)
        await parts.ended(waiting)
    assert told == [True, True, False]
    assert parts.dispatcher.missed_events == 0


async def test_a_pause_during_a_claim_that_is_not_answered_starts_only_what_was_taken_before(
    stack: ThreadedStack,
) -> None:
    async with engine(stack, slots=3) as parts:
        parts.net.lose_reply(CLAIM)
        taken = await parts.submit()
        with pytest.raises(StoreUnavailable):
            await parts.dispatcher.poll()
        parts.dispatcher.pause(True)
        await paused(parts, True)
        late = await parts.submit()
        await parts.ended(taken)
        assert (await parts.row(late))["status"] == "pending"
        assert parts.net.of(CLAIM)[-1]["p_how_many"] == 0
        await paused(parts, False)
