"""The queue: who is next, how little a claim reads, and what rings when a job becomes claimable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from devstack.postgres import ADMIN, Postgres
from tests.integration.sql_db import Caller, Database, connect

INSERT_MANY = "insert into public.workflow_generation_jobs (prompt) select 'p' from generate_series(1, $1)"


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


@asynccontextmanager
async def doorbell(cluster: Postgres, body: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Put another body into `realtime.send` for a while; yields a superuser's session that has the table `rings`."""
    admin = await connect(cluster, ADMIN)
    signature = "realtime.send(payload jsonb, event text, topic text, private boolean default true)"
    before = await admin.fetchval(
        "select pg_get_functiondef(to_regprocedure('realtime.send(jsonb,text,text,boolean)'))"
    )
    await admin.execute("""
        create schema if not exists realtime; grant usage on schema realtime to postgres;
        create table if not exists public.rings (payload jsonb, event text, topic text, private boolean);
        grant all on public.rings to postgres;""")
    await admin.execute(
        f"create or replace function {signature} returns void language plpgsql as $$ begin {body} end $$"
    )
    try:
        yield admin
    finally:
        await admin.execute(before or "drop function realtime.send(jsonb, text, text, boolean)")
        await admin.execute("drop table public.rings")
        await admin.close()


RECORD = "insert into public.rings values (payload, event, topic, private);"


async def drain(db: Database, how_many: int = 100) -> list[str]:
    return [job["id"] for job in await db.claim(how_many=how_many)]


async def test_higher_priority_goes_first_then_the_older_job(db: Database) -> None:
    for job_id, priority in [("low", -5), ("first", 0), ("second", 0), ("high", 9)]:
        await db.job(job_id, priority=priority)
    assert await drain(db) == ["high", "first", "second", "low"]


async def test_a_users_burst_does_not_starve_another_users_single_job(db: Database) -> None:
    greedy, modest = await db.user(), await db.user()
    await greedy.sql(INSERT_MANY, 5000)
    await db.claim(how_many=10)
    [one] = await modest.sql("insert into public.workflow_generation_jobs (prompt) values ('p') returning id")
    assert one["id"] in await drain(db, 2)


async def test_two_users_bursts_are_served_in_turns(db: Database) -> None:
    users = [await db.user(), await db.user()]
    for user in users:
        await user.sql(INSERT_MANY, 20)
    served = [job["user_id"] for job in await db.claim(how_many=10)]
    assert {served.count(user.user_id) for user in users} == {5}


async def test_jobs_without_a_user_queue_up_as_one_user(db: Database) -> None:
    await db.owner.execute(
        "insert into public.workflow_generation_jobs (prompt) select 'p' from generate_series(1, 50)"
    )
    user = await db.user()
    [one] = await user.sql("insert into public.workflow_generation_jobs (prompt) values ('p') returning id")
    assert one["id"] in await drain(db, 2)


async def test_who_was_idle_does_not_save_up_turns(db: Database) -> None:
    busy, idle = await db.user(), await db.user()
    await busy.sql(INSERT_MANY, 40)
    await db.claim(how_many=30)
    await idle.sql(INSERT_MANY, 10)
    served = [job["user_id"] for job in await db.claim(how_many=10)]
    assert served.count(busy.user_id) == 5


async def test_a_job_keeps_its_place_through_a_retry(db: Database) -> None:
    await db.job("first")
    await db.claim()
    await db.job("second")
    await db.settle(1, "retry", job_id="first")
    assert await drain(db, 1) == ["first"]


async def reads(caller: Caller, call: str) -> tuple[int, int]:
    """How many rows of the jobs and their history a call reads by sequential scans, and how many through indexes."""
    counted = """
        select sum(seq_tup_read)::int, sum(idx_tup_fetch)::int from pg_stat_xact_user_tables
        where relname in ('workflow_generation_jobs', 'workflow_job_events')"""
    async with caller.connection.transaction():
        await caller.connection.execute("set local role service_role")
        [before] = await caller.connection.fetch(counted)
        await caller.connection.fetch(call)
        [after] = await caller.connection.fetch(counted)
    return after[0] - before[0], after[1] - before[1]


