"""A server that is away for an hour, and two hundred failures in a row: no busy loop, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable, Coroutine, Iterator
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from consumer.listener import ListenerTimings
from consumer.retry import full_jitter
from tests.ear import listening, until
from tests.integration.test_listener_failures import AFTER_READY, BEFORE_READY
from tests.scripted_phoenix import SILENCE, Act, Peer, Phoenix, Play, well
from tests.virtual_time import VirtualLoop

HOUR = 3600.0
Virtually = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def virtually(monkeypatch: pytest.MonkeyPatch) -> Iterator[Virtually]:
    """Runs a coroutine in virtual time; what asks for `time.monotonic()` gets it as well."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        clock = SimpleNamespace(monotonic=runner.get_loop().time)
        for module in ("consumer.listener", "consumer.session"):
            monkeypatch.setattr(f"{module}.time", clock)
        yield runner.run


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Every wait before a connect: the step of the back-off since it last began anew, and the seconds."""
    taken: list[tuple[int, float]] = []

    def noted(base: float, cap: float) -> Iterator[float]:
        for step, delay in enumerate(full_jitter(base, cap)):
            taken.append((step, delay))
            yield delay

    monkeypatch.setattr("consumer.listener.full_jitter", noted)
    return taken


def now() -> float:
    return asyncio.get_running_loop().time()


class Leaving(Phoenix):
    """A server that is `away` in one way or another when it is told so."""

    away: Act | None = None

    def next_act(self) -> Act:
        return self.away or super().next_act()


async def cut_at_once(peer: Peer) -> None:
    """What a proxy without a server behind it does."""
    peer.socket.transport.abort()


@pytest.mark.parametrize("away", [HTTPStatus.SERVICE_UNAVAILABLE, cut_at_once, SILENCE], ids=["503", "cut", "silence"])
def test_a_server_away_for_an_hour_is_asked_once_per_step_and_found_again(
    virtually: Virtually, delays: list[tuple[int, float]], away: Act
) -> None:
    async def an_hour() -> None:
        async with Leaving() as server, listening(server.url, ListenerTimings()) as ear:
            await ear.is_ready(1)
            await asyncio.sleep(600)  # healthy for long enough: the back-off begins anew
            server.away, lost_at = away, now()
            server.peers[0].socket.transport.abort()
            await asyncio.sleep(HOUR)
            assert (ear.readies, ear.ready) == (1, False)
            # One connect before each wait but the first, which follows the loss; one may be under way.
            assert len(delays) - 1 <= server.connects - 1 <= len(delays)
            assert 60 < server.connects < 250
            server.away, back_at = None, now()
            for peer in server.peers[1:]:
                peer.socket.transport.abort()
            await asyncio.wait_for(ear.listener.wait_hearing(), 120)
            assert now() - back_at < 60 + 2 * ListenerTimings().ready_timeout
            assert now() - lost_at > HOUR
            assert (ear.readies, server.connects - 1) == (2, len(delays))

    virtually(an_hour())
    assert [step for step, _ in delays] == list(range(len(delays))), "one back-off for the whole outage"
    assert all(0 <= delay <= min(2.0**step, 60) for step, delay in delays)
    capped = [delay for step, delay in delays if step >= 6]
    assert max(capped) - min(capped) > 15, "jittered"


def test_a_server_whose_port_is_closed_for_an_hour_is_found_again(virtually: Virtually) -> None:
    async def an_hour() -> None:
        async with Phoenix() as server:
            port = int(server.url.split(":")[2].split("/")[0])
        async with listening(server_url(port), ListenerTimings()) as ear:
            await asyncio.sleep(HOUR)
            assert 60 < ear.listener.sessions < 250
            assert "network failed" in str(ear.listener.last_error)
            async with Phoenix(port=port) as again:
                await asyncio.sleep(61 + ListenerTimings().ready_timeout)
                assert (ear.ready, ear.readies, again.connects) == (True, 1, 1)

    virtually(an_hour())


def server_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/realtime/v1"


async def test_two_hundred_failures_of_every_kind_leave_nothing_behind() -> None:
    process = psutil.Process()

    async def half_open(peer: Peer) -> None:
        await peer.subscribe()
        await until(lambda: ear.ready, "it is ready")
        peer.black_hole()
        ear.listener.rebuild("the canary did not come back")
        await until(lambda: server.peers[-1] is not peer, "the next session has connected")
        peer.socket.transport.abort()

    kinds: list[Play | HTTPStatus] = [*AFTER_READY, *BEFORE_READY, half_open]
    failures = list(itertools.islice(itertools.cycle(kinds), 200))
    gets_ready = sum(kind in (*AFTER_READY, half_open) for kind in failures)

    def left() -> tuple[int, int, int, int]:
        gc.collect()
        sockets = len(process.net_connections(kind="all"))
        return len(asyncio.all_tasks()), process.num_fds(), sockets, process.num_threads()

    async with Phoenix(well, *failures) as server, listening(server.url) as ear:
        await until(lambda: ear.listener.broadcast_ready, "steady")
        steady = left()
        ear.listener.rebuild("the first of two hundred")
        await until(lambda: server.connects == 202, "two hundred failures, and a healthy session", 120)
        await until(lambda: server.open == 1 and ear.listener.broadcast_ready, "only the last is open")
        assert (ear.listener.sessions, ear.readies) == (202, 2 + gets_ready)
        await until(
            lambda: all(a <= b for a, b in zip(left(), steady, strict=True)),
            "no task, descriptor, socket or thread is left",
        )
