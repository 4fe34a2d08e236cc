"""Settling: one ending per attempt, by its holder only; retries, releases and cancels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from devstack.postgres import Postgres
from tests.integration.sql_db import Database

TIMEOUT = {"code": "MODEL_TIMEOUT", "clock": "total", "phase": "analyze"}


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def test_a_completed_job_holds_its_result_and_no_error(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.renew(1, 1, checkpoint={"analyze": {}}, preview={"nodes": ["Webhook"]})
    assert await db.settle(1, "completed", logs=[{"message": "Done"}], observability={"output_tokens": 5})
    row = await db.row()
    assert (row["status"], row["progress_percentage"], row["workflow_result"]["name"]) == (
        "completed",
        100,
        "Daily mail",
    )
    assert row["finished_at"] is not None
    assert row["duration_ms"] >= 0
    assert {row[name] for name in ("lease_expires_at", "error_message", "claim_key")} == {None}
    assert row["checkpoint"] == {"analyze": {}}, "what a replay starts from"
    assert row["error_details"] is None
    assert row["progress_logs"][-1]["message"] == "Done"
    assert row["observability"] == {"output_tokens": 5}


@pytest.mark.parametrize("outcome", ["completed", "failed", "retry", "released", "cancelled"])
async def test_a_settle_brings_the_answers_that_no_renewal_has_written(db: Database, outcome: str) -> None:
    await db.job()
    await db.claim()
    await db.renew(1, 1, checkpoint={"analyze": {"value": 1}})
    assert await db.settle(1, outcome, checkpoint={"generate": {"value": 2}})
    assert (await db.row())["checkpoint"] == {"analyze": {"value": 1}, "generate": {"value": 2}}
    assert not (await db.renew(1, 2, checkpoint={"generate": {"value": 3}}))["held"]
    assert await db.settle(1, outcome, checkpoint={"generate": {"value": 4}}), "a repeat"
    assert not await db.settle(9, outcome, checkpoint={"generate": {"value": 5}}), "another attempt"
    assert (await db.row())["checkpoint"] == {"analyze": {"value": 1}, "generate": {"value": 2}}


async def test_a_settle_drops_the_answers_that_are_void(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.renew(1, 1, checkpoint={"analyze": {"value": 1}, "generate": {"value": 2}})
    assert await db.settle(1, "failed", checkpoint={"generate": None})
    assert (await db.row())["checkpoint"] == {"analyze": {"value": 1}}


async def test_completed_without_a_workflow_is_refused(db: Database) -> None:
    await db.job()
    await db.claim()
    with pytest.raises(asyncpg.CheckViolationError, match="completed_has_result"):
        await db.service.rpc("settle_workflow_job", job="job-1", attempt=1, outcome="completed")
    assert (await db.row())["status"] == "processing"


@pytest.mark.parametrize("outcome", ["completed", "failed", "retry", "released", "cancelled"])
async def test_repeating_a_settle_says_true_and_changes_nothing(db: Database, outcome: str) -> None:
    await db.job()
    await db.claim()
    params: dict[str, Any] = {"error_message": "It failed.", "error_details": TIMEOUT, "logs": [{"message": "end"}]}
    assert await db.settle(1, outcome, **params)
    before = await db.row()
    assert await db.settle(1, outcome, **params)
    assert await db.row() == before
    assert len(await db.events()) == 2


@pytest.mark.parametrize("outcome", ["completed", "failed", "retry", "released", "cancelled"])
async def test_a_late_settle_is_a_no_op(db: Database, outcome: str) -> None:
    await db.job()
    await db.claim("w1")
    await db.expire_lease()
    await db.claim("w2")
    before = await db.row()
    assert not await db.settle(1, outcome)
    assert await db.row() == before


async def test_a_settle_after_another_ending_of_the_same_attempt_is_false(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.settle(1, "failed")
    assert not await db.settle(1, "completed")
    assert (await db.row())["status"] == "failed"


@pytest.mark.parametrize(("job", "outcome"), [("no-such-job", "failed"), ("job-1", "exploded"), ("job-1", None)])
async def test_a_settle_of_something_unknown_is_false(db: Database, job: str, outcome: str | None) -> None:
    await db.job()
    await db.claim()
    assert not await db.service.rpc("settle_workflow_job", job=job, attempt=1, outcome=outcome)
    assert (await db.row())["status"] == "processing"


async def test_a_retry_waits_its_delay_and_burns_one_retry(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.renew(1, 1, checkpoint={"analyze": {}}, phase="workflow_generation")
    await db.settle(1, "retry", error_message="The model took too long.", error_details=TIMEOUT, retry_in=2.0)
    row = await db.row()
    assert (row["status"], row["retry_count"], row["finished_at"]) == ("pending", 1, None)
    assert row["error_message"] == "The model took too long."
    answer = await db.service.rpc("claim_workflow_jobs", worker="w1")
    assert answer["jobs"] == []
    assert 1 < answer["next_due_in"] <= 2
    await db.make_due()
    job = (await db.claim())[0]
    assert (job["attempt"], job["error_message"], job["progress_percentage"]) == (2, None, 0)
    assert (job["checkpoint"], job["current_phase"]) == ({"analyze": {}}, "workflow_generation")


async def test_spent_retries_end_in_failure_with_the_cause_and_the_history(db: Database) -> None:
    await db.job(max_retries=2)
    for attempt in (1, 2, 3):
        await db.claim()
        await db.settle(attempt, "retry", error_message=f"Try {attempt} failed.", error_details=TIMEOUT)
    row = await db.row()
    assert (row["status"], row["retry_count"], row["error_message"]) == ("failed", 2, "Try 3 failed.")
    details = row["error_details"]
    assert (details["code"], details["cause"], details["clock"]) == ("ATTEMPTS_EXHAUSTED", "MODEL_TIMEOUT", "total")
    assert details["attempt"] == 3
    assert [(past["attempt"], past["code"], past["message"]) for past in details["history"]] == [
        (1, "MODEL_TIMEOUT", "Try 1 failed."), (2, "MODEL_TIMEOUT", "Try 2 failed."),
    ]  # fmt: skip
    kinds = [kind for kind, _ in await db.events()]
    assert kinds == ["claimed", "retry", "claimed", "retry", "claimed", "failed"]


async def test_the_history_keeps_the_newest_twenty(db: Database) -> None:
    await db.job(max_retries=30)
    for attempt in range(1, 26):
        await db.claim()
        await db.settle(attempt, "retry", error_details=TIMEOUT)
    history = (await db.row())["error_details"]["history"]
    assert [past["attempt"] for past in history] == list(range(6, 26))


async def test_a_release_burns_nothing_and_keeps_the_checkpoint(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.renew(1, 1, checkpoint={"analyze": {}})
    await db.settle(1, "released")
    row = await db.row()
    assert (row["status"], row["retry_count"], row["error_message"]) == ("pending", 0, None)
    job = (await db.claim("w2"))[0]
    assert (job["attempt"], job["checkpoint"]) == (2, {"analyze": {}})


async def test_a_release_does_not_forget_what_failed_before(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.settle(1, "retry", error_message="Once.", error_details=TIMEOUT)
    await db.claim()
    await db.settle(2, "released")
    await db.claim()
    await db.settle(3, "failed", error_message="Twice.", error_details={"code": "INTERNAL"})
    details = (await db.row())["error_details"]
    assert details["code"] == "INTERNAL"
    assert [past["message"] for past in details["history"]] == ["Once."]


@pytest.mark.parametrize("outcome", ["completed", "retry", "released", "cancelled"])
async def test_a_wanted_cancel_wins_over_the_outcome(db: Database, outcome: str) -> None:
    await db.job()
    await db.claim()
    await db.service.rpc("cancel_workflow_job", job="job-1")
    assert await db.renew(1, 1) == {"held": True, "cancel_requested": True}
    assert await db.settle(1, outcome)
    row = await db.row()
    assert (row["status"], row["workflow_result"], row["error_details"]["code"]) == ("cancelled", None, "CANCELLED")
    assert await db.settle(1, outcome)
    assert await db.claim() == []


async def test_the_database_itself_refuses_a_second_ending_of_an_attempt(db: Database) -> None:
    await db.job()
    await db.claim()
    await db.settle(1, "failed")
    with pytest.raises(asyncpg.UniqueViolationError, match="one_ending"):
        await db.owner.execute(
            "insert into public.workflow_job_events (job_id, attempt, kind) values ('job-1', 1, 'completed')"
        )


async def test_no_event_holds_a_prompt_a_config_or_a_result(db: Database) -> None:
    secret = "s3cr3t-value"
    await db.job(prompt=secret, config={"key": secret})
    await db.claim()
    await db.renew(1, 1, logs=[{"message": secret}], preview={"n": secret}, checkpoint={"n": secret})
    await db.settle(1, "retry", error_message=secret, error_details={"code": "INTERNAL", "text": secret})
    await db.claim()
    await db.settle(2, "completed", result={"name": secret})
    events = await db.owner.fetchval("select jsonb_agg(e)::text from public.workflow_job_events e")
    assert secret not in str(events)
