"""Submit, cancel, retry and prune: for owners and the service; somebody else's job is "not found"."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from devstack.postgres import ADMIN, Postgres
from tests.integration.sql_db import Caller, Database

NOT_FOUND = {"found": False, "accepted": False, "status": None}


def answer(accepted: bool, status: str) -> dict[str, object]:
    return {"found": True, "accepted": accepted, "status": status}


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def submitted(caller: Caller, **params: object) -> str:
    job_id: str = (await caller.rpc("submit_workflow_job", prompt="Mail me", **params))["job_id"]
    return job_id


async def test_a_submitted_job_is_the_callers_own_whatever_it_says(db: Database) -> None:
    user = await db.user()
    other = await db.user()
    claims = {"user_id": other.user_id, "priority": 50, "traceparent": TRACEPARENT}
    told = await user.rpc("submit_workflow_job", prompt="Mail me", **claims)
    assert (told["status"], told["created"]) == ("pending", True)
    row = await db.row(told["job_id"])
    assert (row["user_id"], row["priority"], row["traceparent"]) == (user.user_id, 0, None)
    assert (row["config"], row["execution_history"]) == ({}, [])


async def test_the_service_submits_for_a_user_with_priority_and_a_trace(db: Database) -> None:
    user = await db.user()
    row = await db.row(await submitted(db.service, user_id=user.user_id, priority=50, traceparent=TRACEPARENT))
    assert (row["user_id"], row["priority"], row["traceparent"]) == (user.user_id, 50, TRACEPARENT)


async def test_a_job_for_a_user_that_does_not_exist_is_refused(db: Database) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await submitted(db.service, user_id=str(uuid.uuid4()))


@pytest.mark.parametrize("params", [{"idempotency_key": "k"}, {"id": "chosen-1"}])
async def test_a_repeated_submit_gives_the_same_job(db: Database, params: dict[str, object]) -> None:
    user = await db.user()
    first = await user.rpc("submit_workflow_job", prompt="Mail me", **params)
    again = await user.rpc("submit_workflow_job", prompt="Mail me", **params)
    assert (first["created"], again["created"]) == (True, False)
    assert first["job_id"] == again["job_id"]


@pytest.mark.parametrize("as_service", [False, True])
async def test_the_same_submit_from_two_connections_at_once_makes_one_job(db: Database, as_service: bool) -> None:
    user = await db.user()
    async with db.second_service() as second:
        other = second if as_service else Caller(second.connection, "authenticated", user.user_id)
        calls = [submitted(caller, idempotency_key="k") for caller in (db.service if as_service else user, other)]
        first, again = await asyncio.gather(*calls)
    assert first == again
    assert await db.owner.fetchval("select count(*) from public.workflow_generation_jobs") == 1


async def test_two_users_may_use_the_same_key(db: Database) -> None:
    alice, bob = await db.user(), await db.user()
    assert await submitted(alice, idempotency_key="k") != await submitted(bob, idempotency_key="k")


async def test_somebody_elses_id_is_taken_and_nothing_of_that_job_is_told(db: Database) -> None:
    alice, bob = await db.user(), await db.user()
    await submitted(alice, id="chosen-1")
    with pytest.raises(asyncpg.UniqueViolationError, match="id is taken") as refused:
        await submitted(bob, id="chosen-1")
    assert refused.value.detail is None


async def test_a_pending_job_is_cancelled_at_once(db: Database) -> None:
    user = await db.user()
    job = await submitted(user)
    assert await user.rpc("cancel_workflow_job", job=job) == answer(True, "cancelled")
    row = await db.row(job)
    assert (row["status"], row["error_details"]["code"]) == ("cancelled", "CANCELLED")
    assert (row["started_at"], row["duration_ms"]) == (None, None)
    assert await db.claim() == []
    assert await user.rpc("cancel_workflow_job", job=job) == answer(True, "cancelled")
    assert await db.events(job) == [("cancelled", None)]


async def test_a_job_that_waits_for_its_next_try_can_be_cancelled(db: Database) -> None:
    user = await db.user()
    job = await submitted(user)
    await db.claim()
    await db.settle(1, "retry", job_id=job, retry_in=60, error_details={"code": "MODEL_TIMEOUT"})
    assert await user.rpc("cancel_workflow_job", job=job) == answer(True, "cancelled")
    assert (await db.row(job))["duration_ms"] >= 0
    assert [kind for kind, _ in await db.events(job)] == ["claimed", "retry", "cancelled"]


async def test_the_worker_of_a_running_job_is_asked_to_stop(db: Database) -> None:
    user = await db.user()
    job = await submitted(user)
    for worker in ("w1", "w2"):
        await db.service.rpc("heartbeat_workflow_worker", worker=worker)
    await db.claim("w1")
    for _ in range(2):
        assert await user.rpc("cancel_workflow_job", job=job) == answer(True, "processing")
    poked = await db.owner.fetch("select worker_id from public.workflow_workers where poked_at is not null")
    assert [row["worker_id"] for row in poked] == ["w1"]
    assert await db.events(job) == [("claimed", 1), ("cancel_requested", 1)]


@pytest.mark.parametrize("outcome", ["completed", "failed"])
async def test_a_finished_job_cannot_be_cancelled(db: Database, outcome: str) -> None:
    await db.job()
    await db.claim()
    await db.settle(1, outcome)
    assert await db.service.rpc("cancel_workflow_job", job="job-1") == answer(False, outcome)


async def test_a_failed_job_starts_a_new_round(db: Database) -> None:
    user = await db.user()
    job = await submitted(user)
    await db.claim(max_retries=1)
    await db.settle(1, "retry", job_id=job)
    await db.claim()
    await db.settle(2, "retry", job_id=job, error_message="It failed.")
    assert await user.rpc("retry_workflow_job", job=job) == answer(True, "pending")
    row = await db.row(job)
    assert (row["status"], row["retry_count"], row["attempt"], row["progress_percentage"]) == ("pending", 0, 2, 0)
    empty = ("error_message", "error_details", "finished_at", "duration_ms", "started_at", "cancel_requested_at")
    assert [row[name] for name in empty] == [None] * len(empty)
    assert (await db.claim())[0]["attempt"] == 3
    assert await db.settle(3, "completed", job_id=job)


async def test_a_cancelled_job_starts_a_new_round(db: Database) -> None:
    await db.job()
    await db.service.rpc("cancel_workflow_job", job="job-1")
    assert await db.service.rpc("retry_workflow_job", job="job-1") == answer(True, "pending")
    assert len(await db.claim()) == 1


async def test_repeating_a_retry_is_accepted_and_starts_one_round(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.settle(1, "failed")
    for _ in range(2):
        assert await db.service.rpc("retry_workflow_job", job="job-1") == answer(True, "pending")
    assert [kind for kind, _ in await db.events()] == ["claimed", "failed", "retried"]


async def test_a_job_that_did_not_fail_is_not_started_again(db: Database) -> None:
    await db.job()
    assert await db.service.rpc("retry_workflow_job", job="job-1") == answer(False, "pending")
    await db.claim()
    assert await db.service.rpc("retry_workflow_job", job="job-1") == answer(False, "processing")
    await db.settle(1, "completed")
    assert await db.service.rpc("retry_workflow_job", job="job-1") == answer(False, "completed")


@pytest.mark.parametrize("function", ["cancel_workflow_job", "retry_workflow_job"])
async def test_somebody_elses_job_is_not_found(db: Database, function: str) -> None:
    alice, bob = await db.user(), await db.user()
    job = await submitted(alice)
    await db.job("nobodys")
    for job_id in (job, "nobodys", "no-such-job"):
        assert await bob.rpc(function, job=job_id) == NOT_FOUND
    assert (await db.row(job))["status"] == "pending"


async def test_a_custom_role_that_inherits_a_users_rights_is_no_operator(db: Database) -> None:
    db.cluster.psql("create role stranger in role authenticated; grant stranger to authenticator", user=ADMIN)
    await db.job()
    assert await Caller(db.service.connection, "stranger").rpc("cancel_workflow_job", job="job-1") == NOT_FOUND


async def finished(db: Database, job_id: str, days_ago: int) -> None:
    await db.job(job_id)
    await db.service.rpc("cancel_workflow_job", job=job_id)
    await db.owner.execute(
        "update public.workflow_generation_jobs set finished_at = now() - make_interval(days => $2) where id = $1",
        job_id, days_ago,
    )  # fmt: skip


async def test_pruning_deletes_old_finished_jobs_and_their_history_only(db: Database) -> None:
    for job_id, days_ago in [("old", 8), ("new", 6)]:
        await finished(db, job_id, days_ago)
    await db.job("waiting")
    await db.owner.execute("update public.workflow_generation_jobs set created_at = now() - interval '1 year'")
    assert await db.service.rpc("prune_workflow_jobs") == 1
    left = await db.owner.fetch("select id from public.workflow_generation_jobs order by id")
    assert [row["id"] for row in left] == ["new", "waiting"]
    assert await db.events("old") == []


async def test_pruning_stops_at_its_limit_with_the_oldest_first(db: Database) -> None:
    for days_ago in (9, 11, 10):
        await finished(db, f"job-{days_ago}", days_ago)
    assert await db.service.rpc("prune_workflow_jobs", limit=2) == 2
    assert await db.row("job-9") is not None
    assert await db.service.rpc("cleanup_old_jobs") == 1


async def test_pruning_forgets_workers_that_were_not_seen_for_long(db: Database) -> None:
    for worker in ("gone", "here"):
        await db.service.rpc("heartbeat_workflow_worker", worker=worker)
    await db.owner.execute(
        "update public.workflow_workers set last_seen_at = now() - interval '8 days' where worker_id = 'gone'"
    )
    await db.service.rpc("prune_workflow_jobs")
    assert [row["worker_id"] for row in await db.owner.fetch("select worker_id from public.workflow_workers")] == [
        "here"
    ]
