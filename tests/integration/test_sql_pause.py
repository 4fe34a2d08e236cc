"""A paused worker claims nothing and is told so; claiming one job by its name keeps the queue's other rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from devstack.postgres import Postgres
from tests.integration.sql_db import Database


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def beat(db: Database, worker: str, **info: object) -> dict[str, Any]:
    answer: dict[str, Any] = await db.service.rpc("heartbeat_workflow_worker", worker=worker, info=info)
    return answer


async def pause(db: Database, worker: str | None, paused: bool = True) -> list[str]:
    answer = await db.service.rpc("pause_workflow_workers", worker=worker, paused=paused)
    assert answer["paused"] is paused
    workers: list[str] = answer["workers"]
    return workers


async def glance(db: Database) -> dict[str, str]:
    rows = await db.service.sql("select worker_id, state from public.workflow_workers_at_a_glance")
    return {row["worker_id"]: row["state"] for row in rows}


async def test_a_paused_worker_gets_nothing_and_is_told_so_until_it_is_resumed(db: Database) -> None:
    await beat(db, "w1")
    await db.job("job-1")
    assert await pause(db, "w1") == await pause(db, "w1") == ["w1"]
    for how in ({}, {"job": "job-1"}):
        answer = await db.service.rpc("claim_workflow_jobs", worker="w1", **how)
        assert (answer["jobs"], answer["paused"], answer["more"]) == ([], True, True)
    assert (await beat(db, "w1"))["paused"] is True
    assert await pause(db, "w1", paused=False) == ["w1"]
    assert (await beat(db, "w1"))["paused"] is False
    assert [job["id"] for job in await db.claim("w1")] == ["job-1"]


async def test_others_go_on_and_what_it_has_it_keeps(db: Database) -> None:
    await beat(db, "w1")
    for number in range(2):
        await db.job(f"job-{number}")
    await db.claim("w1", claim_key="k")
    await pause(db, "w1")
    assert [job["id"] for job in await db.claim("w1", claim_key="k")] == ["job-0"]
    assert await db.settle(1, "completed", job_id="job-0")
    assert [job["id"] for job in await db.claim("w2")] == ["job-1"]


async def test_an_unknown_worker_is_nobody_and_null_means_all(db: Database) -> None:
    assert await pause(db, "w9") == []
    for worker in ("w2", "w1"):
        await beat(db, worker)
    assert await pause(db, None) == ["w1", "w2"]
    assert await glance(db) == {"w1": "paused", "w2": "paused"}
    assert await pause(db, None, paused=False) == ["w1", "w2"]
    assert await glance(db) == {"w1": "idle", "w2": "idle"}


async def test_a_pause_pokes_the_worker_so_that_it_asks_at_once(db: Database) -> None:
    await beat(db, "w1")
    await pause(db, "w1")
    first = await db.owner.fetchval("select poked_at from public.workflow_workers")
    await pause(db, "w1", paused=False)
    assert first < await db.owner.fetchval("select poked_at from public.workflow_workers")


async def test_a_pause_outlives_the_process_and_a_worker_that_was_not_paused_leaves_no_row(db: Database) -> None:
    for worker in ("w1", "w2"):
        await beat(db, worker, busy_with=["job-1"], realtime="ready")
    await pause(db, "w1")
    for worker in ("w1", "w2"):
        await db.service.rpc("heartbeat_workflow_worker", worker=worker, info={}, stopping=True)
    assert await glance(db) == {"w1": "away"}
    (health,) = await db.service.sql("select * from public.workflow_queue_health")
    assert (health["live_workers"], health["idle_workers"]) == (0, 0)
    assert (await beat(db, "w1", realtime="ready"))["paused"] is True
    assert await glance(db) == {"w1": "paused"}


async def test_what_a_worker_does_is_in_one_word(db: Database) -> None:
    await beat(db, "busy", busy_with=["job-1"])
    await beat(db, "pausing", busy_with=["job-2"])
    await beat(db, "lost")
    await pause(db, "pausing")
    await db.owner.execute("update public.workflow_workers set last_seen_at = now() - interval '3 minutes' "
                           "where worker_id = 'lost'")  # fmt: skip
    assert await glance(db) == {"busy": "busy", "pausing": "pausing", "lost": "away"}


async def test_a_job_is_claimed_by_its_name_also_before_its_time(db: Database) -> None:
    await db.job("first")
    await db.job("later", run_at=await db.owner.fetchval("select now() + interval '1 hour'"))
    assert await db.claim("w1", job="later", how_many=0) == []
    assert [job["id"] for job in await db.claim("w1", job="later")] == ["later"]
    assert await db.claim("w1", job="later") == await db.claim("w1", job="nowhere") == []


async def test_a_suspect_is_claimed_by_its_name_only_by_a_worker_at_no_other_work(db: Database) -> None:
    await db.job("suspect")
    await db.claim("w1")
    await db.expire_lease("suspect")
    await db.service.rpc("reconcile_workflow_jobs")
    busy = await db.service.rpc("claim_workflow_jobs", worker="w2", job="suspect", running=["other"])
    assert (busy["jobs"], busy["alone"]) == ([], True)
    free = await db.service.rpc("claim_workflow_jobs", worker="w2", job="suspect")
    assert ([job["id"] for job in free["jobs"]], free["alone"]) == (["suspect"], True)
