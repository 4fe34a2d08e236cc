"""Events twice, late, in the wrong order, about nothing; connections that come and go: each job runs once."""

from __future__ import annotations

import asyncio

from consumer.heartbeat import Rhythm
from tests.engine import until
from tests.hearing import Hearing, hearing
from tests.scripted_phoenix import Peer, Phoenix
from tests.stacks import ThreadedStack

RECONCILE = "reconcile_workflow_jobs"


async def announce(peer: Peer, jobs: list[str]) -> None:
    """Insert events, as the scripted server chooses to order and repeat them."""
    for job_id in jobs:
        await peer.insert(job_id)


async def test_events_that_are_doubled_late_or_out_of_order_run_each_job_once(stack: ThreadedStack) -> None:
    async with Phoenix() as server, hearing(stack, Rhythm(), server.url, slots=2) as ears:
        parts, peer = ears.parts, server.peers[0]
        jobs = [await parts.submit() for _ in range(5)]
        await announce(peer, [*reversed(jobs), *jobs, "no-such-job", jobs[0], jobs[0]])
        for job_id in jobs:
            await parts.ended(job_id)
        last = await parts.submit()
        await announce(peer, [*jobs, last, *reversed(jobs)])
        await parts.ended(last)
        for job_id in (*jobs, last):
            assert await parts.events(job_id) == ["claimed", "completed"]
            assert (await parts.row(job_id))["attempt"] == 1
        assert (parts.dispatcher.missed_events, ears.listener.sessions) == (0, 1)


async def test_an_event_before_its_row_can_be_claimed_does_no_harm(stack: ThreadedStack) -> None:
    async with Phoenix() as server, hearing(stack, Rhythm(), server.url) as ears:
        await announce(server.peers[0], ["job_later"])
        await until("a claim found nothing", lambda: ears.parts.net.answered("claim_workflow_jobs") == 1)
        await ears.parts.submit(id="job_later")
        await announce(server.peers[0], ["job_later"])
        await ears.parts.ended("job_later")


async def test_every_gap_in_the_feed_is_one_reconcile(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm()) as ears:
        reconciling = asyncio.create_task(ears.reconciler.run())
        await reconciled(ears, 1)
        for number, code in enumerate([1000, 1001, 1012, None, 1012], start=1):
            await asyncio.to_thread(stack.call, stack.stack.realtime.drop_all(code))
            await ears.rebuilt(number)
            await reconciled(ears, number + 1)
        await ears.parts.finished()
        reconciling.cancel()
        assert len(ears.parts.net.of(RECONCILE)) == ears.listener.sessions == 6


async def reconciled(ears: Hearing, times: int) -> None:
    await until(f"{times} reconciles", lambda: ears.reconciler.reconciles == times)
