"""The page's one source: shared by all who look, silent when nobody does, and in no hurry for the slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumer.database import Database
from consumer.errors import StoreRefused, StoreUnavailable
from consumer.job import JsonObject
from consumer.page_feed import LOOK, MOST_VIEWERS, STREAM, TRENDS, Feed
from consumer.status import Status
from tests.virtual_time import VirtualLoop

NOW = "2026-01-01T00:00:00+00:00"


class Queue:
    """A database that counts what it is asked; `waiting` is what it tells, `wrong` what it raises."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, JsonObject]] = []
        self.waiting: list[int] = []
        self.wrong: Exception | None = None
        self.takes = 0.0
        self.answer: JsonObject | None = None

    async def call(self, function: str, arguments: JsonObject) -> JsonObject:
        self.asked.append((function, dict(arguments)))
        if self.takes:
            await asyncio.sleep(self.takes)
        if self.wrong is not None:
            raise self.wrong
        if self.answer is not None:
            return dict(self.answer)
        trends: JsonObject = {"trends": {}} if arguments.get("p_trends") else {}
        return {"now": NOW, "waiting": list(self.waiting), **trends}


class Parts:
    """A feed over such a database."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.over = asyncio.Event()
        health = SimpleNamespace(health=lambda: SimpleNamespace(as_json=lambda: {"status": "healthy"}))
        self.feed = Feed(cast(Status, health), cast(Database, self.queue), self.over)

    async def news(self, stream: AsyncGenerator[str, None]) -> dict[str, Any]:
        """The parts of the next event of a stream."""
        event = await anext(stream)
        assert event.startswith("data: ") and event.endswith("\n\n")
        parts: dict[str, Any] = json.loads(event[6:])["parts"]
        return parts


def in_virtual_time(test: Callable[[Parts], Awaitable[None]]) -> Callable[[], None]:
    """An hour takes a second."""

    async def run() -> None:
        await test(Parts())

    def named() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(run())

    named.__name__ = test.__name__
    return named


@in_virtual_time
async def test_twenty_viewers_cost_what_one_costs(parts: Parts) -> None:
    streams = [parts.feed.events() for _ in range(MOST_VIEWERS)]
    for stream in streams:
        assert set(await parts.news(stream)) >= {"health", "waiting", "trends"}
    before = len(parts.queue.asked)
    await asyncio.sleep(10 * LOOK)
    assert len(parts.queue.asked) - before <= 10
    assert parts.feed.full
    for stream in streams:
        await stream.aclose()
    assert not parts.feed.full


@in_virtual_time
async def test_nobody_looks_nobody_asks(parts: Parts) -> None:
    await asyncio.sleep(3600)
    assert parts.queue.asked == []
    stream = parts.feed.events()
    await parts.news(stream)
    await stream.aclose()
    asked = len(parts.queue.asked)
    await asyncio.sleep(3600)
    assert len(parts.queue.asked) == asked


@in_virtual_time
async def test_only_what_has_changed_is_sent(parts: Parts) -> None:
    async with aclosing(parts.feed.events()) as stream:
        await parts.news(stream)
        parts.queue.waiting.append(1)
        assert await parts.news(stream) == {"waiting": [1]}


@in_virtual_time
async def test_a_slow_viewer_gets_the_newest_and_not_all_that_it_missed(parts: Parts) -> None:
    async with aclosing(parts.feed.events()) as slow, aclosing(parts.feed.events()) as quick:
        await parts.news(slow)
        await parts.news(quick)
        for number in range(5):
            parts.queue.waiting = [number]
            assert await parts.news(quick) == {"waiting": [number]}
        assert await parts.news(slow) == {"waiting": [4]}


@in_virtual_time
async def test_the_plots_are_asked_for_less_often(parts: Parts) -> None:
    async with aclosing(parts.feed.events()) as stream:
        await parts.news(stream)
        await asyncio.sleep(2 * TRENDS + LOOK)
    with_trends = [arguments for _, arguments in parts.queue.asked if arguments["p_trends"]]
    assert len(with_trends) == 3


@in_virtual_time
async def test_a_slow_database_is_asked_less_often(parts: Parts) -> None:
    parts.queue.takes = 2.0
    async with aclosing(parts.feed.events()) as stream:
        await parts.news(stream)
        before = len(parts.queue.asked)
        await asyncio.sleep(60)
        assert len(parts.queue.asked) - before <= 5


@in_virtual_time
async def test_a_stream_ends_in_time_and_at_once_when_the_worker_ends(parts: Parts) -> None:
    clock = asyncio.get_running_loop().time
    begun = clock()
    assert len([event async for event in parts.feed.events()]) >= 1
    assert STREAM <= clock() - begun < STREAM + LOOK
    async with aclosing(parts.feed.events()) as stream:
        await parts.news(stream)
        rest = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0)
        begun = clock()
        parts.over.set()
        assert await rest is None
        assert clock() - begun < LOOK / 2


@in_virtual_time
async def test_a_database_that_is_away_is_said_and_found_again(parts: Parts) -> None:
    async with aclosing(parts.feed.events()) as stream:
        await parts.news(stream)
        parts.queue.wrong = StoreUnavailable("away")
        assert await parts.news(stream) == {"database": {"ok": False, "why": "The database does not answer."}}
        parts.queue.wrong, parts.queue.waiting = None, [7]
        assert await parts.news(stream) == {"database": {"ok": True}, "waiting": [7]}


@in_virtual_time
async def test_a_database_without_the_function_names_the_migrations(parts: Parts) -> None:
    parts.queue.wrong = StoreRefused("no such function", "PGRST202")
    async with aclosing(parts.feed.events()) as stream:
        assert "sql_migrations/" in (await parts.news(stream))["database"]["why"]


@in_virtual_time
async def test_a_database_that_hangs_holds_nothing_up(parts: Parts) -> None:
    parts.queue.takes = 3600
    async with aclosing(parts.feed.events()) as stream:
        async with asyncio.timeout(10):
            news = await parts.news(stream)
    assert (news["database"]["ok"], news["health"]) == (False, {"status": "healthy"})


@in_virtual_time
async def test_an_answer_of_something_else_is_an_outage(parts: Parts) -> None:
    async with aclosing(parts.feed.events()) as stream:
        await parts.news(stream)
        parts.queue.answer = {"message": "captive portal"}
        assert (await parts.news(stream))["database"]["ok"] is False
        parts.queue.answer = None
        assert (await parts.news(stream))["database"]["ok"] is True


@in_virtual_time
async def test_after_a_defect_the_next_stream_looks_anew(parts: Parts) -> None:
    parts.queue.wrong = RuntimeError("a defect")
    assert [event async for event in parts.feed.events()] == []
    parts.queue.wrong = None
    async with aclosing(parts.feed.events()) as stream:
        assert "waiting" in await parts.news(stream)


@in_virtual_time
async def test_a_job_that_the_database_does_not_tell_in_time_is_unavailable(parts: Parts) -> None:
    parts.queue.takes = 3600
    with pytest.raises(StoreUnavailable, match="in time"):
        await parts.feed.job("one")


@in_virtual_time
async def test_one_job_is_asked_for_once_by_all_who_look_and_anew_after_each_look(parts: Parts) -> None:
    async with aclosing(parts.feed.events()) as stream:
        await parts.news(stream)
        await asyncio.sleep(0.9 * LOOK)
        await asyncio.gather(*[parts.feed.job("one") for _ in range(20)])
        assert [name for name, _ in parts.queue.asked].count("workflow_page_job") == 1
        parts.queue.waiting.append(1)
        await parts.news(stream)
        await parts.feed.job("one")
        assert [name for name, _ in parts.queue.asked].count("workflow_page_job") == 2


@in_virtual_time
async def test_the_overview_without_a_stream_is_looked_up_once_per_look(parts: Parts) -> None:
    found = [json.loads(await parts.feed.overview()) for _ in range(5)]
    assert [each["parts"]["waiting"] for each in found] == [[]] * 5
    assert (found[0]["now"], len(parts.queue.asked)) == (NOW, 1)


@pytest.mark.parametrize("wait", [LOOK / 2, 3 * LOOK])
def test_who_comes_later_is_told_everything(wait: float) -> None:
    async def late(parts: Parts) -> None:
        async with aclosing(parts.feed.events()) as first:
            await parts.news(first)
            await asyncio.sleep(wait)
            async with aclosing(parts.feed.events()) as second:
                assert set(await parts.news(second)) == {"health", "database", "waiting", "trends"}

    in_virtual_time(late)()
