"""Loading, evicting, waiting, cancelling and unloading in the embedded model server, with real loads."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from devstack.errors import DevStackError
from devstack.model import Faults, ModelServer, process
from devstack.model.models import model_file
from tests.integration.model_wire import (
    MISTRAL,
    QWEN,
    Answer,
    Call,
    call,
    calling,
    chat,
    generating,
    listed,
    post,
    received,
    recorded,
    runners,
    serving,
    until,
)

TRACES = {row["trace"]: row["response"] for row in recorded("0.33")}
LONG = {"num_predict": 150}
# Takes minutes: whatever is answered after it was cut off did not wait for it.
ENDLESS: dict[str, Any] = {
    "format": {"type": "array", "minItems": 200, "items": {"type": "string", "minLength": 100, "maxLength": 200}},
    "options": {"num_predict": -1},
}
LONG_TEXT = "Write a long story about a dragon."


@asynccontextmanager
async def reached(**options: Any) -> AsyncIterator[str]:
    """Where a server of its own is."""
    async with serving(**options) as server:
        yield server.url


@asynccontextmanager
async def streaming(url: str, model: str = MISTRAL) -> AsyncIterator[Any]:
    """A long answer that has begun."""
    async with calling(url, "POST", "/api/chat", chat(model, LONG_TEXT, options=LONG)) as long:
        await long.start()
        await long.next_chunk()
        yield long


def expiry(entry: dict[str, Any]) -> float:
    """Seconds from now until `expires_at`."""
    return (datetime.fromisoformat(entry["expires_at"]) - datetime.now(UTC)).total_seconds()


async def test_only_one_model_is_loaded_and_the_idle_one_is_evicted() -> None:
    async with reached() as url:
        for model in (MISTRAL, QWEN, MISTRAL):
            answer = await post(url, chat(model, options={"num_predict": 2}))
            assert answer.final["load_duration"] > 10_000_000
            assert list(await listed(url)) == [model]
            assert len(runners()) == 1


async def test_two_models_are_two_processes_when_both_may_be_loaded() -> None:
    async with reached(max_loaded=2) as url:
        await post(url, chat(MISTRAL, None))
        await post(url, chat(QWEN, None))
        assert set(await listed(url)) == {MISTRAL, QWEN}
        pids = {runner.pid for runner in runners()}
        assert len(pids) == 2
        assert (await post(url, chat(MISTRAL, options={"num_predict": 2}))).final["done"]
        assert {runner.pid for runner in runners()} == pids


async def test_a_model_is_listed_only_after_its_load() -> None:
    async with reached(faults=Faults(load_delay=0.3)) as url:
        load = asyncio.create_task(post(url, chat(MISTRAL, None)))
        seen: list[tuple[bool, list[str]]] = []
        while not load.done():
            seen.append((load.done(), list(await listed(url))))
            await asyncio.sleep(0.02)
        assert len(seen) > 5
        assert not any(names for _, names in seen[:-2])
        entry = (await listed(url))[MISTRAL]
        assert (entry["size_vram"], entry["context_length"]) == (0, 512)
        assert entry["size"] > 98_000_000


async def test_another_num_ctx_or_shift_reloads_and_sampling_does_not() -> None:
    async with reached() as url:
        pids = []
        for options, shift in (({}, True), ({"temperature": 1.0, "seed": 3}, True), ({"num_ctx": 1024}, True),
                               ({"num_ctx": 1024}, False), ({"num_ctx": 1024, "num_thread": 2}, False)):  # fmt: skip
            await post(url, chat(MISTRAL, options={"num_predict": 2} | options, shift=shift))
            pids.append(runners()[0].pid)
        assert pids[0] == pids[1]
        assert len(set(pids)) == 4


async def test_a_busy_model_is_finished_before_it_is_evicted() -> None:
    async with reached() as url, streaming(url) as long:
        other = asyncio.create_task(post(url, chat(QWEN, options={"num_predict": 2})))
        await until(lambda: moving(url))
        rest = await long.rest()
        assert rest.final["done"]
        second = await other
        assert second.final["done"]
        assert second.final["load_duration"] > rest.final["total_duration"] / 4
        assert list(await listed(url)) == [QWEN]


async def moving(url: str) -> bool:
    """Whether the busy model's `expires_at` is now at every look: it waits to be evicted."""
    return abs(expiry((await listed(url))[MISTRAL])) < 1


