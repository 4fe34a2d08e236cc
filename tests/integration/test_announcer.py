"""Ready and degraded, to the log and whoever passes it on: once per change, and only when it lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest

from consumer.announcer import Announcer
from tests.ear import Ear, listening, until
from tests.integration.test_listener_failures import ready_then_cut
from tests.scripted_phoenix import Act, Phoenix

READY, DEGRADED = "ready: waiting for jobs", "degraded: no Realtime, jobs are found by heartbeat"


@asynccontextmanager
async def announcing(server: Phoenix, patience: float) -> AsyncIterator[tuple[Ear, Announcer, list[str | None]]]:
    """A listener and its announcer; the list is what would be passed on, at each change."""
    async with listening(server.url) as ear:
        rows: list[str | None] = []
        announcer = Announcer(ear.listener, lambda: rows.append(announcer.degraded), patience=patience)
        running = asyncio.create_task(announcer.run())
        try:
            yield ear, announcer, rows
            assert not running.done()
        finally:
            running.cancel()


def lines(ear: Ear) -> list[str]:
    """The announcements in the log, in order."""
    return [said for line in ear.log for said in (READY, DEGRADED) if said in line]


async def test_a_worker_that_starts_without_realtime_is_up_and_says_degraded_until_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumer.announcer.FEED_PATIENCE", 0.1)
    away = True

    class Away(Phoenix):
        def next_act(self) -> Act:
            return HTTPStatus.SERVICE_UNAVAILABLE if away else super().next_act()

    async with Away() as server, announcing(server, patience=0.1) as (ear, announcer, rows):
        await until(lambda: lines(ear) == [DEGRADED], "it says that it is degraded")
        assert announcer.started
        assert "HTTP 503" in str(announcer.degraded)
        away = False
        await until(lambda: announcer.degraded is None, "it is ready")
        assert lines(ear) == [DEGRADED, READY]
        assert [row is None for row in rows] == [False, True]


async def test_a_loss_that_is_soon_made_good_is_not_announced() -> None:
    async with Phoenix(*[ready_then_cut] * 3) as server, announcing(server, patience=600) as (ear, announcer, rows):
        await ear.is_ready(4)
        await server.peers[-1].own_row({"beat": 1})
        await until(lambda: ear.beats == [1], "the canary")
        assert (lines(ear), announcer.degraded, rows) == ([READY], None, [None])
        assert announcer.started


async def test_a_server_that_stays_joined_and_deaf_is_degraded_until_a_canary_comes_back() -> None:
    async with Phoenix() as server, announcing(server, patience=0.1) as (ear, announcer, _):
        await until(lambda: lines(ear) == [READY], "it is ready")
        ear.listener.rebuild("the canary did not come back")
        await until(lambda: lines(ear) == [READY, DEGRADED] and ear.ready, "joined again, and degraded")
        assert announcer.degraded is not None
        ear.listener.rebuild("the canary did not come back")
        await ear.is_ready(3)
        await server.peers[-1].own_row({"beat": 7})
        await until(lambda: announcer.degraded is None, "the canary has proved the feed")
        assert lines(ear) == [READY, DEGRADED, READY]
