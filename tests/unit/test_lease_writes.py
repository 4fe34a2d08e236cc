"""The lease's writes: what is renewed when, what is repeated, what ends the attempt. The database is a script here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from loguru import logger

from consumer import faults
from consumer.errors import InternalError, JobCancelled, LeaseLost
from consumer.faults import FaultPoint
from consumer.job import Checkpoint, Job, Phase, Released
from consumer.lease import Lease
from devstack.keys import Keys
from tests.engine import until
from tests.faulty import FaultyTransport, faulty_store

RENEW = "renew_workflow_job"
CLAIMED_AT = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)
DONE = Checkpoint(input_hash="h", value={"a": 1})


class ScriptedDatabase(FaultyTransport):
    """Answers every renewal itself."""

    def __init__(self) -> None:
        super().__init__()
        self.reply: dict[str, Any] = {"held": True, "cancel_requested": False}

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=self.reply)

    @property
    def writes(self) -> list[dict[str, Any]]:
        """The renewals so far."""
        return self.of(RENEW)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{message}")
    yield lines
    logger.remove(sink)


@asynccontextmanager
async def leased(lease_seconds: int = 20, **columns: Any) -> AsyncIterator[tuple[Lease, ScriptedDatabase]]:
    database = ScriptedDatabase()
    store = await faulty_store(
        "http://127.0.0.1:1", Keys.fresh().secret, database, worker_id="w", lease_seconds=lease_seconds
    )
    row = {"id": "j", "attempt": 4, "prompt": "p", "created_at": CLAIMED_AT, "updated_at": CLAIMED_AT, **columns}
    try:
        async with Lease(store, Job.model_validate(row)) as lease:
            yield lease, database
    finally:
        await store.aclose()


async def test_a_checkpoint_is_written_at_once_with_all_that_waited() -> None:
    async with leased() as (lease, database):
        lease.enter(Phase.ANALYZE, 0, "Phase analyze begins")
        lease.advance(12, {"summary": "does it"})
        lease.checkpoint("analyze", DONE, 30, {"output_tokens": 5})
        await until("one write", lambda: database.answered(RENEW) == 1)
    (write,) = database.writes
    assert (write["p_job"], write["p_attempt"], write["p_write"], write["p_lease_seconds"]) == ("j", 4, 1, 20)
    assert (write["p_progress"], write["p_phase"]) == (30, "analyze")
    assert write["p_preview"] == {"summary": "does it"}
    assert write["p_checkpoint"] == {"analyze": DONE.model_dump(mode="json")}
    assert write["p_observability"] == {"output_tokens": 5}
    assert [line["message"] for line in write["p_logs"]] == ["Phase analyze begins"]


async def test_tokens_are_gathered_into_one_write() -> None:
    async with leased() as (lease, database):
        for percent in range(1, 80):
            lease.advance(percent)
        await until("a write", lambda: database.answered(RENEW) == 1)
        assert database.writes[0]["p_progress"] == 79
    assert len(database.writes) == 1


async def test_progress_never_goes_back() -> None:
    async with leased() as (lease, database):
        lease.enter(Phase.GENERATE, 30, "begins")
        lease.advance(80)
        lease.advance(40)
        lease.enter(Phase.VALIDATE, 60, "begins")
        lease.checkpoint("generate", DONE, 50, {})
        await until("a write", lambda: database.writes)
    assert lease.progress == 80
    assert database.writes[0]["p_progress"] == 80


async def test_nothing_is_sent_twice_but_an_unanswered_write() -> None:
    async with leased() as (lease, database):
        database.lose_reply(RENEW)
        lease.log("first")
        await lease.flush()
        lease.log("second")
        await lease.flush()
        await lease.flush()
    first, again, then = database.writes
    assert first == again
    assert [write["p_write"] for write in database.writes] == [1, 1, 2]
    assert [line["message"] for line in then["p_logs"]] == ["second"]


async def test_what_the_database_refuses_is_not_repeated_for_ever() -> None:
    async with leased() as (lease, database):
        database.answer(RENEW, httpx.Response(400, json={"code": "22P05", "message": "cannot store this"}))
        lease.log("\x00")
        await lease.flush()
        lease.log("fine")
        await lease.flush()
        assert lease.verdict is None
    assert [write["p_write"] for write in database.writes] == [1, 2]


async def test_a_flush_during_a_write_sends_what_came_after_it() -> None:
    async with leased() as (lease, database):
        gate = database.hold_reply(RENEW)
        lease.checkpoint("generate", DONE, 90, {})
        await gate.reached.wait()
        lease.checkpoint("generate", None, 90, {})
        flushing = asyncio.create_task(lease.flush())
        await asyncio.sleep(0)
        gate.open.set()
        await flushing
        assert database.writes[-1]["p_checkpoint"] == {"generate": None}


async def test_the_answer_to_one_write_does_not_count_for_the_next() -> None:
    async with leased() as (lease, database):
        gate = database.hold_reply(RENEW)
        lease.checkpoint("analyze", DONE, 30, {})
        await gate.reached.wait()
        await asyncio.wait({first := asyncio.create_task(lease.flush())}, timeout=0.2)
        database.refuse(RENEW)
        lease.log("must arrive")
        await asyncio.wait({second := asyncio.create_task(lease.flush())}, timeout=0.2)
        gate.open.set()
        await asyncio.gather(first, second)
        await asyncio.sleep(0)
        await lease.flush()
        sent = [write for write in database.writes if "must arrive" in json.dumps(write.get("p_logs"))]
        assert len(sent) == 2


async def test_a_lost_lease_ends_the_work_with_its_reason() -> None:
    async with leased() as (lease, database):
        work = asyncio.ensure_future(asyncio.Event().wait())
        lease.guard(work)
        database.reply = {"held": False, "cancel_requested": False}
        lease.look()
        await asyncio.wait({work})
        assert work.cancelled()
        assert isinstance(lease.verdict, LeaseLost)
        lease.end(Released(0, "too late"))
        assert isinstance(lease.verdict, LeaseLost)


async def test_a_wish_to_cancel_ends_the_work() -> None:
    async with leased() as (lease, database):
        work = asyncio.ensure_future(asyncio.Event().wait())
        lease.guard(work)
        database.reply = {"held": True, "cancel_requested": True}
        lease.look()
        await asyncio.wait({work})
        assert isinstance(lease.verdict, JobCancelled)


async def test_work_that_begins_after_the_verdict_is_stopped_as_well() -> None:
    async with leased() as (lease, _):
        lease.end(Released(0, "the worker stops"))
        work = asyncio.ensure_future(asyncio.Event().wait())
        lease.guard(work)
        await asyncio.wait({work})
        assert work.cancelled()


async def test_a_look_that_fails_is_repeated() -> None:
    async with leased() as (lease, database):
        database.refuse(RENEW)
        database.reply = {"held": True, "cancel_requested": True}
        lease.look()
        await until("the cancel was seen", lambda: lease.verdict)
    assert len(database.writes) == 2


async def test_a_lease_without_progress_is_not_renewed_until_there_is_some(said: list[str]) -> None:
    async with leased(lease_seconds=1) as (lease, database):
        await until("it runs out", lambda: any("not renewed" in line for line in said))
        assert len(database.writes) == 1
        lease.advance(0)
        await until("a token renews it", lambda: database.answered(RENEW) == 2)
        assert "p_progress" not in database.writes[1]


async def test_an_allowed_silence_is_renewed_all_the_same(said: list[str]) -> None:
    async with leased(lease_seconds=1) as (lease, database):
        lease.allow(60)
        await until("renewed without progress", lambda: database.answered(RENEW) >= 3)
    assert not any("not renewed" in line for line in said)


async def test_log_lines_carry_the_databases_clock() -> None:
    async with leased() as (lease, _):
        lease.log("now")
        (line,) = lease.take_logs()
    assert timedelta(0) <= datetime.fromisoformat(line["timestamp"]) - CLAIMED_AT < timedelta(minutes=1)
    assert lease.take_logs() == []


async def test_without_a_database_time_the_database_puts_its_own() -> None:
    async with leased(updated_at=None) as (lease, _):
        lease.log("now")
        assert lease.take_logs()[0]["timestamp"] is None


async def test_only_the_newest_hundred_lines_wait() -> None:
    async with leased() as (lease, _):
        for number in range(150):
            lease.log(str(number))
        assert [line["message"] for line in lease.take_logs()] == [str(number) for number in range(50, 150)]


async def test_an_attempt_whose_lease_has_lost_its_keeper_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(point: FaultPoint, _: Job | None) -> None:
        raise RuntimeError(f"on purpose, at {point}")

    monkeypatch.setattr(faults, "hook", defect)
    async with leased() as (lease, _):
        work = asyncio.ensure_future(asyncio.Event().wait())
        lease.guard(work)
        lease.checkpoint("analyze", DONE, 30, {})
        await asyncio.wait({work})
        assert work.cancelled()
        assert isinstance(lease.verdict, InternalError)


async def test_the_keeper_ends_with_the_lease() -> None:
    before = asyncio.all_tasks()
    async with leased() as (lease, _):
        assert asyncio.all_tasks() > before
        lease.log("never sent")
    assert asyncio.all_tasks() == before


async def test_an_attempt_ends_even_when_its_last_word_comes_in_the_same_moment() -> None:
    async with asyncio.timeout(5), leased() as (lease, _):
        await until("the keeper waits", lambda: lease._keeper is not None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        lease.log("The last word")