async def test_waiting_for_the_slot_of_a_busy_model_is_in_no_figure_but_the_total() -> None:
    async with reached() as url:
        async with streaming(url) as long:
            waiter = asyncio.create_task(post(url, chat(MISTRAL, options={"num_predict": 2})))
            await long.rest()
        final = (await waiter).final
        parts = sum(final[name] for name in ("load_duration", "prompt_eval_duration", "eval_duration"))
        assert final["load_duration"] < final["total_duration"] / 4
        assert final["total_duration"] - parts > final["eval_duration"]


async def test_two_models_under_load_both_get_answers() -> None:
    """The three requests that hang a real Ollama for good (#17408)."""
    async with reached() as url, asyncio.timeout(90):
        async with streaming(url) as long:
            names = (QWEN, MISTRAL)
            others = [asyncio.create_task(post(url, chat(name, options={"num_predict": 2}))) for name in names]
            await long.rest()
        answers = await asyncio.gather(*others)
        assert all(answer.final["done"] for answer in answers)


async def test_a_client_that_goes_away_frees_the_slot() -> None:
    async with reached() as url, asyncio.timeout(60):
        async with calling(url, "POST", "/api/chat", chat(MISTRAL, **ENDLESS)) as endless:
            await endless.start()
            await endless.next_chunk()
        next_one = await post(url, chat(MISTRAL, "Say hi.", options={"num_predict": 2}))
        assert next_one.final["done_reason"] == "length"


async def test_a_client_that_gives_up_on_a_whole_answer_frees_the_slot() -> None:
    async with reached() as url, asyncio.timeout(60):
        await post(url, chat(MISTRAL, None))
        async with calling(url, "POST", "/api/chat", chat(MISTRAL, stream=False, **ENDLESS)):
            await until(generating)
        assert (await post(url, chat(MISTRAL, options={"num_predict": 2}))).final["done"]


async def test_a_waiting_client_that_goes_away_is_skipped() -> None:
    async with reached() as url, streaming(url) as long:
        pids = [runner.pid for runner in runners()]
        async with calling(url, "POST", "/api/chat", chat(QWEN, **ENDLESS)):
            await until(lambda: moving(url))
        await until(lambda: not_moving(url))
        async with calling(url, "POST", "/api/chat", chat(MISTRAL, **ENDLESS)):
            await received(url)
        final = (await long.rest()).final
        third = await post(url, chat(MISTRAL, options={"num_predict": 2}))
        assert final["done"]
        assert third.final["done"]
        assert [runner.pid for runner in runners()] == pids
        assert list(await listed(url)) == [MISTRAL]


async def not_moving(url: str) -> bool:
    return expiry((await listed(url))[MISTRAL]) > 200


async def test_a_client_that_goes_away_while_its_model_loads_aborts_the_load() -> None:
    async with reached(faults=Faults(load_delay=0.2)) as url:
        async with calling(url, "POST", "/api/chat", chat(MISTRAL)):
            await until(runners)
        await until(lambda: not runners())
        assert await listed(url) == {}
        assert (await post(url, chat(MISTRAL, options={"num_predict": 2}))).final["done"]


async def test_an_idle_model_is_unloaded_after_keep_alive_and_each_request_starts_it_anew() -> None:
    async with reached(keep_alive=0.4) as url:
        await post(url, chat(MISTRAL, None))
        assert 0 < expiry((await listed(url))[MISTRAL]) <= 0.4
        await until(lambda: not runners())
        assert await listed(url) == {}
        await post(url, chat(MISTRAL, options={"num_predict": 2}, keep_alive="1h"))
        await post(url, chat(MISTRAL, options={"num_predict": 2}))
        assert expiry((await listed(url))[MISTRAL]) > 3500
        await post(url, chat(MISTRAL, None, keep_alive=-1))
        assert (await listed(url))[MISTRAL]["expires_at"] > "2300"


async def test_an_unload_of_a_busy_model_lets_it_finish_and_serves_what_was_sent_meanwhile() -> None:
    async with reached() as url, streaming(url) as long:
        unload = await post(url, chat(MISTRAL, None, keep_alive=0))
        assert unload.final["done_reason"] == "unload"
        first = (await listed(url))[MISTRAL]["expires_at"]
        meanwhile = asyncio.create_task(post(url, chat(MISTRAL, options={"num_predict": 2})))
        await received(url)
        assert (await listed(url))[MISTRAL]["expires_at"] == first
        assert expiry((await listed(url))[MISTRAL]) <= 0
        final = (await long.rest()).final
        assert final["done"]
        assert (await meanwhile).final["load_duration"] < final["total_duration"] / 4
        await until(lambda: not runners())
        assert await listed(url) == {}


