"""The faults of the embedded model server: it hangs, starves, refuses to load and loses models as the recorded one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from devstack.model import Fault, Faults, ModelServer
from tests.integration.model_wire import (
    MISTRAL,
    QWEN,
    Answer,
    call,
    calling,
    chat,
    expiry,
    listed,
    post,
    received,
    recorded,
    runners,
    serving,
    until,
)

TRACES = {row["trace"]: row["response"] for row in recorded("0.33")}
SHORT = {"num_predict": 2}
LONG = {"num_predict": 150}
# The recorded question takes 10 s, and its client left after 15 s: both scaled by one twentieth.
PING, PATIENCE = 0.5, 0.75


@asynccontextmanager
async def hanging(server: ModelServer) -> AsyncIterator[int]:
    """A runner that is stopped in the middle of a stream, whose client stays; its process id."""
    server.faults.queue.append(Fault("hang", after=3))
    async with calling(server.url, "POST", "/api/chat", chat(MISTRAL, "Tell a story.", options=LONG)) as stream:
        await stream.start()
        for _ in range(3):
            await stream.next_chunk()
        pid = server.pids[MISTRAL]
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        yield pid


@asynccontextmanager
async def hung(server: ModelServer) -> AsyncIterator[int]:
    """The same when the client has left."""
    async with hanging(server) as pid:
        pass
    yield pid


async def test_a_hung_runner_says_nothing_while_lists_and_version_stay_green() -> None:
    async with serving(faults=Faults(ping_seconds=PING)) as server, hung(server):
        next_one = asyncio.create_task(post(server.url, chat(MISTRAL, options=SHORT)))
        await received(server.url)
        assert list(await listed(server.url)) == [MISTRAL]
        assert (await call(server.url, "GET", "/api/version")).status == 200
        assert not next_one.done()
        await next_one


async def test_an_unload_of_a_hung_runner_waits_for_its_last_question_and_then_kills_it() -> None:
    """The recorded scene: hang.runner_sigstop, hang.next, hang.unload (5 s), hang.after_unload.next."""
    async with serving(faults=Faults(ping_seconds=PING)) as server, hung(server) as pid:
        clock = asyncio.get_running_loop().time
        asked = clock()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await post(server.url, chat(MISTRAL, options=SHORT))
        unload = await post(server.url, chat(MISTRAL, None, keep_alive=0))
        assert unload.final["done_reason"] == "unload"
        assert clock() - asked >= 2 * PING
        assert await listed(server.url) == {}
        await until(lambda: not psutil.pid_exists(pid))
        again = await post(server.url, chat(MISTRAL, options=SHORT))
        assert again.final["load_duration"] > 10_000_000


async def test_a_hung_runner_that_nobody_asks_is_killed_by_the_unload_at_once() -> None:
    async with serving(faults=Faults(ping_seconds=3600)) as server, hung(server) as pid:
        await post(server.url, chat(MISTRAL, None, keep_alive=0))
        await until(lambda: not psutil.pid_exists(pid))
        assert (await post(server.url, chat(MISTRAL, options=SHORT))).final["done"]


async def test_a_request_that_outlasts_both_questions_gets_a_new_runner() -> None:
    async with serving(faults=Faults(ping_seconds=PING)) as server, hung(server) as pid:
        answer = await post(server.url, chat(MISTRAL, options=SHORT))
        assert answer.final["load_duration"] >= 2 * PING * 1e9
        assert server.pids[MISTRAL] != pid


@pytest.mark.parametrize("deadlock", [False, True])
async def test_a_hung_runner_stays_as_long_as_a_client_of_its_stream_does(deadlock: bool) -> None:
    async with serving(faults=Faults(ping_seconds=PING, deadlock=deadlock)) as server:
        async with hanging(server) as pid:
            waiting = asyncio.create_task(post(server.url, chat(MISTRAL, options=SHORT)))
            await until(lambda: marked(server.url))
            assert server.pids[MISTRAL] == pid
        assert (await waiting).final["done"]
        assert server.pids[MISTRAL] != pid


async def test_a_runner_that_goes_on_after_a_hang_is_used_again() -> None:
    """hang.after_cont.next."""
    async with serving(faults=Faults()) as server, hung(server) as pid:
        waiting = asyncio.create_task(post(server.url, chat(MISTRAL, options=SHORT)))
        await received(server.url)
        os.kill(pid, signal.SIGCONT)
        assert (await waiting).final["done"]
        assert server.pids[MISTRAL] == pid


async def test_a_runner_killed_while_idle_costs_the_next_request_a_load_only() -> None:
    async with serving(faults=Faults()) as server:
        await post(server.url, chat(MISTRAL, None))
        os.kill(server.pids[MISTRAL], signal.SIGKILL)
        answer = await post(server.url, chat(MISTRAL, options=SHORT))
        assert answer.final["done"]
        assert answer.final["load_duration"] > 10_000_000


async def test_a_runner_that_drains_ends_its_stream_late_and_as_a_killed_one() -> None:
    async with serving(faults=Faults(), names=(MISTRAL,)) as server:
        server.faults.queue.append(Fault("drain", after=2, seconds=0.1))
        answer = await post(server.url, chat(MISTRAL, options=LONG))
        assert answer.chunks[2:] == TRACES["kill.streaming_request"]["chunks"][-1:]
        assert answer.end == "chunked terminator"


async def marked(url: str) -> bool:
    return await expiry(url, MISTRAL) < 1


async def kept(url: str) -> bool:
    return not await marked(url)


@asynccontextmanager
async def deadlocked(server: ModelServer, keep_alive: Any) -> AsyncIterator[asyncio.Task[Answer]]:
    """The three recorded requests; the request that never gets its model, when the other two are answered."""
    url = server.url
    body = chat(MISTRAL, "Write a long story.", options=LONG, keep_alive=keep_alive)
    async with calling(url, "POST", "/api/chat", body) as first:
        await first.start()
        await first.next_chunk()
        pid = server.pids[MISTRAL]
        starving = asyncio.create_task(post(url, chat(QWEN, options=SHORT)))
        await until(lambda: marked(url))
        third = asyncio.create_task(post(url, chat(MISTRAL, options=SHORT, keep_alive=keep_alive)))
        await until(lambda: kept(url))
        assert (await first.rest()).final["done"]
        assert (await third).final["done"]
        assert server.pids == {MISTRAL: pid}
    try:
        yield starving
    finally:
        starving.cancel()


@pytest.mark.parametrize("keep_alive", ["5m", -1])
async def test_a_revived_model_starves_the_other_until_it_is_unloaded(keep_alive: Any) -> None:
    """#17408: deadlock.A.*, deadlock.B.*, extra.deadlock_minus1.*."""
    async with serving(faults=Faults(deadlock=True)) as server, deadlocked(server, keep_alive) as starving:
        pids = server.pids
        for _ in range(3):
            assert (await post(server.url, chat(MISTRAL, options=SHORT))).final["done"]
        assert server.pids == pids
        assert await expiry(server.url, MISTRAL) > 200
        assert not starving.done()
        await post(server.url, chat(MISTRAL, None, keep_alive=0))
        answer = await starving
        assert answer.final["done"]
        assert answer.final["load_duration"] > 10_000_000
        assert list(await listed(server.url)) == [QWEN]
        assert (await post(server.url, chat(MISTRAL, options=SHORT))).final["done"]


