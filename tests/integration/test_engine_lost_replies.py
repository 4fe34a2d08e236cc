"""A reply that is lost after the commit: the call is repeated, and nothing counts twice (design rule 16)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest

from consumer.counters import PREFIX, Counters
from consumer.errors import StoreUnavailable
from tests.engine import engine, until
from tests.stacks import ThreadedStack

CLAIM, RENEW, SETTLE = "claim_workflow_jobs", "renew_workflow_job", "settle_workflow_job"


async def test_a_lost_claim_reply_is_repeated_under_the_same_key(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        parts.net.lose_reply(CLAIM)
        row = await parts.finished()
        assert (row["attempt"], row["retry_count"]) == (1, 0)
        assert await parts.events(row["id"]) == ["claimed", "completed"]
    first, again, *later = [call["p_claim_key"] for call in parts.net.of(CLAIM)]
    assert first == again
    assert first not in later


async def test_a_lost_renewal_reply_is_repeated_with_the_same_number_and_counts_once(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        parts.net.lose_reply(RENEW)
        parts.model.hold = asyncio.Event()
        job_id = await parts.submit()
        parts.ring()
        await until("the lost write was repeated", lambda: parts.net.answered(RENEW) >= 1)
        parts.model.hold.set()
        row = await parts.ended(job_id)
    numbers = [call["p_write"] for call in parts.net.of(RENEW)]
    messages = [line["message"] for line in row["progress_logs"]]
    assert numbers[:2] == [1, 1]
    assert parts.net.of(RENEW)[0] == parts.net.of(RENEW)[1]
    assert numbers == sorted(numbers)
    assert len(messages) == len(set(messages)), messages


async def test_a_lost_settle_reply_is_repeated_and_the_job_ends_once(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        parts.net.lose_reply(SETTLE)
        job_id = await parts.submit()
        parts.ring()
        await until("the settle was repeated", lambda: parts.net.answered(SETTLE) == 1)
        row = await parts.ended(job_id)
        assert parts.lines("job completed")
        assert not parts.lines("job refused")
        assert await parts.events(job_id) == ["claimed", "completed"]
    assert [line["message"] for line in row["progress_logs"]].count("Workflow completed") == 1


async def test_a_renewal_that_meets_the_attempts_own_end_is_no_lost_lease(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        counters = Counters()
        parts.runner._bench = replace(parts.bench, observer=counters)
        gate = parts.net.hold_reply(SETTLE)
        job_id = await parts.submit()
        parts.ring()
        await gate.reached.wait()
        renewals = parts.net.answered(RENEW)
        parts.runner.look()
        await until("the renewal was answered", lambda: parts.net.answered(RENEW) > renewals)
        gate.open.set()
        await parts.ended(job_id)
        assert counters.registry.get_sample_value(f"{PREFIX}_lease_losses_total") == 0


async def test_an_outcome_is_kept_while_the_database_is_away(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        parts.net.refuse(SETTLE, times=2)
        row = await parts.finished()
        assert row["attempt"] == 1
        assert len(parts.lines("the outcome could not be written")) == 2


REFUSAL = {"code": "22P05", "message": "unsupported Unicode escape sequence", "details": None, "hint": None}


async def test_answers_that_the_database_refuses_cost_the_replay_and_not_the_workflow(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        renewal = parts.net.hold_request(RENEW)
        parts.net.answer(SETTLE, httpx.Response(400, json=REFUSAL))
        row = await parts.finished()
        renewal.open.set()
    assert [sorted(call.get("p_checkpoint", ())) for call in parts.net.of(SETTLE)] == [["analyze", "generate"], []]
    assert row["checkpoint"] is None


async def test_an_outcome_that_the_database_refuses_becomes_an_honest_failure(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        renewal = parts.net.hold_request(RENEW)
        for _ in range(2):  # with the answers, and without them
            parts.net.answer(SETTLE, httpx.Response(400, json=REFUSAL))
        job_id = await parts.submit()
        parts.ring()
        row = await parts.ended(job_id, "failed")
        renewal.open.set()
    assert row["error_details"]["code"] == "INTERNAL"
    assert "Unicode" not in row["error_message"]


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(401, json={"code": "PGRST303", "message": "JWT expired"}),
        httpx.Response(403, html="<html>Forbidden</html>"),
        httpx.Response(404, json={"message": "no Route matched with those values"}),
        httpx.Response(404, json={"code": "PGRST202", "message": "Could not find the function"}),
    ],
    ids=["jwt expired", "403", "no route", "schema cache"],
)
async def test_a_refusal_that_is_not_about_the_data_keeps_the_finished_workflow(
    stack: ThreadedStack, response: httpx.Response
) -> None:
    async with engine(stack) as parts:
        parts.net.answer(SETTLE, response)
        job_id = await parts.submit()
        parts.ring()
        await parts.ended(job_id, "completed")


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, json=None),
        httpx.Response(504, html="<html>gateway timeout</html>"),
        httpx.Response(429, text="slow down"),
        httpx.Response(500, json={"code": "57014", "message": "canceling statement due to statement timeout"}),
    ],
    ids=["null", "504", "429", "statement timeout"],
)
async def test_whatever_else_a_proxy_answers_is_an_outage_to_be_repeated(
    stack: ThreadedStack, response: httpx.Response
) -> None:
    async with engine(stack) as parts:
        for function in (CLAIM, RENEW, SETTLE):
            parts.net.answer(function, response)
        job_id = await parts.submit()
        parts.ring()
        await until("it is over", lambda: parts.lines("job completed") or parts.lines("job failed"))
        row = await parts.row(job_id)
    assert (row["status"], row["attempt"], row["retry_count"]) == ("completed", 1, 0)


async def test_a_request_that_never_arrives_is_an_outage(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        parts.net.refuse("heartbeat_workflow_worker")
        with pytest.raises(StoreUnavailable, match="heartbeat_workflow_worker: ConnectError"):
            await parts.store.heartbeat({})


async def test_a_renewal_that_gets_no_answer_leaves_time_for_another_within_the_lease(stack: ThreadedStack) -> None:
    async with engine(stack, lease_seconds=3) as parts:
        parts.net.hold_request(RENEW)
        parts.model.hold = asyncio.Event()
        job_id = await parts.submit()
        parts.ring()
        await until("a second one is answered", lambda: parts.net.answered(RENEW) > 0)
        assert [call["p_write"] for call in parts.net.of(RENEW)[:2]] == [1, 1]
        parts.model.hold.set()
        assert (await parts.ended(job_id))["attempt"] == 1


async def test_a_finished_job_keeps_its_lease_while_it_cannot_be_written(stack: ThreadedStack) -> None:
    async with engine(stack, lease_seconds=1) as parts:
        gate = parts.net.hold_request(SETTLE)
        job_id = await parts.submit()
        parts.ring()
        await gate.reached.wait()
        renewed = len(parts.net.of(RENEW))
        await until("renewed well beyond one lease", lambda: len(parts.net.of(RENEW)) > renewed + 5)
        gate.open.set()
        assert (await parts.ended(job_id))["attempt"] == 1


async def test_an_outcome_that_a_stop_cannot_wait_for_is_left_to_the_lease_and_said_to_be(stack: ThreadedStack) -> None:
    async with engine(stack) as parts:
        parts.net.refuse(SETTLE, times=1000)
        job_id = await parts.submit()
        parts.ring()
        await until("it is kept", lambda: parts.lines("the outcome could not be written"))
        parts.dispatcher.stop()
        await parts.dispatcher.work.abandon()
        assert parts.runner.running == []
        assert [line["job"] for line in parts.lines("its lease will bring the job back")] == [job_id]
        assert (await parts.row(job_id))["status"] == "processing"