async def test_more_waiting_loads_than_the_queue_holds_are_refused() -> None:
    async with reached(max_queue=1) as url, streaming(url):
        tasks = [asyncio.create_task(post(url, chat(QWEN))) for _ in range(4)]
        answered, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for refused in (task.result() for task in answered):
            assert (refused.status, refused.chunks) == (503, TRACES["queue.other.4"]["chunks"])
        assert waiting
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_a_killed_runner_ends_its_stream_with_the_recorded_line_and_its_waiter_with_a_500() -> None:
    async with reached() as url:
        async with streaming(url) as long:
            waiter = asyncio.create_task(post(url, chat(MISTRAL)))
            for _ in range(20):  # meanwhile the runner has said that it lives, and the waiter waits for its slot
                await long.next_chunk()
            runners()[0].kill()
            ended = await long.rest()
            refused = await waiter
        assert ended.chunks[-1] == TRACES["kill.streaming_request"]["chunks"][-1]
        assert ended.end == "chunked terminator"
        assert (refused.status, refused.chunks) == (500, TRACES["kill.waiting_request"]["chunks"])
        await post(url, chat(MISTRAL, None))
        whole = asyncio.create_task(post(url, chat(MISTRAL, LONG_TEXT, stream=False, options=LONG)))
        await until(generating)
        runners()[0].kill()
        assert (await whole).chunks == TRACES["kill.runner_sigkill.stream_false"]["chunks"]
        assert (await post(url, chat(MISTRAL, options={"num_predict": 2}))).final["load_duration"] > 10_000_000


async def test_a_runner_killed_while_it_loads_is_a_500() -> None:
    async with reached() as url:
        load = asyncio.create_task(post(url, chat(MISTRAL)))
        await until(runners)
        runners()[0].kill()
        answer = await load
        assert (answer.status, answer.chunks) == (500, TRACES["kill.while_loading"]["chunks"])


async def test_a_file_that_cannot_be_loaded_is_a_500_with_the_reason(tmp_path: Path, monkeypatch: Any) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but not really" * 100)
    monkeypatch.setattr("devstack.model.server.model_file", lambda: broken)
    async with reached() as url:
        answer = await post(url, chat(MISTRAL))
        assert answer.status == 500
        assert answer.final["error"]
        assert (await call(url, "GET", "/api/version")).status == 200


async def test_stop_breaks_streams_off_and_leaves_no_process_thread_or_port() -> None:
    threads = threading.active_count()
    server = ModelServer()
    await server.start()
    port = int(server.url.rsplit(":", 1)[1])
    async with streaming(server.url) as long:
        await server.stop()
        broken = await cut_off(long)
    assert broken.end == "FIN without terminator"
    assert not broken.final["done"]
    assert not runners()
    assert port not in {socket.laddr.port for socket in psutil.Process().net_connections("tcp")}
    await until(lambda: threading.active_count() <= threads)


async def cut_off(sent: Call) -> Answer:
    """What there is of an answer whose connection broke, by FIN or by RST."""
    try:
        return await sent.rest()
    except ConnectionError:
        return sent.answer


async def test_it_starts_again_after_a_stop_on_the_same_port() -> None:
    server = ModelServer()
    await server.start()
    first = server.url
    await server.stop()
    await server.stop()
    await server.start()
    assert server.url == first
    assert (await call(server.url, "GET", "/")).chunks == ["Ollama is running"]
    await server.stop()


async def test_a_taken_port_is_named_with_the_way_out() -> None:
    async with reached() as url:
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(DevStackError, match=f"{port}.*choose another port"):
            await ModelServer(port=port).start()


KILLED = """
import asyncio, os, sys
from devstack.model import ModelServer
import httpx
async def main():
    server = ModelServer(); await server.start()
    async with httpx.AsyncClient() as client:
        await client.post(server.url + "/api/chat", json={"model": "mistral:7b"}, timeout=60)
    print("loaded", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_a_killed_program_leaves_no_runner_behind() -> None:
    program = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert program.stdout is not None
    assert await asyncio.to_thread(program.stdout.readline) == b"loaded\n"
    orphans = psutil.Process(program.pid).children()
    assert len(orphans) == 1
    program.kill()
    program.wait()
    await until(lambda: not orphans[0].is_running() or orphans[0].status() == psutil.STATUS_ZOMBIE)


def test_a_runner_whose_parent_dies_during_the_load_ends() -> None:
    wanted = json.dumps({"model": str(model_file()), "num_ctx": 8192, "shift": False}).encode() + b"\n"
    command = [sys.executable, "-P", process.__file__]
    for _ in range(6):  # without its hard exit, one in four hung in llama.cpp's clean-up
        runner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert runner.stdin is not None and runner.stdout is not None
        runner.stdin.write(wanted)
        runner.stdin.close()
        runner.stdout.close()
        runner.wait(60)
