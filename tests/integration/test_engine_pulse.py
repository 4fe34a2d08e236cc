"""Heartbeat and reconciler on a real feed: the canary, missed events, one reconcile per gap (design rules 3 and 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from consumer.claims import Taken
from consumer.heartbeat import Rhythm
from consumer.reconciler import Reconciler
from tests.engine import JOBS, engine, until
from tests.hearing import hearing
from tests.stacks import ThreadedStack

HEARTBEAT, RECONCILE = "heartbeat_workflow_worker", "reconcile_workflow_jobs"


@pytest.fixture
def stack(module_stack: ThreadedStack) -> Iterator[ThreadedStack]:
    module_stack.clear()
    module_stack.psql("delete from public.workflow_workers", user="supabase_admin")
    yield module_stack
    module_stack.stack.realtime.deaf = False


async def test_a_beat_writes_the_row_and_its_canary_comes_back(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(canary=20)) as ears:
        for _ in range(3):
            await ears.heartbeat.beat()
        assert ears.heartbeat.healthy
        assert ears.listener.sessions == 1
        row = await ears.parts.db.fetchrow("select beat, realtime from public.workflow_workers")
    assert row is not None
    assert (row["beat"], row["realtime"]) == (3, "ready")


async def test_a_canary_that_does_not_come_back_rebuilds_the_session(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(canary=0.3)) as ears:
        stack.stack.realtime.deaf = True
        await ears.heartbeat.beat()
        stack.stack.realtime.deaf = False
        await ears.rebuilt(1)
        assert ears.parts.lines("the canary did not come back")
        session = ears.listener.sessions
        await ears.heartbeat.beat()
        assert ears.listener.sessions == session


async def test_a_beat_that_fails_is_not_healthy_and_the_next_one_heals_it(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(interval=0.05, canary=20)) as ears:
        await ears.heartbeat.beat()
        gate = ears.parts.net.hold_request(HEARTBEAT)
        ears.parts.net.refuse(HEARTBEAT)
        second = ears.parts.net.hold_request(HEARTBEAT)
        gate.open.set()
        beating = asyncio.create_task(ears.heartbeat.run())
        await second.reached.wait()
        assert (ears.heartbeat.healthy, ears.heartbeat.failures) == (False, 1)
        second.open.set()
        await until("healthy again", lambda: ears.heartbeat.healthy)
        beating.cancel()


async def test_soon_beats_without_waiting_for_the_interval(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(interval=3600, canary=20)) as ears:
        beating = asyncio.create_task(ears.heartbeat.run())
        await until("the first beat", lambda: ears.parts.net.answered(HEARTBEAT))

        def second() -> bool:
            ears.heartbeat.soon()
            return ears.parts.net.answered(HEARTBEAT) >= 2

        await until("a second one", second)
        beating.cancel()


async def test_soon_during_a_beat_is_another_beat(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(interval=3600, canary=20)) as ears:
        gate = ears.parts.net.hold_reply(HEARTBEAT)
        beating = asyncio.create_task(ears.heartbeat.run())
        await gate.reached.wait()
        ears.heartbeat.soon()
        gate.open.set()
        await until("a second beat", lambda: ears.parts.net.answered(HEARTBEAT) == 2, timeout=2)
        beating.cancel()


async def test_an_overdue_job_is_claimed_by_the_heartbeat_and_the_feed_is_rebuilt(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(grace=5, canary=1)) as ears:
        stack.stack.realtime.deaf = True
        job_id = await ears.parts.submit()
        await ears.parts.db.execute(f"update {JOBS} set run_at = now() - interval '1 min' where id = $1", job_id)
        session = ears.listener.sessions
        await ears.heartbeat.beat()
        stack.stack.realtime.deaf = False
        await ears.parts.ended(job_id)
        await ears.rebuilt(session)
        assert ears.parts.dispatcher.missed_events == 1
        assert ears.parts.lines("an event was missed")


async def test_an_overdue_job_proves_nothing_while_every_slot_is_busy(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(grace=5, canary=20)) as ears:
        ears.parts.model.hold = asyncio.Event()
        await ears.parts.submit()
        ears.parts.ring()
        await ears.parts.model.began.wait()
        job_id = await ears.parts.submit()
        await ears.parts.db.execute(f"update {JOBS} set run_at = now() - interval '1 min' where id = $1", job_id)
        await ears.heartbeat.beat()
        assert ears.listener.sessions == 1
        ears.parts.model.hold.set()
        await ears.parts.ended(job_id)
        assert ears.parts.dispatcher.missed_events == 0


async def test_the_heartbeat_names_the_next_deadline(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(canary=20)) as ears:
        stack.stack.realtime.deaf = True
        job_id = await ears.parts.submit()
        await ears.parts.db.execute(f"update {JOBS} set run_at = now() + interval '1 s' where id = $1", job_id)
        stack.stack.realtime.deaf = False
        await ears.heartbeat.beat()
        await ears.parts.ended(job_id)


@pytest.mark.parametrize("older", [HEARTBEAT, RECONCILE])
async def test_an_answer_that_was_asked_for_before_a_claims_does_not_clear_its_deadline(
    stack: ThreadedStack, older: str
) -> None:
    async with hearing(stack, Rhythm(canary=0.1)) as ears:
        stack.stack.realtime.deaf = True
        gate = ears.parts.net.hold_reply(older)
        asking = asyncio.create_task(ears.heartbeat.beat() if older == HEARTBEAT else ears.reconciler.run())
        await gate.reached.wait()
        job_id = await ears.parts.submit(run_at=await ears.parts.db.fetchval("select now() + interval '2 seconds'"))
        assert await ears.parts.dispatcher.poll() == Taken()
        gate.open.set()
        await ears.parts.ended(job_id)
        asking.cancel()


async def test_gaps_during_a_reconcile_are_one_more_and_each_later_gap_is_one(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm()) as ears:
        gate = ears.parts.net.hold_reply(RECONCILE)
        reconciling = asyncio.create_task(ears.reconciler.run())
        await gate.reached.wait()
        for _ in range(10):
            ears.reconciler.gap()
        gate.open.set()
        await until("two reconciles", lambda: ears.reconciler.reconciles == 2)
        ears.reconciler.gap()
        await until("a third", lambda: ears.reconciler.reconciles == 3)
        reconciling.cancel()
    assert len(ears.parts.net.of(RECONCILE)) == 3


async def test_a_reconcile_is_repeated_until_the_database_answers_and_takes_dead_jobs_back(
    stack: ThreadedStack,
) -> None:
    async with engine(stack) as parts:
        job_id = await parts.submit()
        await parts.db.execute(
            f"update {JOBS} set status = 'processing', attempt = 1, worker_id = 'dead', started_at = now(), "
            "lease_expires_at = now() - interval '1 s' where id = $1",
            job_id,
        )
        parts.net.refuse(RECONCILE, times=2)
        reconciling = asyncio.create_task(Reconciler(parts.store, parts.dispatcher, parts.bell).run())
        row = await parts.ended(job_id)
        reconciling.cancel()
        assert parts.lines("rescued 1 job(s)")
    assert (row["attempt"], row["retry_count"], row["observability"]["doorbell"]) == (2, 1, "start")
    assert len(parts.net.of(RECONCILE)) == 3


async def test_a_poke_through_the_feed_stops_a_cancelled_job(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(canary=20), lease_seconds=600) as ears:
        await ears.heartbeat.beat()
        ears.parts.model.hold = asyncio.Event()
        job_id = await ears.parts.submit()
        await ears.parts.model.began.wait()
        stack.psql(f"begin; set local role service_role; select public.cancel_workflow_job('{job_id}'); commit")
        await ears.parts.ended(job_id, "cancelled")


async def test_the_canary_is_still_asked_for_after_the_workers_row_was_pruned(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(canary=0.3)) as ears:
        for _ in range(3):
            await ears.heartbeat.beat()
        await ears.parts.db.execute("delete from public.workflow_workers")
        stack.stack.realtime.deaf = True
        await ears.heartbeat.beat()
        stack.stack.realtime.deaf = False
        await until("the deaf session was dropped", lambda: ears.listener.sessions == 2, timeout=2)


async def test_the_farewell_waits_for_a_beat_that_is_under_way_which_would_put_the_row_back(
    stack: ThreadedStack,
) -> None:
    async with hearing(stack, Rhythm(canary=20)) as ears:
        gate = ears.parts.net.hold_request(HEARTBEAT)
        beating = asyncio.create_task(ears.heartbeat.run())
        await gate.reached.wait()
        beating.cancel()
        last = asyncio.create_task(ears.parts.store.farewell())
        await until("it no longer beats", beating.done)
        gate.open.set()
        await last
        assert [call["p_stopping"] for call in ears.parts.net.of(HEARTBEAT)] == [False, True]
        assert ears.parts.net.answered(HEARTBEAT) == 2
        assert await ears.parts.db.fetchval("select count(*) from public.workflow_workers") == 0
