"""Every way a Realtime session was seen to fail: the listener is ready again by itself, with one connect per try."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest

from consumer.listener import ListenerState, ListenerTimings
from tests.ear import IMPATIENT, QUICK, listening, until
from tests.scripted_phoenix import SILENCE, Peer, Phoenix, Play, Silence


async def ready_then_close(peer: Peer) -> None:
    await peer.subscribe()
    await peer.socket.close(1012)


async def ready_then_normal_close(peer: Peer) -> None:
    await peer.subscribe()
    await peer.socket.close(1000)


async def ready_then_cut(peer: Peer) -> None:
    await peer.subscribe()
    peer.socket.transport.abort()


async def ready_then_system_error(peer: Peer) -> None:
    await peer.subscribe()
    await peer.system("error", "Unable to subscribe to changes")
    await peer.socket.wait_closed()


async def ready_then_token_expired(peer: Peer) -> None:
    await peer.subscribe()
    await peer.system("error", "Token has expired 0 seconds ago")
    await peer.send("phx_close", {}, ref=peer.join["ref"])
    await peer.socket.wait_closed()


async def ready_then_phx_close(peer: Peer) -> None:
    await peer.subscribe()
    await peer.send("phx_close", {}, ref=peer.join["ref"])
    await peer.socket.wait_closed()


async def ready_then_phx_error(peer: Peer) -> None:
    await peer.subscribe()
    await peer.send("phx_error", {})
    await peer.socket.wait_closed()


async def ready_then_oversize_frame(peer: Peer) -> None:
    await peer.subscribe()
    await peer.change("INSERT", "workflow_generation_jobs", {"id": "big", "prompt": "x" * 1_100_000}, [1])
    await peer.socket.wait_closed()


async def ready_then_a_frame_that_kills_the_reader(peer: Peer) -> None:
    await peer.subscribe()
    await peer.send("presence_state", {"somebody": {"metas": [{"without": "phx_ref"}]}})
    await peer.socket.wait_closed()


async def closed_at_once(peer: Peer) -> None:
    await peer.socket.close()


async def closed_after_the_join(peer: Peer) -> None:
    await peer.receive("phx_join")
    await peer.socket.close()


async def join_refused(peer: Peer) -> None:
    await peer.refuse(await peer.receive("phx_join"), "ConnectionRateLimitReached: Too many connected users")
    await peer.socket.wait_closed()


async def joined_without_bindings(peer: Peer) -> None:
    peer.join = await peer.receive("phx_join")
    await peer.send("phx_reply", {"status": "ok", "response": {}}, ref=peer.join["ref"])
    await peer.system()
    await peer.socket.wait_closed()


async def joined_with_other_bindings(peer: Peer) -> None:
    peer.join = await peer.receive("phx_join")
    bindings = [{"id": 1, "event": "DELETE", "schema": "public", "table": "another"}] * 2
    await peer.send("phx_reply", {"status": "ok", "response": {"postgres_changes": bindings}}, ref=peer.join["ref"])
    await peer.socket.wait_closed()


async def subscription_failed(peer: Peer) -> None:
    peer.join = await peer.receive("phx_join")
    await peer.accept(peer.join)
    await peer.system("error", "Unable to subscribe to changes with given parameters")
    await peer.socket.wait_closed()


async def join_never_answered(peer: Peer) -> None:
    await peer.receive("phx_join")
    await peer.socket.wait_closed()


async def join_answered_too_late(peer: Peer) -> None:
    peer.join = await peer.receive("phx_join")
    await asyncio.sleep(IMPATIENT.ready_timeout * 1.2)
    await peer.accept(peer.join)
    await peer.system()
    await peer.socket.wait_closed()


async def system_never_comes(peer: Peer) -> None:
    await peer.accept(await peer.receive("phx_join"))
    await peer.socket.wait_closed()


AFTER_READY = [
    ready_then_close, ready_then_normal_close, ready_then_cut, ready_then_system_error, ready_then_token_expired,
    ready_then_phx_close, ready_then_phx_error, ready_then_oversize_frame, ready_then_a_frame_that_kills_the_reader,
]  # fmt: skip
BEFORE_READY: list[Play | HTTPStatus] = [
    closed_at_once, closed_after_the_join, join_refused, joined_without_bindings, joined_with_other_bindings,
    subscription_failed, HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE,
]  # fmt: skip
UNANSWERED: list[Play | Silence] = [SILENCE, join_never_answered, join_answered_too_late, system_never_comes]


@pytest.mark.parametrize("play", AFTER_READY, ids=lambda play: getattr(play, "__name__", str(play)))
async def test_a_session_that_breaks_is_replaced_and_the_gap_is_reported_once(play: Play) -> None:
    async with Phoenix(play) as server, listening(server.url) as ear:
        await ear.is_ready(2)
        assert (server.connects, ear.listener.sessions, ear.readies) == (2, 2, 2)
        await server.peers[1].insert("after")
        await until(lambda: ("postgres_changes", "after") in ear.rings, "the event of the new session")


@pytest.mark.parametrize("play", BEFORE_READY, ids=lambda play: getattr(play, "__name__", str(play)))
async def test_a_session_that_never_gets_ready_is_tried_again(play: Play | HTTPStatus) -> None:
    async with Phoenix(play) as server, listening(server.url) as ear:
        await ear.is_ready(1)
        assert (server.connects, ear.listener.sessions, ear.readies) == (2, 2, 1)
        assert ear.listener.last_error is None


@pytest.mark.parametrize("play", UNANSWERED, ids=lambda play: getattr(play, "__name__", str(play)))
async def test_a_session_that_gets_no_answer_is_given_up_in_time(play: Play | Silence) -> None:
    async with Phoenix(play) as server, listening(server.url, IMPATIENT) as ear:
        await ear.is_ready(1)
        assert ear.said("no answer in time while")
        assert (server.connects, ear.readies) == (ear.listener.sessions, 1)


async def test_a_half_open_session_found_deaf_is_replaced_before_its_socket_has_closed() -> None:
    timings = ListenerTimings(backoff_base=0.01, close_timeout=600)
    async with Phoenix() as server, listening(server.url, timings) as ear:
        await ear.is_ready(1)
        server.peers[0].black_hole()
        ear.listener.rebuild("the canary did not come back")
        assert ear.listener.state is not ListenerState.READY
        await ear.is_ready(2)
        assert server.connects == 2
        server.peers[0].socket.transport.abort()


async def test_reconnects_are_never_more_than_the_steps_of_the_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def counted(base: float, cap: float) -> object:
        while True:
            waited.append(base)
            yield 0.001

    monkeypatch.setattr("consumer.listener.full_jitter", counted)
    async with Phoenix(otherwise=closed_at_once) as server, listening(server.url) as ear:
        await until(lambda: server.connects >= 50, "50 connects")
        assert server.connects <= len(waited) + 1
        assert server.connects <= ear.listener.sessions


async def test_the_back_off_starts_anew_only_after_a_healthy_session(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []

    def counted(base: float, cap: float) -> object:
        begun.append(base)
        while True:
            yield 0.001

    monkeypatch.setattr("consumer.listener.full_jitter", counted)
    for healthy_after, begins in ((600, 1), (0, 3)):
        begun.clear()
        timings = ListenerTimings(healthy_after=healthy_after)
        async with Phoenix(*[ready_then_close] * 3) as server, listening(server.url, timings) as ear:
            await ear.is_ready(4)
            assert len(begun) == begins


async def test_a_refusal_only_a_person_can_lift_is_named_and_waited_for() -> None:
    timings = ListenerTimings(backoff_base=0.001, backoff_cap=0.001, slow_retry=600)
    async with Phoenix(otherwise=HTTPStatus.UNAUTHORIZED) as server, listening(server.url, timings) as ear:
        await until(lambda: ear.listener.last_error is not None, "a reason")
        assert ear.listener.state is ListenerState.DOWN
        assert "check SUPABASE_SERVICE_ROLE_KEY" in str(ear.listener.last_error)
        assert server.connects == 1


async def test_a_key_that_has_worked_gets_a_quick_try_when_it_runs_out() -> None:
    timings = ListenerTimings(backoff_base=0.001, slow_retry=600)
    async with Phoenix(ready_then_token_expired) as server, listening(server.url, timings) as ear:
        await ear.is_ready(2)


async def test_a_server_that_is_not_there_is_awaited() -> None:
    async with Phoenix() as server:
        url = server.url
    async with listening(url) as ear:
        await until(lambda: ear.listener.sessions >= 5, "five tries")
        assert "network failed" in str(ear.listener.last_error)
        assert ear.readies == 0


async def test_an_address_that_can_never_work_is_reported_and_does_not_end_the_listener() -> None:
    async with listening("ftp://nowhere", QUICK) as ear:
        await until(lambda: ear.listener.sessions >= 3, "three tries")
        assert ear.listener.last_error == "ValueError while connecting"