async def elsewhere(db: Database, statement: str) -> None:
    connection = await connect(db.cluster, "postgres")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("call", "most"),
    [
        ("select public.claim_workflow_jobs('w1', 5, 20, 'key')", 100),
        ("select public.claim_workflow_jobs('w1', 5, 20, 'key', p_prefer => 'generate')", 200),
        ("select public.heartbeat_workflow_worker('w1')", 2100),
        ("select public.submit_workflow_job('p')", 20),
    ],
)
@pytest.mark.parametrize("analyzed", ["when all was empty", "while it was filled", "when nothing waited", "as it is"])
async def test_a_call_reads_few_rows_however_long_the_queue(db: Database, call: str, most: int, analyzed: str) -> None:
    analyze = "analyze public.workflow_generation_jobs, public.workflow_job_events"
    await db.owner.execute(analyze)
    async with db.owner.transaction():
        await db.owner.execute("""
            insert into public.workflow_generation_jobs (prompt, status, started_at, finished_at, workflow_result)
            select 'p', 'completed', now(), now(), '{}' from generate_series(1, 4000)""")
        await db.owner.execute("""
            insert into public.workflow_job_events (job_id, attempt, worker_id, kind)
            select j.id, 1, 'w', k.kind
            from public.workflow_generation_jobs j, (values ('claimed'), ('completed')) k (kind)""")
        if analyzed == "while it was filled":  # as autovacuum may do: pages, and not one row in them
            await elsewhere(db, analyze)
    if analyzed == "when nothing waited":
        await db.owner.execute(analyze)
    await db.owner.execute(INSERT_MANY, 3000)
    await db.owner.execute("""
        insert into public.workflow_generation_jobs (prompt, priority, run_at)
        select 'p', 5, now() + interval '1 hour' from generate_series(1, 3000)""")
    if analyzed == "as it is":
        await db.owner.execute(analyze)
    async with db.second_service() as fresh:
        sequential, by_index = await reads(fresh, call)
    assert sequential == 0
    assert by_index <= most


async def test_a_renewal_touches_no_index(db: Database) -> None:
    await db.job()
    await db.claim()
    async with db.second_service() as fresh, fresh.connection.transaction():
        await fresh.connection.execute("set local role service_role")
        await fresh.connection.fetch("select public.renew_workflow_job('job-1', 1, 1, p_progress => 50)")
        query = (
            "select n_tup_upd, n_tup_hot_upd from pg_stat_xact_user_tables where relname = 'workflow_generation_jobs'"
        )
        [written] = await fresh.connection.fetch(query)
    assert tuple(written) == (1, 1)


async def test_an_insert_rings_once_per_statement_and_names_its_first_jobs(db: Database) -> None:
    user = await db.user()
    async with doorbell(db.cluster, RECORD) as admin:
        await user.sql(INSERT_MANY, 103)
        (ring,) = await admin.fetch("select * from public.rings")
    said, *rest = ring
    assert (said["reason"], rest) == ("insert", ["job_pending", "workflow_jobs", True])
    made = {row["id"] for row in await db.owner.fetch("select id from public.workflow_generation_jobs")}
    assert len(made) == 103
    assert len(said["jobs"]) == len(set(said["jobs"]) & made) == 100


async def test_an_insert_of_nothing_rings_nothing(db: Database) -> None:
    await db.job()
    async with doorbell(db.cluster, RECORD) as admin:
        for _ in range(2):
            await db.service.rpc("submit_workflow_job", prompt="p", id="job-1")
        assert await admin.fetchval("select count(*) from public.rings") == 0