async def test_a_starved_client_that_leaves_does_not_free_the_scheduler() -> None:
    async with serving(faults=Faults(deadlock=True)) as server, deadlocked(server, "5m") as starving:
        starving.cancel()
        await received(server.url)
        next_one = asyncio.create_task(post(server.url, chat(QWEN, options=SHORT)))
        for _ in range(3):
            await post(server.url, chat(MISTRAL, options=SHORT))
        assert not next_one.done()
        assert list(await listed(server.url)) == [MISTRAL]
        await post(server.url, chat(MISTRAL, None, keep_alive=0))
        assert (await next_one).final["done"]


async def test_the_end_of_a_finite_keep_alive_feeds_the_starved_model() -> None:
    async with serving(faults=Faults(deadlock=True)) as server, deadlocked(server, "2s") as starving:
        assert (await starving).final["load_duration"] > 2e9


async def test_a_request_without_a_keep_alive_leaves_the_mark_and_starves_nobody() -> None:
    async with serving(faults=Faults(deadlock=True)) as server:
        url = server.url
        async with calling(url, "POST", "/api/chat", chat(MISTRAL, "Write a long story.", options=LONG)) as first:
            await first.start()
            await first.next_chunk()
            other = asyncio.create_task(post(url, chat(QWEN, options=SHORT)))
            await until(lambda: marked(url))
            third = asyncio.create_task(post(url, chat(MISTRAL, options=SHORT)))
            final = (await first.rest()).final
        assert (await third).final["load_duration"] < final["total_duration"] / 4
        assert (await other).final["done"]


