"""Claiming: the whole row, each job once, repeatable by its key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from devstack.postgres import Postgres
from tests.integration.sql_db import Database


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def test_a_claim_returns_the_whole_row_and_takes_the_job(db: Database) -> None:
    await db.job(config={"webhook": "https://example.org"})
    answer = await db.service.rpc("claim_workflow_jobs", worker="w1", lease_seconds=20)
    assert set(answer) == {"jobs", "alone", "paused", "next_due_in", "more"}
    assert answer["jobs"] == [await db.row()]
    job = answer["jobs"][0]
    assert (job["status"], job["attempt"], job["worker_id"], job["current_phase"]) == ("processing", 1, "w1", "analyze")
    assert job["config"] == {"webhook": "https://example.org"}
    assert job["started_at"] is not None
    assert not answer["more"]
    assert 19 < answer["next_due_in"] <= 20
    assert await db.events() == [("claimed", 1)]


async def test_a_claim_with_nothing_to_claim_says_so(db: Database) -> None:
    answer = await db.service.rpc("claim_workflow_jobs", worker="w1")
    assert answer == {"jobs": [], "alone": False, "paused": False, "next_due_in": None, "more": False}


async def test_a_claim_takes_no_more_than_asked_and_says_that_there_is_more(db: Database) -> None:
    for number in range(5):
        await db.job(f"job-{number}")
    answer = await db.service.rpc("claim_workflow_jobs", worker="w1", how_many=3)
    assert [job["id"] for job in answer["jobs"]] == ["job-0", "job-1", "job-2"]
    assert answer["more"]


@pytest.mark.parametrize("how_many", [0, -1])
async def test_a_claim_of_none_claims_none(db: Database, how_many: int) -> None:
    await db.job()
    assert await db.claim(how_many=how_many) == []


async def test_two_claims_at_once_never_take_the_same_job(db: Database) -> None:
    for number in range(40):
        await db.job(f"job-{number:02}")
    async with db.second_service() as other:
        calls = [caller.rpc("claim_workflow_jobs", worker="w", how_many=20) for caller in (db.service, other)]
        first, second = await asyncio.gather(*calls)
    taken = [job["id"] for answer in (first, second) for job in answer["jobs"]]
    assert sorted(taken) == [f"job-{number:02}" for number in range(40)]


async def test_a_row_locked_by_another_session_is_skipped_without_waiting(db: Database) -> None:
    await db.job("job-1")
    await db.job("job-2")
    async with db.owner.transaction():
        await db.owner.execute("select from public.workflow_generation_jobs where id = 'job-1' for update")
        assert [job["id"] for job in await db.claim(how_many=2)] == ["job-2"]


async def test_a_named_job_is_claimed_before_its_time(db: Database) -> None:
    await db.job("job-1")
    await db.owner.execute(
        "insert into workflow_generation_jobs (id, prompt, run_at) values ('job-2', 'p', now() + interval '1 hour')"
    )
    assert [job["id"] for job in await db.claim(how_many=5, job="job-2")] == ["job-2"]


@pytest.mark.parametrize("job", ["job-1", "no-such-job"])
async def test_a_named_job_that_is_not_pending_is_not_claimed(db: Database, job: str) -> None:
    await db.job()
    await db.claim("w1")
    assert await db.claim("w2", job=job) == []


async def test_a_repeated_claim_returns_the_same_jobs_and_takes_nothing_new(db: Database) -> None:
    await db.job("job-1")
    await db.job("job-2")
    first = await db.claim(claim_key="k1")
    assert await db.claim(claim_key="k1") == first
    assert [job["id"] for job in await db.claim(claim_key="k2")] == ["job-2"]


async def test_a_repeated_claim_leaves_out_what_is_settled_since(db: Database) -> None:
    await db.job("job-1")
    await db.job("job-2")
    await db.claim(claim_key="k1")
    await db.settle(1, "completed")
    assert await db.claim(claim_key="k1") == []


async def test_a_repeated_claim_leaves_out_what_somebody_else_holds_now(db: Database) -> None:
    await db.job()
    await db.claim("w1", claim_key="k1")
    await db.expire_lease()
    assert len(await db.claim("w2", claim_key="k1")) == 1
    assert await db.claim("w1", claim_key="k1") == []


async def test_a_delayed_first_claim_takes_nothing_after_its_repeat_was_answered(db: Database) -> None:
    assert await db.claim(claim_key="k1") == []
    await db.job()
    assert await db.claim(claim_key="k1") == []


async def test_the_same_claim_from_two_connections_at_once_takes_its_jobs_once(db: Database) -> None:
    for number in range(6):
        await db.job(f"job-{number}")
    async with db.second_service() as other:
        calls = [
            caller.rpc("claim_workflow_jobs", worker="w", how_many=2, claim_key="k") for caller in (db.service, other)
        ]
        first, second = await asyncio.gather(*calls)
    assert [job["id"] for job in first["jobs"]] == [job["id"] for job in second["jobs"]] == ["job-0", "job-1"]


async def test_the_workers_retry_limit_is_written_to_the_job(db: Database) -> None:
    await db.job()
    assert (await db.claim(max_retries=7))[0]["max_retries"] == 7
    await db.settle(1, "released")
    assert (await db.claim())[0]["max_retries"] == 7


async def suspect(db: Database, job_id: str) -> None:
    """A pending job whose worker did not outlive it."""
    await db.job(job_id)
    await db.claim("dead", job=job_id)
    await db.expire_lease(job_id)
    await db.service.rpc("reconcile_workflow_jobs")


async def claimed(db: Database, **params: object) -> tuple[list[str], bool]:
    """The ids that a claim for three takes, and whether the worker is to stay alone with what it has."""
    answer = await db.service.rpc("claim_workflow_jobs", worker="w1", how_many=3, **params)
    return [job["id"] for job in answer["jobs"]], answer["alone"]


async def test_a_job_that_its_worker_did_not_outlive_is_taken_alone(db: Database) -> None:
    await suspect(db, "job-1")
    await db.job("job-2")
    assert await claimed(db) == (["job-1"], True)
    assert await claimed(db) == (["job-2"], False)


async def test_what_comes_before_such_a_job_is_taken_without_it(db: Database) -> None:
    await suspect(db, "job-2")
    await db.job("job-1", priority=5)
    await db.job("job-3")
    assert await claimed(db) == (["job-1"], True)


async def test_a_busy_worker_gets_nothing_until_it_is_free_for_such_a_job(db: Database) -> None:
    await suspect(db, "job-1")
    await db.job("job-2")
    assert await claimed(db, running=["job-0"]) == ([], True)
    assert await claimed(db, running=[]) == (["job-1"], True)


async def test_a_worker_that_still_runs_such_a_job_has_outlived_it(db: Database) -> None:
    await suspect(db, "job-1")
    await db.job("job-2")
    assert await claimed(db, running=["job-1"]) == (["job-1", "job-2"], False)


async def test_a_repeated_claim_says_alone_again(db: Database) -> None:
    await suspect(db, "job-1")
    await db.job("job-2")
    assert await claimed(db, claim_key="k1") == await claimed(db, claim_key="k1") == (["job-1"], True)


async def test_a_job_that_failed_without_its_worker_is_under_no_suspicion_any_more(db: Database) -> None:
    await suspect(db, "job-1")
    await db.claim()
    await db.settle(2, "retry", error_details={"code": "OUTPUT_NOT_JSON"})
    await db.job("job-2")
    assert await claimed(db) == (["job-1", "job-2"], False)