async def test_a_failing_doorbell_does_not_fail_the_insert(db: Database) -> None:
    user = await db.user()
    warnings: list[object] = []
    user.connection.add_log_listener(lambda _, message: warnings.append(message))
    async with doorbell(db.cluster, "raise exception 'no partition of relation found';"):
        await user.sql(INSERT_MANY, 1)
        await asyncio.sleep(0)
    assert await db.owner.fetchval("select count(*) from public.workflow_generation_jobs") == 1
    assert any("no partition of relation found" in str(warning) for warning in warnings)


async def test_a_project_without_broadcasts_takes_inserts_too(db: Database) -> None:
    admin = await connect(db.cluster, ADMIN)
    async with doorbell(db.cluster, "null;"):
        await admin.execute("alter function realtime.send(jsonb, text, text, boolean) rename to send_gone")
        await db.job()
        await admin.execute("alter function realtime.send_gone(jsonb, text, text, boolean) rename to send")
    await admin.close()
    assert (await db.row())["status"] == "pending"


async def poked(db: Database) -> list[str]:
    rows = await db.owner.fetch("select worker_id from public.workflow_workers where poked_at is not null order by 1")
    return [row["worker_id"] for row in rows]


async def workers(db: Database, *names: str) -> None:
    for name in names:
        await db.service.rpc("heartbeat_workflow_worker", worker=name)


async def test_a_release_rings_and_pokes_the_other_live_workers(db: Database) -> None:
    await workers(db, "w1", "w2", "gone")
    await db.owner.execute(
        "update public.workflow_workers set last_seen_at = now() - interval '1 hour' where worker_id = 'gone'"
    )
    await db.job()
    await db.claim("w1")
    async with doorbell(db.cluster, RECORD) as admin:
        await db.settle(1, "released")
        assert await admin.fetchval("select payload ->> 'reason' from public.rings") == "released"
    assert await poked(db) == ["w2"]


async def test_a_delayed_retry_rings_the_others_so_that_they_learn_the_deadline(db: Database) -> None:
    await workers(db, "w1", "w2")
    await db.job()
    await db.claim("w1")
    await db.settle(1, "retry", retry_in=4)
    assert await poked(db) == ["w2"]


async def test_a_rescue_pokes_the_live_workers(db: Database) -> None:
    await workers(db, "w1", "w2")
    await db.job()
    await db.claim("w1")
    await db.expire_lease()
    await db.service.rpc("reconcile_workflow_jobs")
    assert await poked(db) == ["w1", "w2"]


async def test_a_poke_skips_a_worker_whose_row_is_being_written(db: Database) -> None:
    await workers(db, "w1", "w2", "w3")
    await db.job()
    await db.claim("w1")
    async with db.owner.transaction():
        await db.owner.execute("select from public.workflow_workers where worker_id = 'w2' for update")
        assert await db.settle(1, "released")
    assert await poked(db) == ["w3"]


async def cancelled_in_mid_job(db: Database, body: str) -> list[tuple[object, ...]]:
    """A user cancels a job that w1 runs, while `realtime.send` does what `body` says; returns what it recorded."""
    user = await db.user()
    await workers(db, "w1", "w2")
    job_id = (await user.rpc("submit_workflow_job", prompt="p"))["job_id"]
    await db.claim("w1")
    async with doorbell(db.cluster, body) as admin:
        asked = await user.rpc("cancel_workflow_job", job=job_id)
        rings = await admin.fetch("select * from public.rings")
    assert asked == {"found": True, "accepted": True, "status": "processing"}
    return [tuple(ring) for ring in rings]


async def test_a_cancel_tells_the_jobs_worker_on_both_doorbells_and_nobody_else(db: Database) -> None:
    rings = await cancelled_in_mid_job(db, RECORD)
    assert rings == [({"worker_id": "w1"}, "worker_poke", "workflow_jobs", True)]
    assert await poked(db) == ["w1"]


async def test_a_failing_broadcast_does_not_fail_the_cancel(db: Database) -> None:
    assert await cancelled_in_mid_job(db, "raise exception 'no partition of relation found';") == []
    assert await poked(db) == ["w1"]
