"""Each database call of a run fails once, in each way that a network knows: nothing is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx
import pytest

from consumer.heartbeat import Heartbeat, Rhythm
from consumer.listener import Listener
from consumer.reconciler import Reconciler
from tests.engine import ANALYZE, GENERATE, Engine, engine, until
from tests.faulty import Fault, instead, never_sent, refused, reply_lost
from tests.stacks import ThreadedStack

FUNCTIONS = (
    "reconcile_workflow_jobs", "heartbeat_workflow_worker", "claim_workflow_jobs", "renew_workflow_job",
    "settle_workflow_job",
)  # fmt: skip
FAULTS: dict[str, Fault] = {
    "refused": refused,
    "timeout before it was sent": never_sent,
    "reply lost after the commit": reply_lost,
    "500": instead(httpx.Response(500, json={"message": "An unexpected error occurred"})),
    "503": instead(httpx.Response(503, text="upstream connect error")),
    "html with 200": instead(httpx.Response(200, html="<html><body>Under maintenance</body></html>")),
    "redirect": instead(httpx.Response(302, headers={"location": "https://login.example.com/"})),
}


@asynccontextmanager
async def services(parts: Engine) -> AsyncIterator[None]:
    """The worker's other callers of the database, as the app runs them; there is no feed."""
    reconciler = Reconciler(parts.store, parts.dispatcher, parts.bell)
    deaf = Listener(
        realtime_url="ws://127.0.0.1:1", key="k", worker_id=parts.store.worker_id, on_ring=parts.bell.ring,
        on_ready=reconciler.gap, on_canary=lambda _: None, on_poke=lambda: None,
    )  # fmt: skip
    heartbeat = Heartbeat(parts.store, deaf, parts.dispatcher, parts.bell, Rhythm(interval=0.1), dict)
    tasks = [asyncio.create_task(service.run()) for service in (reconciler, heartbeat)]
    try:
        yield
        await until("a reconcile and a beat were answered", lambda: reconciler.reconciles and heartbeat.healthy)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def one_run(parts: Engine) -> dict[str, Any]:
    """One job from submission to its end, through all five functions; returns its row."""
    renewals = len(parts.net.of("renew_workflow_job"))
    parts.model.hold, parts.model.holds = asyncio.Event(), GENERATE
    job_id = await parts.submit()
    async with services(parts):
        await until("progress was to be written", lambda: len(parts.net.of("renew_workflow_job")) > renewals)
        parts.model.hold.set()
        row = await parts.ended(job_id)
        await until("the freed slot has been offered", lambda: parts.dispatcher.idle)
    return row


async def nothing_lost_and_nothing_twice(parts: Engine, row: dict[str, Any], asked: int) -> None:
    """`asked` is how many questions the model had had before this run."""
    assert (row["status"], row["attempt"], row["retry_count"]) == ("completed", 1, 0)
    assert await parts.events(row["id"]) == ["claimed", "completed"]
    assert [question["model"] for question in parts.model.asked[asked:]] == [ANALYZE, GENERATE]
    lines = [line["message"] for line in row["progress_logs"]]
    assert len(lines) == len(set(lines)), lines
    assert lines[-1] == "Workflow completed"
    assert row["error_details"] is None


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("function", FUNCTIONS)
async def test_every_call_of_a_run_may_fail_once_and_the_job_is_done_once(
    stack: ThreadedStack, function: str, kind: str
) -> None:
    async with engine(stack) as parts:
        for nth in count(1):
            asked = len(parts.model.asked)
            parts.net.strike(function, nth, FAULTS[kind])
            row = await one_run(parts)
            await nothing_lost_and_nothing_twice(parts, row, asked)
            if parts.net.spared(function):
                break
    assert nth > 1, "no run met the fault"