async def test_loads_fail_and_work_again_when_they_are_told_to() -> None:
    async with serving(faults=Faults(loads="fail")) as server:
        failed = await post(server.url, chat(MISTRAL))
        assert (failed.status, failed.chunks) == (500, TRACES["kill.while_loading"]["chunks"])
        assert await listed(server.url) == {}
        server.faults.loads = "work"
        assert (await post(server.url, chat(MISTRAL, options=SHORT))).final["done"]
        server.faults.loads = "fail"
        assert (await post(server.url, chat(MISTRAL, options=SHORT))).final["done"]
        assert (await post(server.url, chat(QWEN))).status == 500
        assert await listed(server.url) == {}


async def test_a_stalled_load_ends_when_loads_work_again() -> None:
    async with serving(faults=Faults(loads="stall")) as server:
        load = asyncio.create_task(post(server.url, chat(MISTRAL, None)))
        await received(server.url)
        assert await listed(server.url) == {}
        assert not load.done()
        server.faults.loads = "work"
        assert (await load).final["done_reason"] == "load"


async def test_a_client_that_leaves_a_stalled_load_makes_room_for_the_next_one() -> None:
    async with serving(faults=Faults(loads="stall")) as server:
        async with calling(server.url, "POST", "/api/chat", chat(MISTRAL)):
            await received(server.url)
        next_one = asyncio.create_task(post(server.url, chat(QWEN, options=SHORT)))
        await received(server.url)
        server.faults.loads = "work"
        assert (await next_one).final["done"]
        assert list(await listed(server.url)) == [QWEN]
        assert len(runners()) == 1


async def test_a_model_that_is_deleted_is_unknown_until_it_comes_back() -> None:
    async with serving(faults=Faults()) as server:
        await post(server.url, chat(MISTRAL, None))
        deleted = await call(server.url, "DELETE", "/api/delete", {"model": MISTRAL})
        assert (deleted.status, deleted.headers["Content-Length"]) == (200, "0")
        again = await call(server.url, "DELETE", "/api/delete", {"model": "alias:7b"})
        assert (again.status, again.chunks) == (404, TRACES["delete.unknown"]["chunks"])
        asked = await post(server.url, chat(MISTRAL))
        assert (asked.status, asked.final) == (404, {"error": f"model '{MISTRAL}' not found"})
        assert [tag["name"] for tag in (await call(server.url, "GET", "/api/tags")).final["models"]] == [QWEN]
        server.add(MISTRAL)
        assert (await post(server.url, chat(MISTRAL, options=SHORT))).final["done"]
        server.remove(MISTRAL)
        assert (await post(server.url, chat(MISTRAL))).status == 404


async def pull(url: str, model: str, **more: Any) -> Answer:
    return await call(url, "POST", "/api/pull", {"model": model, **more})


async def test_a_pull_says_what_it_does_and_then_the_model_is_served() -> None:
    async with serving(faults=Faults(), names=(QWEN,), pullable=(MISTRAL,)) as server:
        pulled = await pull(server.url, "Mistral:7B")
        assert (pulled.status, pulled.headers["Content-Type"]) == (200, "application/x-ndjson")
        first, *layers, verifying, writing, success = pulled.objects
        assert first == {"status": "pulling manifest"}
        assert [verifying, writing, success] == [
            {"status": "verifying sha256 digest"}, {"status": "writing manifest"}, {"status": "success"},
        ]  # fmt: skip
        assert list(layers[0]) == ["status", "digest", "total"]
        assert list(layers[1]) == ["status", "digest", "total", "completed"]
        assert layers[0]["status"] == f"pulling {layers[0]['digest'].removeprefix('sha256:')[:12]}"
        assert len({layer["digest"] for layer in layers}) == 2
        assert layers[-1]["completed"] == layers[-1]["total"]
        assert (await post(server.url, chat(MISTRAL, options=SHORT))).final["done"]


async def test_a_pull_of_an_unknown_model_fails_in_its_second_line() -> None:
    async with serving(faults=Faults(), pullable=()) as server:
        pulled = await pull(server.url, "nonsense:1b")
        assert pulled.status == 200
        assert pulled.objects[1:] == [{"error": "pull model manifest: file does not exist"}]
        whole = await pull(server.url, "nonsense:1b", stream=False)
        assert (whole.status, whole.final) == (500, pulled.final)
        assert (await pull(server.url, "no name")).status == 400


async def test_a_pull_that_broke_off_goes_on_where_it_ended() -> None:
    async with serving(faults=Faults(), names=(), pullable=(MISTRAL,)) as server:
        server.faults.pulls.append(Fault("drop", after=12))
        broken = await pull(server.url, MISTRAL)
        assert broken.end == "FIN without terminator"
        assert (await call(server.url, "GET", "/api/tags")).final["models"] == []
        again = await pull(server.url, MISTRAL)
        assert again.objects[1]["completed"] >= broken.final["completed"] > 0
        assert again.final == {"status": "success"}
