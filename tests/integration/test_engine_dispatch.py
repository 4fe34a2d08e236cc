"""From a ring to a running job: slots, deadlines, fairness, the model lane, nothing that spins (design rules 1, 2)."""

from __future__ import annotations

import asyncio

import pytest

from consumer.runner import Limits
from tests.engine import GENERATE, JOBS, Engine, ScriptedModel, engine, until
from tests.stacks import ThreadedStack

CLAIM = "claim_workflow_jobs"


async def held(parts: Engine) -> None:
    """Ring, and wait until a generation is held."""
    parts.model.hold = asyncio.Event()
    parts.model.began.clear()
    parts.ring()
    await parts.model.began.wait()


async def all_completed(parts: Engine, how_many: int) -> None:
    async def done() -> bool:
        query = f"select count(*) from {JOBS} where status = 'completed'"
        return bool(await parts.db.fetchval(query) == how_many)

    await until(f"{how_many} completed", done)


async def claimed(parts: Engine, how_many: int) -> list[str]:
    """The last claims, in order."""
    query = "select job_id from public.workflow_job_events where kind = 'claimed' order by id"
    return [job_id for (job_id,) in await parts.db.fetch(query)][-how_many:]


async def test_rings_while_all_slots_are_busy_cost_nothing_and_are_served_when_one_frees(
    stack: ThreadedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(stack) as parts:
        await parts.submit()
        await held(parts)
        claims, turns, wait = len(parts.net.of(CLAIM)), 0, parts.bell.wait

        async def counted() -> None:
            nonlocal turns
            turns += 1
            await wait()

        monkeypatch.setattr(parts.bell, "wait", counted)
        second = await parts.submit()
        for _ in range(200):
            parts.ring()
            await asyncio.sleep(0.002)
        assert len(parts.net.of(CLAIM)) == claims
        assert turns <= 1, "the dispatcher spins while its slots are busy"
        assert parts.model.hold is not None
        parts.model.hold.set()
        await parts.ended(second)


async def test_a_ring_during_the_claim_is_served_by_another_claim(stack: ThreadedStack) -> None:
    async with engine(stack, slots=2) as parts:
        gate = parts.net.hold_reply(CLAIM)
        parts.ring()
        await gate.reached.wait()
        job_id = await parts.submit()
        parts.ring()
        gate.open.set()
        await parts.ended(job_id)


async def test_any_number_of_rings_is_one_claim(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        for number in range(500):
            parts.bell.ring("postgres_changes", f"job_{number}")
        await until("claimed", lambda: parts.net.answered(CLAIM))
        await parts.finished()
    assert len(parts.net.of(CLAIM)) <= 4


async def test_a_backlog_is_worked_off_slot_by_slot_without_further_rings(stack: ThreadedStack) -> None:
    async with engine(stack, slots=2) as parts:
        for _ in range(7):
            await parts.submit()
        parts.ring()
        await all_completed(parts, 7)
    assert all(call["p_how_many"] <= 2 for call in parts.net.of(CLAIM))


async def test_after_a_failed_claim_it_tries_again_by_itself(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        parts.net.refuse(CLAIM, times=3)
        await parts.finished()
    assert len({call["p_claim_key"] for call in parts.net.of(CLAIM)[:4]}) == 1


async def test_a_delayed_job_starts_when_it_is_due_and_not_before(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        job_id = await parts.submit()
        await parts.db.execute(f"update {JOBS} set run_at = now() + interval '700 ms' where id = $1", job_id)
        parts.ring()
        await parts.ended(job_id)
        assert await parts.db.fetchval(f"select started_at >= run_at from {JOBS} where id = $1", job_id)
        heard = (await parts.row(job_id))["observability"]["doorbell"]
    assert heard == "deadline"


async def test_a_dead_workers_lease_is_met_as_a_deadline(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        job_id = await parts.submit()
        await parts.db.execute(
            f"update {JOBS} set status = 'processing', attempt = 1, worker_id = 'dead', started_at = now(), "
            "lease_expires_at = now() + interval '600 ms' where id = $1",
            job_id,
        )
        parts.ring()
        row = await parts.ended(job_id)
    assert (row["attempt"], row["retry_count"], row["worker_id"]) == (2, 1, "engine-1")


async def test_idle_means_no_requests(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        await parts.finished()
        await until("the last claim found nothing", lambda: parts.bell.depth == 0)
        await asyncio.sleep(0.2)
        before = len(parts.net.calls)
        await asyncio.sleep(1)
        assert len(parts.net.calls) == before


async def test_two_users_take_turns_although_one_came_first_with_many(stack: ThreadedStack) -> None:
    many, few = stack.stack.user("many@example.com")[0], stack.stack.user("few@example.com")[0]
    async with engine(stack) as parts:
        for _ in range(4):
            await parts.submit(user_id=many)
        late = await parts.submit(user_id=few)
        parts.ring()
        await all_completed(parts, 5)
        assert (await claimed(parts, 5)).index(late) == 1


async def test_a_higher_priority_goes_first(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        first = await parts.submit()
        urgent = await parts.submit(priority=5)
        parts.ring()
        await all_completed(parts, 2)
        started = [(await parts.row(job_id))["started_at"] for job_id in (urgent, first)]
    assert started == sorted(started)


async def test_jobs_whose_next_step_uses_the_loaded_model_are_claimed_first(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        parts.lanes.model = GENERATE
        analysed = {"analyze": {"input_hash": "h", "value": {}, "figures": {}}}
        jobs = [await parts.submit(checkpoint=done) for done in (None, analysed, analysed, None)]
        parts.ring()
        await all_completed(parts, 4)
        assert await claimed(parts, 4) == [jobs[1], jobs[2], jobs[0], jobs[3]]


async def test_three_slots_keep_one_generation_at_a_time(stack: ThreadedStack) -> None:
    model = ScriptedModel(pieces=5)
    async with engine(stack, model, slots=3) as parts:
        for _ in range(3):
            await parts.submit()
        await held(parts)
        await until("three jobs in work", lambda: len(parts.runner.running) == 3)
        assert model.open_streams == 1
        assert parts.dispatcher.free_slots == 0
        assert model.hold is not None
        model.hold.set()
        await all_completed(parts, 3)
        waited = await parts.db.fetchval(f"select max((observability->>'queue_time_ms')::float) from {JOBS}")
    assert model.most_open == 1
    assert len(model.questions(GENERATE)) == 3
    assert waited > 0


async def test_jobs_that_wait_for_the_lane_keep_their_lease(stack: ThreadedStack) -> None:
    async with engine(stack, slots=2, lease_seconds=1) as parts:
        waiting = [await parts.submit(), await parts.submit()]
        await held(parts)
        await until("both in work", lambda: len(parts.runner.running) == 2)
        renewed = len(parts.net.of("renew_workflow_job"))
        await until("renewed well beyond one lease", lambda: len(parts.net.of("renew_workflow_job")) > renewed + 8)
        assert parts.model.hold is not None
        parts.model.hold.set()
        for job_id in waiting:
            assert (await parts.ended(job_id))["attempt"] == 1


async def test_an_announced_job_is_not_counted_as_missed_but_an_unannounced_one_is(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        job_id = await parts.submit()
        parts.bell.ring("postgres_changes", job_id)
        row = await parts.ended(job_id)
        assert parts.dispatcher.missed_events == 0
        # or else the freed slot's own ring would find the next job
        await until("the freed slot has been offered", lambda: parts.dispatcher.idle)
        job_id = await parts.submit()
        parts.bell.ring("heartbeat")
        await parts.ended(job_id)
        assert parts.dispatcher.missed_events == 1
        assert len(parts.lines("no event had announced")) == 1
    assert row["observability"]["doorbell"] == "postgres_changes"
    assert 0 <= row["observability"]["event_to_request_ms"] <= row["observability"]["event_to_claim_ms"]


async def test_a_stopped_dispatcher_claims_no_more_but_lets_the_running_job_end(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        running = await parts.submit()
        await held(parts)
        parts.dispatcher.stop()
        waiting = await parts.submit()
        parts.ring()
        assert parts.model.hold is not None
        parts.model.hold.set()
        await asyncio.wait_for(parts.dispatcher.drained(), 30)
        assert [(await parts.row(job_id))["status"] for job_id in (running, waiting)] == ["completed", "pending"]


async def test_two_engines_never_share_a_job(stack: ThreadedStack) -> None:
    async with engine(stack, worker_id="one", slots=2) as one, engine(stack, worker_id="two", slots=2) as two:
        for _ in range(12):
            await one.submit()
            one.ring()
            two.ring()
        await all_completed(one, 12)
        events = f"from public.workflow_job_events e join {JOBS} j on j.id = e.job_id where e.kind = 'claimed'"
        claims = await one.db.fetchval(f"select count(*) {events}")
        jobs = await one.db.fetchval(f"select count(distinct e.job_id) {events}")
    assert (claims, jobs) == (12, 12)


async def test_a_row_that_another_session_has_locked_is_looked_at_again_soon(stack: ThreadedStack) -> None:
    async with engine(stack) as parts, engine(stack) as locker:
        job_id = await parts.submit()
        async with locker.db.transaction():
            await locker.db.fetchval(f"select id from {JOBS} where id = $1 for update", job_id)
            parts.ring()
            await until("it has looked more than once", lambda: len(parts.net.of(CLAIM)) > 1)
        await parts.ended(job_id, "completed")


async def test_waiting_for_the_lane_is_not_counted_as_work(stack: ThreadedStack) -> None:
    async with engine(stack, slots=2, lease_seconds=60, limits=Limits(attempt=1.5)) as parts:
        async with parts.lanes.use(GENERATE):
            first = await parts.submit()
            parts.ring()
            await until("it waits for the lane", lambda: bool(parts.runner.running))
            await asyncio.sleep(2)  # longer than the whole attempt may work
        await parts.ended(first, "completed")
        assert (await parts.row(first))["retry_count"] == 0


async def test_a_job_claimed_anew_by_the_same_worker_ends_the_older_attempt(stack: ThreadedStack) -> None:
    async with engine(stack, slots=2, lease_seconds=600) as parts:
        job_id = await parts.submit()
        await held(parts)
        await parts.db.execute(f"update {JOBS} set lease_expires_at = now() where id = $1", job_id)
        parts.ring()
        await until("the older attempt has ended", lambda: parts.lines("attempt ends unsettled"))
        assert parts.runner.running == [job_id]
        parts.model.hold.set()  # type: ignore[union-attr]  # `held` has set it
        await parts.ended(job_id, "completed")
    assert not parts.lines("defect")


async def test_a_job_that_its_worker_did_not_outlive_runs_alone_and_nobody_is_called_deaf_for_it(
    stack: ThreadedStack,
) -> None:
    async with engine(stack, slots=3) as parts:
        gates = [parts.net.hold_request("settle_workflow_job") for _ in range(3)]
        in_work = await parts.submit()
        parts.ring()
        await gates[0].reached.wait()
        lost = await parts.submit(error_details={"history": [{"code": "LEASE_LOST"}]})
        after = await parts.submit()
        parts.ring()
        await until("it was told to wait", lambda: parts.net.answered(CLAIM) == 2)
        for _ in range(50):
            await asyncio.sleep(0.002)
            parts.ring()
        assert len(parts.net.of(CLAIM)) == 2
        parts.bell.clear()
        assert not parts.dispatcher.idle  # so the heartbeat does not take what waits for missed events
        for job_id, gate in zip((in_work, lost, after), gates, strict=True):
            await gate.reached.wait()
            assert parts.runner.running == [job_id]
            gate.open.set()
        await all_completed(parts, 3)
