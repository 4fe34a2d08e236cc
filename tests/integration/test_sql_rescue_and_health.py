"""Reconcile, heartbeat and the dashboard views: what ran out, what is claimable, when the next thing is due."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from devstack.postgres import Postgres
from tests.integration.sql_db import Database


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def test_an_expired_lease_goes_back_to_pending_and_burns_a_retry(db: Database) -> None:
    await db.job()
    await db.claim("w1")
    await db.expire_lease()
    answer = await db.service.rpc("reconcile_workflow_jobs")
    assert answer["oldest_claimable_seconds"] >= 0
    del answer["oldest_claimable_seconds"]
    assert answer == {
        "rescued": 1, "exhausted": 0, "cancelled": 0, "job_ids": ["job-1"], "claimable": 1, "delayed": 0,
        "processing": 0, "expired": 0, "next_due_in": None,
    }  # fmt: skip
    row = await db.row()
    assert (row["status"], row["retry_count"], row["lease_expires_at"]) == ("pending", 1, None)
    assert row["error_details"]["history"][0]["code"] == "LEASE_LOST"
    assert await db.events() == [("claimed", 1), ("rescued", 1)]


async def test_a_live_lease_is_left_alone(db: Database) -> None:
    await db.job()
    await db.claim()
    answer = await db.service.rpc("reconcile_workflow_jobs")
    assert (answer["rescued"], answer["processing"], answer["claimable"]) == (0, 1, 0)
    assert 19 < answer["next_due_in"] <= 20


async def test_a_dry_run_tells_and_does_nothing(db: Database) -> None:
    for number, columns in enumerate([{}, {"max_retries": 0}, {}]):
        await db.job(f"job-{number}", **columns)
    await db.claim(how_many=3)
    await db.service.rpc("cancel_workflow_job", job="job-2")
    for number in range(3):
        await db.expire_lease(f"job-{number}")
    before = [await db.row(f"job-{number}") for number in range(3)]
    told = await db.service.rpc("reconcile_workflow_jobs", dry_run=True)
    assert before == [await db.row(f"job-{number}") for number in range(3)]
    done = await db.service.rpc("reconcile_workflow_jobs")
    counts = ("rescued", "exhausted", "cancelled", "job_ids")
    assert [told[name] for name in counts] == [done[name] for name in counts] == [1, 1, 1, ["job-0", "job-1", "job-2"]]


async def test_a_lease_lost_with_spent_retries_ends_the_job_for_the_person(db: Database) -> None:
    await db.job(max_retries=0)
    await db.claim()
    await db.expire_lease()
    assert (await db.service.rpc("reconcile_workflow_jobs"))["exhausted"] == 1
    row = await db.row()
    assert (row["status"], row["error_message"]) == ("failed", "The worker that had the job stopped answering.")
    assert (row["error_details"]["code"], row["error_details"]["cause"]) == ("ATTEMPTS_EXHAUSTED", "LEASE_LOST")


async def test_a_lost_job_that_should_be_cancelled_is_cancelled(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.service.rpc("cancel_workflow_job", job="job-1")
    await db.expire_lease()
    assert (await db.service.rpc("reconcile_workflow_jobs"))["cancelled"] == 1
    assert (await db.row())["status"] == "cancelled"


async def test_a_claim_rescues_first_and_may_take_the_rescued_job(db: Database) -> None:
    await db.job()
    await db.claim("w1")
    await db.expire_lease()
    assert [(job["attempt"], job["retry_count"]) for job in await db.claim("w2")] == [(2, 1)]


async def test_reconcile_rescues_no_more_than_its_limit(db: Database) -> None:
    for number in range(3):
        await db.job(f"job-{number}")
    await db.claim(how_many=3)
    await db.owner.execute("update public.workflow_generation_jobs set lease_expires_at = now() - interval '1 s'")
    answer = await db.service.rpc("reconcile_workflow_jobs", limit=2)
    assert (answer["rescued"], answer["processing"], answer["expired"], answer["next_due_in"]) == (2, 1, 1, 0)


async def test_reconcile_counts_what_waits_for_its_time(db: Database) -> None:
    await db.job("now")
    await db.job("later")
    await db.claim(job="later")
    await db.settle(1, "retry", job_id="later", retry_in=60)
    answer = await db.service.rpc("reconcile_workflow_jobs")
    assert (answer["claimable"], answer["delayed"]) == (1, 1)


async def test_the_next_due_time_is_the_earliest_of_delays_and_leases(db: Database) -> None:
    await db.job("job-1")
    await db.claim(lease_seconds=600)
    seen = []
    for job_id, delay in [("job-2", "1 hour"), ("job-3", "5 minutes"), ("job-4", "2 hours")]:
        await db.owner.execute(
            "insert into workflow_generation_jobs (id, prompt, run_at) values ($1, 'p', now() + $2::text::interval)",
            job_id, delay,
        )  # fmt: skip
        seen.append((await db.service.rpc("heartbeat_workflow_worker", worker="w1"))["next_due_in"])
    assert [round(seconds / 10) * 10 for seconds in seen] == [600, 300, 300]


async def test_a_heartbeat_writes_the_workers_row_and_counts_up(db: Database) -> None:
    info = {
        "hostname": "box", "pid": 7, "version": "0.1.0", "busy_with": ["job-1"], "models": {"mistral:7b": "loaded"},
        "realtime": "ready", "slots": 2,
    }  # fmt: skip
    beats = [(await db.service.rpc("heartbeat_workflow_worker", worker="w1", info=info))["beat"] for _ in range(3)]
    assert beats == [1, 2, 3]
    row = await db.owner.fetchrow("select * from public.workflow_workers")
    assert row is not None
    assert (row["worker_id"], row["hostname"], row["pid"], row["version"]) == ("w1", "box", 7, "0.1.0")
    assert (row["busy_with"], row["models"], row["realtime"]) == (["job-1"], {"mistral:7b": "loaded"}, "ready")
    assert row["info"] == {"slots": 2}
    assert row["started_at"] < row["last_seen_at"]


async def test_a_worker_that_was_started_again_has_a_new_start_and_a_further_beat(db: Database) -> None:
    await db.service.rpc("heartbeat_workflow_worker", worker="w1", info={"hostname": "box", "pid": 7})
    answer = await db.service.rpc("heartbeat_workflow_worker", worker="w1", info={"hostname": "box", "pid": 8})
    assert answer["beat"] == 2
    assert await db.owner.fetchval("select started_at = last_seen_at from public.workflow_workers")


async def test_a_stopping_worker_removes_its_row(db: Database) -> None:
    await db.service.rpc("heartbeat_workflow_worker", worker="w1")
    for _ in range(2):
        answer = await db.service.rpc("heartbeat_workflow_worker", worker="w1", stopping=True)
        assert answer["beat"] is None
    assert await db.owner.fetchval("select count(*) from public.workflow_workers") == 0


@pytest.mark.parametrize("worker", ["", "a.b", "x" * 65, "w,1"])
async def test_a_worker_id_that_would_not_fit_a_realtime_filter_is_refused(db: Database, worker: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="worker_id_charset"):
        await db.service.rpc("heartbeat_workflow_worker", worker=worker)


async def test_a_heartbeat_tells_what_is_claimable_and_since_when(db: Database) -> None:
    await db.job("job-1")
    await db.job("job-2")
    await db.owner.execute(
        "update public.workflow_generation_jobs set run_at = now() - interval '1 min' where id = 'job-2'"
    )
    answer = await db.service.rpc("heartbeat_workflow_worker", worker="w1")
    assert answer["claimable"] == 2
    assert 60 <= answer["oldest_claimable_seconds"] < 120


async def test_a_job_is_as_old_as_the_moment_it_became_claimable(db: Database) -> None:
    await db.job()
    await db.owner.execute(
        "update workflow_generation_jobs set created_at = now() - interval '1 day', run_at = now() - interval '1 day'"
    )
    await db.claim()
    await db.settle(1, "released")
    answer = await db.service.rpc("heartbeat_workflow_worker", worker="w1")
    assert answer["oldest_claimable_seconds"] < 3600


async def test_an_idle_queue_answers_nothing_claimable_and_nothing_due(db: Database) -> None:
    answer = await db.service.rpc("heartbeat_workflow_worker", worker="w1")
    assert answer == {
        "beat": 1, "claimable": 0, "oldest_claimable_seconds": None, "next_due_in": None, "paused": False,
    }  # fmt: skip


async def test_the_count_of_claimable_jobs_is_capped(db: Database) -> None:
    await db.owner.execute(
        "insert into public.workflow_generation_jobs (prompt) select 'p' from generate_series(1, 1100)"
    )
    assert (await db.service.rpc("heartbeat_workflow_worker", worker="w1"))["claimable"] == 1000


async def test_queue_health_is_one_row_of_figures(db: Database) -> None:
    for number in range(4):
        await db.job(f"job-{number}")
    await db.claim(how_many=3)
    await db.settle(1, "completed", job_id="job-0")
    await db.settle(1, "retry", job_id="job-1", retry_in=60)
    await db.expire_lease("job-2")
    await db.service.rpc("heartbeat_workflow_worker", worker="w1", info={"busy_with": ["job-2"]})
    [health] = await db.service.sql("select * from public.workflow_queue_health")
    figures = {name: health[name] for name in ("pending", "claimable", "delayed", "processing", "expired_leases")}
    assert figures == {"pending": 2, "claimable": 1, "delayed": 1, "processing": 1, "expired_leases": 1}
    assert (health["completed_last_hour"], health["failed_last_hour"]) == (1, 0)
    assert (health["live_workers"], health["idle_workers"]) == (1, 0)


async def test_an_empty_queue_is_healthy_too(db: Database) -> None:
    [health] = await db.service.sql("select * from public.workflow_queue_health")
    assert (health["pending"], health["oldest_claimable_seconds"], health["p95_seconds"]) == (0, None, None)


async def test_model_performance_is_taken_from_each_phase_of_finished_jobs(db: Database) -> None:
    figures = {"model": "mistral:7b", "total_time_ms": 1200.5, "input_tokens": 10, "output_tokens": 40}
    for number in range(2):
        await db.job(f"job-{number}")
        await db.claim()
        observed = {"model": "mistral:7b", "total_time_ms": 9, "phases": {"analyze": figures, "validate": {"ms": 1}}}
        await db.settle(1, "completed", job_id=f"job-{number}", observability=observed)
    [line] = await db.service.sql("select * from public.workflow_model_performance")
    assert (line["model"], line["phase"], line["calls"], line["output_tokens"]) == ("mistral:7b", "analyze", 2, 80)
    assert line["p50_total_ms"] == 1200.5


async def test_failures_are_counted_by_code_and_cause(db: Database) -> None:
    for number in range(3):
        await db.job(f"job-{number}", max_retries=0)
        await db.claim()
        await db.settle(1, "retry", job_id=f"job-{number}", error_details={"code": "MODEL_TIMEOUT", "phase": "analyze"})
    [line] = await db.service.sql("select * from public.workflow_failures_by_code")
    assert (line["code"], line["cause"], line["phase"]) == ("ATTEMPTS_EXHAUSTED", "MODEL_TIMEOUT", "analyze")
    assert (line["jobs"], line["last_job_id"]) == (3, "job-2")
