"""Ready and degraded, to log, systemd and heartbeat: once per change, and only when it lasts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest

from consumer.announcer import Announcer
from tests.ear import Ear, listening, until
from tests.integration.test_listener_failures import ready_then_cut
from tests.scripted_phoenix import Act, Phoenix

READY, DEGRADED = "ready: waiting for jobs", "degraded: no Realtime, jobs are found by heartbeat"


@pytest.fixture
def notified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """What systemd was told next; fails when it was told nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield lambda: channel.recv(4096).decode()


@asynccontextmanager
async def announcing(server: Phoenix, patience: float) -> AsyncIterator[tuple[Ear, Announcer, list[str | None]]]:
    """A listener and its announcer; the list is what the heartbeat would have written, at each change."""
    async with listening(server.url) as ear:
        rows: list[str | None] = []
        announcer = Announcer(
            ear.listener, lambda: rows.append(announcer.degraded), worker_id="worker-1", patience=patience
        )
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
    notified: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer.announcer.FEED_PATIENCE", 0.1)
    away = True

    class Away(Phoenix):
        def next_act(self) -> Act:
            return HTTPStatus.SERVICE_UNAVAILABLE if away else super().next_act()

    async with Away() as server, announcing(server, patience=0.1) as (ear, announcer, rows):
        await until(lambda: lines(ear) == [DEGRADED], "it says that it is degraded")
        assert notified() == "READY=1\nSTATUS=degraded: no Realtime, jobs are found by heartbeat"
        assert "HTTP 503" in str(announcer.degraded)
        away = False
        await until(lambda: announcer.degraded is None, "it is ready")
        assert notified() == "STATUS=ready, waiting for jobs"
        assert lines(ear) == [DEGRADED, READY]
        assert [row is None for row in rows] == [False, True]


async def test_a_loss_that_is_soon_made_good_is_not_announced(notified: Callable[[], str]) -> None:
    async with Phoenix(*[ready_then_cut] * 3) as server, announcing(server, patience=600) as (ear, announcer, rows):
        await ear.is_ready(4)
        await server.peers[-1].own_row({"beat": 1})
        await until(lambda: ear.beats == [1], "the canary")
        assert (lines(ear), announcer.degraded, rows) == ([READY], None, [None])
        assert notified() == "READY=1\nSTATUS=ready, waiting for jobs"


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
