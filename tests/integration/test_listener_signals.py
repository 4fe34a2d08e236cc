"""What the listener tells and when, how it replaces a session, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus

import psutil
import pytest
from realtime.types import ChannelStates
from websockets.protocol import State

from consumer.listener import ListenerState, ListenerTimings
from consumer.session import Session
from tests.ear import KEY, QUICK, Ear, listening, until
from tests.integration.test_listener_failures import closed_at_once, join_refused
from tests.scripted_phoenix import Frame, Peer, Phoenix, Play

ONCE = replace(QUICK, recycle=(0.1, 0.1))


def broadcast(event: str, said: Frame | None = None) -> Frame:
    payload = {"type": "broadcast", "event": event, "payload": said or {"reason": "insert"}, "meta": {"id": "x"}}
    return {"event": "broadcast", "payload": payload, "topic": "realtime:workflow_jobs"}


def rejoin_timers() -> int:
    """Timers of the client that would join a refused channel again."""
    return sum("_run_timer" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_subscribed_is_not_ready_until_the_feed_has_started() -> None:
    go = asyncio.Event()

    async def cold(peer: Peer) -> None:
        peer.join = await peer.receive("phx_join")
        await peer.accept(peer.join)
        await go.wait()
        await peer.system()
        await peer.socket.wait_closed()

    async with Phoenix(cold) as server, listening(server.url) as ear:
        await until(lambda: bool(ear.clients) and any(c.is_joined for c in ear.clients[0].get_channels()), "the reply")
        assert (ear.listener.state, ear.readies, ear.listener.ready_since) == (ListenerState.CONNECTING, 0, None)
        waiting = asyncio.create_task(ear.listener.wait_hearing())
        go.set()
        await asyncio.wait_for(waiting, 10)
        assert (ear.readies, ear.listener.ready_since is None) == (1, False)


async def test_a_feed_that_starts_before_the_reply_counts_once() -> None:
    async def hasty(peer: Peer) -> None:
        peer.join = await peer.receive("phx_join")
        await peer.system()
        await peer.accept(peer.join)
        await peer.socket.wait_closed()

    async with Phoenix(hasty) as server, listening(server.url) as ear:
        await ear.is_ready(1)
        assert (ear.readies, server.connects) == (1, 1)


async def test_each_repeated_subscribed_is_one_more_possible_gap() -> None:
    async with Phoenix() as server, listening(server.url) as ear:
        await ear.is_ready(1)
        await server.peers[0].system()
        await server.peers[0].system()
        await server.peers[0].insert("last")
        await until(lambda: bool(ear.rings), "the event behind them")
        assert (ear.readies, server.connects) == (3, 1)


async def test_an_insert_rings_with_the_jobs_id_and_nothing_else_of_the_row() -> None:
    async with Phoenix() as server, listening(server.url) as ear:
        await ear.is_ready(1)
        await server.peers[0].insert("job_1")
        await until(lambda: ear.rings == [("postgres_changes", "job_1")], "the ring")


@pytest.mark.parametrize("record", [{}, {"id": 7}, {"id": None}, {"id": ""}, {"id": "x" * 65}, None])
async def test_an_insert_with_a_strange_record_still_rings(record: Any) -> None:
    async with Phoenix() as server, listening(server.url) as ear:
        await ear.is_ready(1)
        await server.peers[0].change("INSERT", "workflow_generation_jobs", record, [1])
        await until(lambda: ear.rings == [("postgres_changes", None)], "the ring")


async def test_a_change_that_the_client_cannot_read_still_rings() -> None:
    # What a missing grant looks like: the client drops the frame, its callback is never called (bug B7).
    async with Phoenix() as server, listening(server.url) as ear:
        await ear.is_ready(1)
        unauthorized = {"errors": ["Error 401: Unauthorized"], "commit_timestamp": None}
        await server.peers[0].change("INSERT", "workflow_generation_jobs", {}, [1], **unauthorized)
        await until(lambda: ear.rings == [("postgres_changes", None)], "the ring")
        assert (ear.ready, server.connects) == (True, 1)


async def test_the_workers_own_row_is_the_canary_and_carries_pokes() -> None:
    async with Phoenix() as server, listening(server.url) as ear:
        await ear.is_ready(1)
        for beat, poked_at in ((1, None), (2, "12:00"), (3, "12:00"), (4, "12:01")):
            await server.peers[0].own_row({"worker_id": "worker-1", "beat": beat, "poked_at": poked_at})
        await until(lambda: ear.beats == [1, 2, 3, 4], "all beats")
        assert ear.pokes == 2


async def test_a_row_without_a_beat_is_ignored() -> None:
    async with Phoenix() as server, listening(server.url) as ear:
        await ear.is_ready(1)
        await server.peers[0].own_row({"beat": "NaN"})
        await server.peers[0].change("DELETE", "workflow_workers", None, [2], old_record={"worker_id": "worker-1"})
        await server.peers[0].own_row({"beat": 9})
        await until(lambda: ear.beats == [9], "the beat behind them")


async def test_each_session_asks_for_inserts_and_its_own_row_on_a_topic_of_its_own() -> None:
    async with Phoenix() as server, listening(server.url) as ear:
        await ear.is_ready(1)
        ear.listener.rebuild("test")
        await ear.is_ready(2)
        joins = [peer.join for peer in server.peers]
        assert joins[0]["topic"] != joins[1]["topic"]
        assert joins[0]["payload"]["config"]["postgres_changes"] == [
            {"event": "INSERT", "schema": "public", "table": "workflow_generation_jobs"},
            {"event": "*", "schema": "public", "table": "workflow_workers", "filter": "worker_id=eq.worker-1"},
        ]


async def test_the_broadcast_doorbell_rings_as_well() -> None:
    async with Phoenix() as server, listening(server.url) as ear:
        await until(
            lambda: ear.listener.state is ListenerState.READY and ear.listener.broadcast_ready, "both doorbells"
        )
        peer = server.peers[0]
        await peer.send(**broadcast("another_event"))
        await peer.send(**broadcast("job_pending"))
        await until(lambda: ear.rings == [("broadcast", None)], "the ring")


async def test_a_broadcast_rings_for_each_job_that_it_names_and_at_least_once() -> None:
    async with Phoenix() as server, listening(server.url) as ear:
        await until(lambda: ear.listener.broadcast_ready, "both doorbells")
        for jobs in (["job-1", "job-2"], [None, 7, "no id", "x" * 65, "job-3"], [], "job-4", {"a": 1}, None):
            await server.peers[0].send(**broadcast("job_pending", {"jobs": jobs}))
        await server.peers[0].send(**broadcast("job_pending", {"jobs": [f"many-{n}" for n in range(1000)]}))
        await until(lambda: len(ear.rings) >= 107, "the rings")
        named = [job_id for _, job_id in ear.rings]
        assert named[:7] == ["job-1", "job-2", "job-3", None, "job-4", None, None]
        assert named[7:] == [f"many-{n}" for n in range(100)]


async def test_a_poke_by_broadcast_is_for_the_worker_it_names_and_rings_nothing_by_itself() -> None:
    async with Phoenix() as server, listening(server.url) as ear:
        await until(lambda: ear.listener.broadcast_ready, "both doorbells")
        for said in ({"worker_id": "worker-2"}, {"worker_id": None}, {"reason": "?"}, {"worker_id": "worker-1"}):
            await server.peers[0].send(**broadcast("worker_poke", said))
        await server.peers[0].send(**broadcast("job_pending"))
        await until(lambda: bool(ear.rings), "the ring behind them")
        assert (ear.pokes, ear.rings, server.connects) == (1, [("broadcast", None)], 1)


async def test_a_refused_broadcast_is_asked_for_once_and_the_session_stays() -> None:
    joins: list[Frame] = []

    async def private_refused(peer: Peer) -> None:
        await peer.subscribe()
        joins.append(await peer.broadcast_join())
        await peer.refuse(joins[0], "Unauthorized: You do not have permissions to read from this Channel topic")
        await peer.insert("still-heard")
        joins.append(await peer.broadcast_join())

    async with Phoenix(private_refused) as server, listening(server.url) as ear:
        await until(lambda: ear.rings == [("postgres_changes", "still-heard")], "the other doorbell")
        await until(lambda: rejoin_timers() == 0, "the rejoin timer has ended")
        assert [join["payload"]["config"]["private"] for join in joins] == [True]
        assert (ear.ready, ear.listener.broadcast_ready) == (True, False)
        assert [channel.topic for channel in ear.clients[0].get_channels()] == [server.peers[0].join["topic"]]


async def loses_broadcast(peer: Peer) -> None:
    await peer.subscribe()
    join = await peer.broadcast_join()
    await peer.accept(join)
    await peer.send("phx_close", {}, topic=join["topic"], ref=join["ref"])
    await peer.socket.wait_closed()


async def test_a_lost_broadcast_doorbell_is_won_back_without_a_gap() -> None:
    async with Phoenix(loses_broadcast) as server, listening(server.url) as ear:
        await until(lambda: ear.readies == 2 and ear.listener.broadcast_ready, "both doorbells again")
        assert server.connects == 2
        assert not ear.said("Realtime is down")


async def test_an_event_on_its_way_to_a_replaced_session_still_rings() -> None:
    async with Phoenix(loses_broadcast) as server, listening(server.url, replace(QUICK, overlap=600)) as ear:
        await ear.is_ready(2)
        await server.peers[0].insert("in-flight")
        await until(lambda: ("postgres_changes", "in-flight") in ear.rings, "the event")


async def test_a_planned_replacement_is_ready_before_the_old_session_closes() -> None:
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await go.wait()
        await peer.subscribe()
        await peer.socket.wait_closed()

    script: list[Play | HTTPStatus] = [HTTPStatus.SERVICE_UNAVAILABLE, slow]
    async with Phoenix(healthy, *script) as server, listening(server.url, ONCE) as ear:
        await until(lambda: len(server.peers) == 2, "the successor has connected")
        assert ear.ready
        assert ear.said("the successor failed")
        await server.peers[0].insert("meanwhile")
        await until(lambda: ("postgres_changes", "meanwhile") in ear.rings, "the old session's event")
        assert (ear.readies, server.open) == (1, 2)
        go.set()
        await until(lambda: server.peers[0].socket.state.name == "CLOSED", "the old session closes")
        assert ear.readies >= 2


async def healthy(peer: Peer) -> None:
    await peer.subscribe()
    await peer.socket.wait_closed()


async def test_a_rebuild_while_there_is_no_session_changes_nothing() -> None:
    async with Phoenix(otherwise=join_refused) as server, listening(server.url, ListenerTimings()) as ear:
        await until(lambda: ear.listener.last_error is not None, "a reason")
        ear.listener.rebuild("nothing to rebuild")
        assert "Too many connected users" in str(ear.listener.last_error)


async def test_events_of_a_session_that_is_over_are_ignored() -> None:
    class Rebuilding(Ear):
        def on_ring(self, source: Any, job_id: str | None) -> None:
            super().on_ring(source, job_id)
            self.listener.rebuild("deaf")

    async with Phoenix() as server, listening(server.url, ear=Rebuilding()) as ear:
        await ear.is_ready(1)
        server.peers[0].socket.transport.pause_reading()
        await asyncio.gather(*(server.peers[0].insert(f"job-{n}") for n in range(10)))
        server.peers[0].socket.transport.resume_reading()
        await ear.is_ready(2)
        assert ear.rings == [("postgres_changes", "job-0")]


async def test_a_callback_that_raises_does_not_deafen_the_session() -> None:
    class Clumsy(Ear):
        def on_ring(self, source: Any, job_id: str | None) -> None:
            super().on_ring(source, job_id)
            raise RuntimeError("a defect")

    async with Phoenix() as server, listening(server.url, ear=Clumsy()) as ear:
        await ear.is_ready(1)
        await server.peers[0].insert("first")
        await server.peers[0].insert("second")
        await until(lambda: len(ear.rings) == 2, "both rings")
        assert server.connects == 1


async def test_a_channel_that_changes_without_a_callback_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.session.LOOK_EVERY", 0.01)
    async with Phoenix() as server, listening(server.url) as ear:
        await ear.is_ready(1)
        ear.clients[0].get_channels()[0].state = ChannelStates.ERRORED
        await ear.is_ready(2)
        assert server.connects == 2


async def test_a_stop_closes_the_socket_and_leaves_no_task() -> None:
    async with Phoenix() as server:
        before = len(asyncio.all_tasks())
        async with listening(server.url) as ear:
            await ear.is_ready(1)
        assert ear.listener.state is ListenerState.DOWN
        await until(lambda: server.open == 0, "the server sees the close")
        await until(lambda: len(asyncio.all_tasks()) == before, "all tasks have ended")


async def test_a_stop_while_connecting_ends_at_once() -> None:
    async with Phoenix(otherwise=silent_join) as server:
        before = len(asyncio.all_tasks())
        async with listening(server.url):
            await until(lambda: server.open == 1, "it has connected")
        # The clock of the unanswered join alone would run for 10 s.
        await until(lambda: server.open == 0 and len(asyncio.all_tasks()) == before, "nothing is left", 5)


async def test_a_socket_that_does_not_close_politely_is_closed_by_force() -> None:
    async with Phoenix() as server, listening(server.url) as ear:
        await ear.is_ready(1)
        connection = ear.clients[0]._ws_connection
        assert connection is not None
        server.peers[0].black_hole()
        ear.listener.rebuild("deaf")
        await until(lambda: connection.state is State.CLOSED, "the old socket is closed", 5)


async def silent_join(peer: Peer) -> None:
    await peer.receive("phx_join")
    await peer.socket.wait_closed()


async def test_a_hundred_forced_sessions_leave_nothing_behind() -> None:
    process = psutil.Process()
    async with Phoenix() as server, listening(server.url) as ear:
        await ear.is_ready(1)
        await until(lambda: ear.listener.broadcast_ready, "steady")
        tasks, descriptors = len(asyncio.all_tasks()), process.num_fds()
        for number in range(2, 102):
            ear.listener.rebuild("forced")
            await ear.is_ready(number)
        await until(lambda: server.open == 1 and ear.listener.broadcast_ready, "only the last is open")
        await until(lambda: len(asyncio.all_tasks()) <= tasks, "no task is left")
        await until(lambda: process.num_fds() <= descriptors, "no descriptor is left")
        assert (server.connects, ear.readies) == (101, 101)
        gc.collect()
        # Cancelled timers that asyncio has not swept yet may still hold a few.
        assert sum(isinstance(thing, Session) for thing in gc.get_objects()) < 50


async def test_no_log_holds_the_key_or_a_users_text(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("", "websockets", "websockets.client", "realtime"):
        caplog.set_level(logging.DEBUG, logger=name)
    script: list[Play | HTTPStatus] = [HTTPStatus.UNAUTHORIZED, closed_at_once, join_refused]
    async with Phoenix(*script) as server, listening(server.url) as ear:
        await ear.is_ready(1)
        await server.peers[-1].socket.send('{"event": "a user\'s text"}')
        await until(lambda: bool(ear.rings), "the unreadable frame")
    async with listening("http://127.0.0.1:99999/realtime/v1") as lost:
        await until(lambda: lost.said("is down"), "a reason")
    # The scripted server runs in this process, and is none of the worker's business.
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.server")]
    text = "\n".join([*ear.log, *lost.log, *ours])
    assert "is ready" in text
    assert not [secret for secret in (KEY, quote_plus(KEY), "a user's text") if secret in text]
