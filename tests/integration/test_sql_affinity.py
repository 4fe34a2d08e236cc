"""Which job a worker claims for the sake of its loaded model, and how little the others lose by it (decision 7)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from devstack.postgres import Postgres
from tests.integration.sql_db import Database
from tests.integration.test_sql_claim import claimed, suspect
from tests.integration.test_sql_queue import INSERT_MANY, reads
from tests.queue_model import OVERTAKING, RECENT

ANALYSED = {"analyze": {"input_hash": "h", "value": {}}}
CHECKPOINTS = {"analyze": None, "generate": ANALYSED}
ANY = list(CHECKPOINTS.values())
OTHER = {"analyze": "generate", "generate": "analyze"}
STEPS = pytest.mark.parametrize("step", CHECKPOINTS)
# How many places of the queue a claim for one job looks at.
WINDOW = 20


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def queue(db: Database, **steps: str) -> None:
    """Pending jobs, in this order, by name and next step."""
    for name, step in steps.items():
        await db.job(name, checkpoint=CHECKPOINTS[step])


async def order(db: Database, prefer: str | None, how_many: int = 1) -> list[str]:
    """Claims until nothing is left: the jobs as they were taken."""
    taken: list[str] = []
    while jobs := await db.claim(how_many=how_many, prefer=prefer):
        taken += sorted(job["id"] for job in jobs)
    return taken


@STEPS
async def test_jobs_whose_next_step_uses_the_loaded_model_go_first_and_otherwise_the_order_stays(
    db: Database, step: str
) -> None:
    other = OTHER[step]
    await queue(db, a=other, b=step, c=other, d=step, e=step)
    assert await order(db, step) == ["b", "d", "e", "a", "c"]


async def test_a_claim_for_several_fills_up_with_the_others(db: Database) -> None:
    await queue(db, a="analyze", b="analyze", c="analyze", d="generate")
    assert {job["id"] for job in await db.claim(how_many=3, prefer="generate")} == {"a", "b", "d"}


@pytest.mark.parametrize("prefer", [None, "validate", ""])
async def test_without_a_model_step_to_prefer_the_order_stays(db: Database, prefer: str | None) -> None:
    await queue(db, a="analyze", b="generate", c="analyze", d="generate")
    assert await order(db, prefer) == ["a", "b", "c", "d"]


async def test_a_higher_priority_goes_before_the_loaded_model(db: Database) -> None:
    await queue(db, a="generate", b="analyze")
    await db.job("urgent", priority=1)
    await db.job("urgent-too", priority=1, checkpoint=ANALYSED)
    assert await order(db, "generate") == ["urgent-too", "urgent", "a", "b"]


@pytest.mark.parametrize("checkpoint", [{"analyze": None}, {"generate": {"value": {}}}, {}])
async def test_a_void_or_missing_analysis_is_to_be_done_again(db: Database, checkpoint: dict[str, object]) -> None:
    await db.job("a", checkpoint=ANALYSED)
    await db.job("b", checkpoint=checkpoint)
    assert await order(db, "analyze") == ["b", "a"]


@STEPS
@pytest.mark.parametrize("workers", [1, 3])
async def test_an_endless_supply_of_preferred_jobs_overtakes_a_job_eight_times_and_no_more(
    db: Database, step: str, workers: int
) -> None:
    await queue(db, waiting=OTHER[step], **{f"supply-{number}": step for number in range(5)})
    for number in count():
        await queue(db, **{f"more-{number}": step})
        [job] = await db.claim(f"w{number % workers}", prefer=step)
        if job["id"] == "waiting":
            break
    assert number == OVERTAKING


async def test_one_claim_for_many_overtakes_no_more_than_claims_for_one(db: Database) -> None:
    await queue(db, waiting="analyze", **{f"supply-{number:02}": "generate" for number in range(30)})
    taken = {job["id"] for job in await db.claim(how_many=OVERTAKING + 1, prefer="generate")}
    assert taken == {"waiting", *(f"supply-{number:02}" for number in range(OVERTAKING))}


async def test_a_job_that_has_been_overtaken_enough_holds_up_no_other_priority(db: Database) -> None:
    await db.job("waiting", priority=1)
    for number in range(OVERTAKING):
        await db.job(f"supply-{number}", priority=1, checkpoint=ANALYSED)
    await queue(db, a="analyze", b="generate")
    assert "waiting" not in {job["id"] for job in await db.claim(how_many=OVERTAKING, prefer="generate")}
    assert {job["id"] for job in await db.claim(how_many=2, prefer="generate")} == {"waiting", "b"}


async def test_what_was_claimed_before_a_job_came_has_not_overtaken_it(db: Database) -> None:
    await queue(db, **{f"early-{number:02}": "generate" for number in range(RECENT)})
    await db.claim(how_many=RECENT)
    # into an empty queue: in front of all places given so far
    await queue(db, waiting="analyze", supply="generate")
    assert await order(db, "generate") == ["supply", "waiting"]


@pytest.mark.parametrize(("between", "first"), [(WINDOW - 2, "far"), (WINDOW - 1, "waiting")])
async def test_nobody_comes_from_behind_the_window(db: Database, between: int, first: str) -> None:
    await queue(db, waiting="analyze", **{f"between-{number}": "analyze" for number in range(between)}, far="generate")
    assert [job["id"] for job in await db.claim(prefer="generate")] == [first]


@pytest.mark.parametrize("seed", range(4))
async def test_of_any_32_jobs_claimed_in_a_row_eight_at_most_overtake_the_same_one(db: Database, seed: int) -> None:
    """Jobs of two users and two priorities come and go at random, more of them than are claimed."""
    rng = random.Random(seed)
    users, numbers, most = [(await db.user()).user_id, None], count(), 0
    waits: dict[str, list[bool]] = {}
    for _ in range(60):
        for _ in range(rng.randint(0, 5)):
            row = {"user_id": rng.choice(users), "priority": rng.choice((0, 0, 1)), "checkpoint": rng.choice(ANY)}
            waits[await db.job(f"job-{next(numbers):03}", **row)] = []
        prefer = rng.choice(("generate",) * 9 + ("analyze",))
        taken = [job["id"] for job in await db.claim(how_many=rng.choice((1, 1, 3)), prefer=prefer)]
        for job_id in taken:
            del waits[job_id]
        for waiting, passed in waits.items():
            passed += [await overtook(db, job_id, waiting) for job_id in taken]
            most = max(most, sum(passed[-RECENT:]))
    assert most == OVERTAKING, "the bound is reached, and kept"


async def overtook(db: Database, job_id: str, waiting: str) -> bool:
    places = "select priority, fair_rank, created_at, id from public.workflow_generation_jobs where id = $1"
    taken, other = await db.owner.fetchrow(places, job_id), await db.owner.fetchrow(places, waiting)
    assert taken is not None
    assert other is not None
    return taken[0] == other[0] and tuple(taken)[1:] > tuple(other)[1:]


async def test_a_plan_made_for_a_handful_of_jobs_reads_few_rows_of_many(db: Database) -> None:
    async with db.second_service() as session:
        for number in range(40):
            await db.job(f"job-{number}")
            await db.claim()
            await db.settle(1, "completed", f"job-{number}")
        await db.owner.execute("analyze public.workflow_generation_jobs, public.workflow_job_events")
        for _ in range(10):  # by then a session keeps its plan
            await session.rpc("claim_workflow_jobs", worker="w1", prefer="generate")
        await db.owner.execute(INSERT_MANY, 3000)
        await db.owner.execute("""
            insert into public.workflow_job_events (job_id, attempt, worker_id, kind)
            select id, 1, 'w', 'claimed' from public.workflow_generation_jobs""")
        sequential, by_index = await reads(session, "select public.claim_workflow_jobs('w1', p_prefer => 'generate')")
    assert sequential == 0
    assert by_index <= 150


async def test_nobody_overtakes_a_suspect(db: Database) -> None:
    await suspect(db, "job-1")
    await queue(db, b="generate")
    assert await claimed(db, prefer="generate") == (["job-1"], True)


async def test_a_job_is_no_suspect_to_the_worker_that_still_runs_it(db: Database) -> None:
    await suspect(db, "job-1")
    await queue(db, b="generate")
    assert [job["id"] for job in await db.claim(prefer="generate", running=["job-1"])] == ["b"]


async def test_a_suspect_overtakes_nobody(db: Database) -> None:
    await queue(db, a="generate")
    await suspect(db, "job-1")
    await queue(db, b="generate")
    assert await claimed(db, prefer="analyze") == (["a"], True)


async def test_what_comes_before_a_suspect_goes_by_the_loaded_model(db: Database) -> None:
    await queue(db, a="analyze", b="generate")
    await suspect(db, "job-1")
    await queue(db, c="generate")
    [job] = await db.claim(prefer="generate")
    assert job["id"] == "b"
    assert await claimed(db, prefer="generate", running=["b"]) == (["a"], True)


async def test_a_claim_finds_what_is_free_behind_a_window_that_others_have_locked(db: Database) -> None:
    await queue(db, **{f"job-{number:02}": "analyze" for number in range(WINDOW + 1)})
    async with db.owner.transaction():
        await db.owner.execute(
            "select from public.workflow_generation_jobs where id < $1 for update", f"job-{WINDOW:02}"
        )
        assert [job["id"] for job in await db.claim(prefer="generate")] == [f"job-{WINDOW:02}"]


async def test_a_preferred_job_that_another_has_locked_is_skipped_for_the_next_preferred_one(db: Database) -> None:
    await queue(db, a="analyze", b="generate", c="generate")
    async with db.owner.transaction():
        await db.owner.execute("select from public.workflow_generation_jobs where id = 'b' for update")
        assert [job["id"] for job in await db.claim(prefer="generate")] == ["c"]


async def test_two_preferring_claims_at_once_share_out_the_jobs(db: Database) -> None:
    await queue(db, **{f"job-{number:02}": ("analyze", "generate")[number % 2] for number in range(40)})
    async with db.second_service() as other:
        calls = [
            caller.rpc("claim_workflow_jobs", worker="w", how_many=20, prefer="generate")
            for caller in (db.service, other)
        ]
        first, second = await asyncio.gather(*calls)
    taken = [job["id"] for answer in (first, second) for job in answer["jobs"]]
    assert sorted(taken) == [f"job-{number:02}" for number in range(40)]


@asynccontextmanager
async def looked_too_early(db: Database, *seen: str) -> AsyncIterator[None]:
    """A claim sees these jobs at the head of the queue, as before the last commits of other sessions."""
    function = "workflow_private.in_turn"
    real = await db.owner.fetchval("select pg_get_functiondef($1::text::regproc)", function)
    stale = f"begin return array{list(seen)}; end"
    await db.owner.execute(real[: real.index("begin")] + stale + real[real.rindex("$function$") :])
    try:
        yield
    finally:
        await db.owner.execute(real)


async def test_what_has_been_taken_ended_or_put_off_since_the_look_is_not_taken(db: Database) -> None:
    await queue(db, taken="generate", ended="generate", late="generate", free="generate")
    await db.claim(job="taken")
    await db.service.rpc("cancel_workflow_job", job="ended")
    await db.owner.execute(
        "update public.workflow_generation_jobs set run_at = now() + interval '1 hour' where id = 'late'"
    )
    async with looked_too_early(db, "taken", "ended", "late", "free"):
        assert [job["id"] for job in await db.claim(how_many=4, prefer="generate")] == ["free"]
