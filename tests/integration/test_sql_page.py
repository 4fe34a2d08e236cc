"""What the page reads: right, and bounded. Neither what it reads nor what it gets grows with the tables."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from devstack.postgres import Postgres
from tests.integration.sql_db import Database
from tests.integration.test_sql_queue import reads

PHASES = {"phases": {"analyze": {"model": "mistral:7b", "tokens_per_second": 40.0, "total_time_ms": 900}}}
# Every tenth fails; spread over 30 hours, so that every hour of the plots has some.
HISTORY = f"""
insert into public.workflow_generation_jobs (id, prompt, status, created_at, started_at, finished_at, duration_ms,
  attempt, worker_id, workflow_result, error_details, observability)
select 'past-' || n, repeat('p', 500), case when n % 10 = 0 then 'failed' else 'completed' end, t.at, t.at,
  t.at + interval '9 s', 9000, 1, 'w1', case when n % 10 > 0 then '{{"nodes": []}}'::jsonb end,
  case when n % 10 = 0 then '{{"code": "MODEL_TIMEOUT", "cause": "load"}}'::jsonb end, '{json.dumps(PHASES)}'
from generate_series($1::integer + 1, $2) n, lateral (select now() - n * interval '30 hours' / $2 as at) t
"""
QUEUE = """
insert into public.workflow_generation_jobs (id, prompt, run_at)
select 'next-' || n, repeat('q', 500), case when n % 4 = 0 then now() + interval '1 hour' else now() end
from generate_series($1::integer + 1, $2) n
"""


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def page(db: Database, **params: object) -> dict[str, Any]:
    found: dict[str, Any] = await db.service.rpc("workflow_page", **params)
    return found


async def test_the_page_of_an_empty_queue_is_complete(db: Database) -> None:
    found = await page(db)
    lists = ("in_work", "waiting", "finished", "failed", "workers")
    assert {name: found[name] for name in lists} == {name: [] for name in lists}
    assert (found["queue"]["claimable"], found["queue"]["oldest_claimable_at"]) == (0, None)
    trends = found["trends"]
    assert (trends["finished"], trends["failed"], trends["models"], trends["failures"]) == ([0] * 24, [0] * 24, [], [])
    assert "trends" not in await page(db, trends=False)


async def test_each_list_has_its_jobs_in_the_order_of_its_name(db: Database) -> None:
    for job_id in ("one", "two", "three"):
        await db.job(job_id)
    await db.job("later", run_at=(await db.owner.fetchval("select now() + interval '1 hour'")))
    await db.job("first", priority=5)
    await db.claim(max_retries=0)
    await db.settle(1, "failed", "first", error_message="It broke.", error_details={"code": "MODEL_TIMEOUT"})
    await db.claim()
    await db.settle(1, "completed", "one")
    await db.claim()
    await db.renew(1, 1, "two", progress=40, phase="workflow_generation")
    found = await page(db)
    ids = {name: [line["id"] for line in found[name]] for name in ("in_work", "waiting", "finished", "failed")}
    assert ids == {
        "in_work": ["two"], "waiting": ["three", "later"], "finished": ["one", "first"], "failed": ["first"],
    }  # fmt: skip
    two, first = found["in_work"][0], found["failed"][0]
    assert (two["progress"], two["phase"], two["worker"]) == (40, "workflow_generation", "w1")
    assert (first["code"], first["status"], first["prompt"]) == ("MODEL_TIMEOUT", "failed", "Mail me every morning")
    queue = found["queue"]
    assert {name: queue[name] for name in ("claimable", "delayed", "in_work", "expired", "failed_last_hour")} == {
        "claimable": 1, "delayed": 1, "in_work": 1, "expired": 0, "failed_last_hour": 1,
    }  # fmt: skip
    assert queue["finished_last_hour"] == 2
    assert queue["oldest_claimable_at"] and queue["next_run_at"]


async def test_the_plots_show_a_day_by_the_hour(db: Database) -> None:
    await db.owner.execute(HISTORY, 0, 300)
    trends = (await page(db))["trends"]
    [model] = trends["models"]
    assert (model["model"], len(model["speeds"])) == ("mistral:7b", 24)
    assert set(model["speeds"]) <= {40.0, None} and model["speeds"].count(40.0) >= 22
    assert 200 <= sum(trends["finished"]) <= 240
    [failure] = trends["failures"]
    assert (failure["code"], failure["cause"], failure["jobs"]) == ("MODEL_TIMEOUT", "load", sum(trends["failed"]))
    assert failure["last_job"] == "past-10"
    assert trends["median_seconds"] == 9.0


async def test_a_worker_is_shown_with_what_it_is_busy_with_and_why_it_is_degraded(db: Database) -> None:
    info = {
        "hostname": "gpu-1", "pid": 7, "version": "0.1.0", "busy_with": ["one"], "realtime": "degraded",
        "degraded": "no Realtime", "concurrency": 2, "missed_events": 3,
        "model_server": {"state": "given up", "trouble": {"why": "no token"}},
    }  # fmt: skip
    await db.service.rpc("heartbeat_workflow_worker", worker="w1", info=info)
    await db.service.rpc("heartbeat_workflow_worker", worker="w2")
    await db.owner.execute("update public.workflow_workers set last_seen_at = now() - interval '3 minutes' "
                           "where worker_id = 'w2'")  # fmt: skip
    one, two = (await page(db))["workers"]
    assert (one["busy_with"], one["degraded"], one["trouble"], one["concurrency"]) == (
        ["one"], "no Realtime", "no token", 2,
    )  # fmt: skip
    assert (one["state"], two["state"], two["trouble"]) == ("busy", "away", None)


async def test_one_job_comes_with_its_history_and_without_its_config(db: Database) -> None:
    await db.job("one", config={"apiKey": "sk-hidden"})
    await db.claim()
    await db.renew(1, 1, "one", phase="analyze", logs=[{"message": "Reading the request", "phase": "analyze"}])
    await db.settle(1, "retry", "one", error_message="Slow.", error_details={"code": "MODEL_TIMEOUT"}, retry_in=0)
    found = await db.service.rpc("workflow_page_job", job="one")
    assert [event["kind"] for event in found["events"]] == ["claimed", "retry"]
    assert (found["error_details"]["history"][0]["code"], found["log"][0]["message"]) == (
        "MODEL_TIMEOUT", "Reading the request",
    )  # fmt: skip
    assert "sk-hidden" not in json.dumps(found)
    assert await db.service.rpc("workflow_page_job", job="nobody") is None


async def test_neither_what_is_read_nor_what_is_sent_grows_with_the_tables(db: Database) -> None:
    sizes, read = [], []
    for before, jobs in ((0, 1500), (1500, 10_000)):
        await db.owner.execute(HISTORY, before, jobs)
        await db.owner.execute(QUEUE, before, jobs)
        sizes.append(len(json.dumps(await page(db))))
        async with db.second_service() as fresh:
            read.append(await reads(fresh, "select public.workflow_page()"))
    assert [sequential for sequential, _ in read] == [0, 0]
    # four lists, 24 hours of at most 1000 counted and 12 looked at, and counts up to 1000, each row with its visit
    assert read[1][1] <= 14_000
    assert sizes[1] <= sizes[0] * 1.02


@pytest.mark.parametrize("caller", ["anon", "user"])
@pytest.mark.parametrize("call", ["workflow_page()", "workflow_page_job('one')"])
async def test_only_the_service_reads_it(db: Database, caller: str, call: str) -> None:
    who = db.anon if caller == "anon" else await db.user()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await who.sql(f"select public.{call}")
