"""The driver against a server that plays recorded replies back over TCP, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest

from consumer.errors import (
    ConfigurationError,
    InternalError,
    JobError,
    ModelNotFound,
    ModelStalledLoop,
    ModelTimeout,
    ModelUnavailable,
    OutputNotJson,
    OutputTruncated,
    RequestRefused,
)
from consumer.ollama import Answer, Clocks, Delta, ModelOptions, Ollama
from consumer.ports import Message, ModelRequest
from tests.ollama_replay import RECORDED, Cutter, Recording, ReplayServer, every, names, says, whole

REQUEST = ModelRequest(
    messages=(Message("system", "Be brief."), Message("user", "naïve \ud800 prompt")),
    schema={"type": "object"},
    max_tokens=64,
    temperature=0.25,
    seed=7,
)
OPTIONS = ModelOptions(num_ctx=2048, keep_alive="-1", extra={"num_thread": 1})
PRELOADED = RECORDED["0.33/preload.stream_false"]


@asynccontextmanager
async def driver(server: ReplayServer, clocks: Clocks | None = None) -> AsyncIterator[Ollama]:
    ollama = Ollama(server.url, clocks=clocks or Clocks(), options=OPTIONS)
    try:
        yield ollama
    finally:
        await ollama.aclose()


async def ask(ollama: Ollama, model: str = "mistral:7b") -> list[Delta | Answer]:
    async with aclosing(ollama.chat(model, REQUEST)) as pieces:
        return [piece async for piece in pieces]


async def error_of(call: Awaitable[object]) -> JobError:
    with pytest.raises(JobError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize("cut", [whole, every(1), every(7), every(173)], ids=["whole", "1", "7", "173"])
@pytest.mark.parametrize("frame", [None, 1, 11])
async def test_a_stream_gives_the_same_answer_however_tcp_and_http_cut_it(cut: Cutter, frame: int | None) -> None:
    async with ReplayServer(RECORDED["0.33/chat.utf8.nel"], cut=cut, frame=frame) as server, driver(server) as ollama:
        *deltas, answer = await ask(ollama)
    assert isinstance(answer, Answer)
    assert answer.text == "".join(delta.text for delta in deltas if isinstance(delta, Delta))
    assert "\u0085" in answer.text
    assert answer.figures.input_tokens == 10


async def test_a_chat_sends_everything_that_a_server_would_otherwise_decide() -> None:
    async with ReplayServer(says("{}")) as server, driver(server) as ollama:
        await ask(ollama)
        assert server.requests == [
            (
                "/api/chat",
                {
                    "model": "mistral:7b",
                    "messages": [
                        {"role": "system", "content": "Be brief."},
                        {"role": "user", "content": "naïve \ud800 prompt"},
                    ],
                    "format": {"type": "object"},
                    "stream": True,
                    "think": False,
                    "truncate": False,
                    "shift": False,
                    "keep_alive": -1,
                    "options": {"num_ctx": 2048, "num_thread": 1, "num_predict": 64, "temperature": 0.25, "seed": 7},
                },
            )
        ]
        assert "user-agent: workflow-consumer" in server.heads[0].lower()


async def test_a_preload_loads_with_the_options_of_the_chat_that_follows() -> None:
    async with ReplayServer(PRELOADED, says("{}")) as server, driver(server) as ollama:
        spent = await ollama.preload("mistral:7b")
        answer = (await ask(ollama))[-1]
        (_, preload), (_, chat) = server.requests
    assert preload["messages"] == []
    assert preload["options"].items() <= chat["options"].items()
    assert (preload["shift"], preload["keep_alive"]) == (chat["shift"], chat["keep_alive"])
    assert isinstance(answer, Answer)
    assert answer.figures.model_load_time_ms == spent == answer.figures.total_time_ms


async def test_a_preload_counts_once_and_for_its_own_model_only() -> None:
    async with ReplayServer(PRELOADED, says("{}")) as server, driver(server) as ollama:
        spent = await ollama.preload("mistral")
        answers = [(await ask(ollama, model))[-1] for model in ("qwen2.5", "Mistral:latest", "mistral")]
    assert [answer.figures.model_load_time_ms for answer in answers if isinstance(answer, Answer)] == [0, spent, 0]


@pytest.mark.parametrize("generation", ["0.24", "0.33"])
async def test_lists_come_by_canonical_name(generation: str) -> None:
    replies = [RECORDED[f"{generation}/{name}"] for name in ("version", "tags", "ps.name.full", "ps.nothing_loaded")]
    async with ReplayServer(*replies) as server, driver(server) as ollama:
        assert (await ollama.version()).startswith(generation)
        models = await ollama.models()
        assert set(models) == {"mistral:7b", "qwen2.5:7b", "native:latest"}
        assert all(len(digest) == 64 for digest in models.values())
        assert await names(ollama) == ["mistral:7b"]
        assert await names(ollama) == []


async def test_an_unload_asks_for_nothing_else() -> None:
    async with ReplayServer(RECORDED["0.33/unload.stream_false"]) as server, driver(server) as ollama:
        await ollama.unload("mistral:7b")
        assert server.requests == [
            ("/api/chat", {"model": "mistral:7b", "messages": [], "keep_alive": 0, "stream": False})
        ]


@pytest.mark.parametrize("generation", ["0.24", "0.33"])
@pytest.mark.parametrize(
    ("trace", "error"),
    [
        ("err.unknown_model", ModelNotFound),
        ("err.option_type.num_ctx_string", RequestRefused),
        ("kill.waiting_request", ModelUnavailable),
        ("kill.runner_sigkill.midstream", ModelUnavailable),
        ("server.sigkill.midstream", ModelUnavailable),
        ("server.sigterm.waiting", ModelUnavailable),
        ("host_header_foreign", ModelUnavailable),
        ("repeat.same_token.rendered", ModelStalledLoop),
        ("chat.length", OutputTruncated),
    ],
)
async def test_a_recorded_failure_has_its_class(generation: str, trace: str, error: type[JobError]) -> None:
    async with ReplayServer(RECORDED[f"{generation}/{trace}"], cut=every(50)) as server, driver(server) as ollama:
        assert type(await error_of(ask(ollama))) is error


@pytest.mark.parametrize("cut_at", range(0, 400, 13))
async def test_a_reply_cut_off_anywhere_is_an_unavailable_server(cut_at: int) -> None:
    wire = RECORDED["0.33/chat.utf8.nel"].wire()

    def first(data: bytes) -> list[bytes]:
        return [data[:cut_at]]

    assert len(wire) > 400
    async with ReplayServer(RECORDED["0.33/chat.utf8.nel"], cut=first) as server, driver(server) as ollama:
        assert type(await error_of(ask(ollama))) is ModelUnavailable


async def test_nobody_there_is_said_with_the_way_out() -> None:
    async with ReplayServer(PRELOADED) as server:
        url = server.url
    ollama = Ollama(url.replace("http://", "http://user:secret@"), clocks=Clocks(), options=OPTIONS)
    calls: list[Callable[[], Awaitable[object]]] = [
        ollama.version, ollama.models, ollama.ps, lambda: ask(ollama),
        lambda: ollama.preload("mistral:7b"), lambda: ollama.unload("mistral:7b"),
    ]  # fmt: skip
    for call in calls:
        error = await error_of(call())
        assert type(error) is ModelUnavailable
        assert "OLLAMA_LOCAL_URL" in str(error)
        assert "secret" not in str(error)
    await ollama.aclose()


@pytest.mark.parametrize("url", ["", "localhost:11434", "ftp://x", "http://[::1", "http://", "http://127.0.0.1:99999"])
def test_a_url_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"OLLAMA_LOCAL_URL: .*http://127.0.0.1:11434"):
        Ollama(url, clocks=Clocks(), options=OPTIONS)


@pytest.mark.parametrize(
    "trace", ["unknown_route", "wrong_method", "chat.length", "repeat.same_token.rendered.stream_false"]
)
async def test_a_preload_that_is_not_answered_as_one_has_failed(trace: str) -> None:
    async with ReplayServer(RECORDED[f"0.33/{trace}"]) as server, driver(server) as ollama:
        assert type(await error_of(ollama.preload("mistral:7b"))) is ModelUnavailable


async def test_an_error_with_status_200_fails_a_preload_too() -> None:
    refused = replace(PRELOADED, body=('{"error":"model \'x\' not found"}',), status=404)
    async with ReplayServer(refused, replace(refused, status=200)) as server, driver(server) as ollama:
        assert type(await error_of(ollama.preload("x"))) is ModelNotFound
        assert type(await error_of(ollama.preload("x"))) is ModelUnavailable


@pytest.mark.parametrize(
    ("clocks", "recording", "clock"),
    [
        (Clocks(first_token=0.05), replace(RECORDED["0.33/hang.runner_sigstop"], body=()), "first_token"),
        (Clocks(between_tokens=0.05), RECORDED["0.33/hang.runner_sigstop"], "between_tokens"),
        (Clocks(total=0.05), RECORDED["0.33/hang.runner_sigstop"], "total"),
        (Clocks(total=0.05), replace(RECORDED["0.33/hang.runner_sigstop"], status=None), "total"),
        (Clocks(first_token=0.05), replace(RECORDED["0.33/hang.runner_sigstop"], status=None), "first_token"),
    ],
)
async def test_each_clock_stops_a_hung_answer_and_says_its_name(
    clocks: Clocks, recording: Recording, clock: str
) -> None:
    async with ReplayServer(recording) as server, driver(server, clocks) as ollama:
        error = await error_of(ask(ollama))
        assert isinstance(error, ModelTimeout)
        assert error.clock == clock
        await asyncio.wait_for(server.left.wait(), 5)


async def test_the_load_clock_bounds_a_preload_and_nothing_else_does() -> None:
    hung = replace(RECORDED["0.33/hang.runner_sigstop"], status=None)
    async with ReplayServer(hung) as server, driver(server, Clocks(load=0.05, first_token=0, total=0)) as ollama:
        error = await error_of(ollama.preload("mistral:7b"))
        assert isinstance(error, ModelTimeout)
        assert error.clock == "load"
        await asyncio.wait_for(server.left.wait(), 5)


async def test_a_stream_that_keeps_coming_is_bounded_by_the_total_clock() -> None:
    endless = replace(says(*(f"word {number} " for number in range(20_000))), end="hang")
    async with ReplayServer(endless, cut=every(40)) as server, driver(server, Clocks(total=0.2)) as ollama:
        error = await error_of(ask(ollama))
        assert isinstance(error, ModelTimeout)
        assert error.clock == "total"


async def test_leaving_a_stream_closes_it_on_the_server() -> None:
    async with ReplayServer(RECORDED["0.33/hang.runner_sigstop"]) as server, driver(server) as ollama:
        async with aclosing(ollama.chat("mistral:7b", REQUEST)) as pieces:
            assert await anext(pieces) == Delta("Once")
        await asyncio.wait_for(server.left.wait(), 5)


@pytest.mark.parametrize("status", [200, None])
async def test_a_cancelled_caller_is_cancelled_and_the_stream_closed(status: int | None) -> None:
    hung = replace(RECORDED["0.33/hang.runner_sigstop"], status=status)
    async with ReplayServer(hung) as server, driver(server) as ollama:
        call = asyncio.create_task(ask(ollama))
        await asyncio.wait_for(server.sent.wait(), 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.left.wait(), 5)


async def test_an_error_of_the_caller_passes_through_and_closes_the_stream() -> None:
    async with ReplayServer(RECORDED["0.33/hang.runner_sigstop"]) as server, driver(server) as ollama:
        with pytest.raises(ZeroDivisionError):
            async with aclosing(ollama.chat("mistral:7b", REQUEST)) as pieces:
                async for _ in pieces:
                    raise ZeroDivisionError
        await asyncio.wait_for(server.left.wait(), 5)


async def test_a_looping_model_is_cut_off_while_it_streams() -> None:
    looping = replace(says(*["la "] * 200), end="hang")
    async with ReplayServer(looping) as server, driver(server) as ollama:
        assert type(await error_of(ask(ollama))) is ModelStalledLoop
        await asyncio.wait_for(server.left.wait(), 5)


async def test_an_answer_longer_than_the_schema_allows_is_cut_off_while_it_streams() -> None:
    rambling = replace(says("Sure! ", "Here is ", "what I think ", "of it. "), end="hang")
    async with ReplayServer(rambling) as server, driver(server) as ollama:
        async with aclosing(ollama.chat("mistral:7b", replace(REQUEST, max_chars=20))) as pieces:
            assert [(await anext(pieces)), (await anext(pieces))] == [Delta("Sure! "), Delta("Here is ")]
            assert type(await error_of(anext(pieces))) is OutputNotJson
        await asyncio.wait_for(server.left.wait(), 5)


async def test_a_request_without_a_limit_is_never_sent() -> None:
    async with ReplayServer(says("{}")) as server, driver(server) as ollama:
        with pytest.raises(InternalError, match="max_tokens"):
            await anext(ollama.chat("mistral:7b", replace(REQUEST, max_tokens=0)))
        assert server.requests == []


async def test_a_body_without_end_is_not_kept() -> None:
    huge = replace(PRELOADED, body=(json.dumps({"done": "x" * 9_000_000}),))
    async with ReplayServer(huge, cut=every(65_536)) as server, driver(server) as ollama:
        assert "no Ollama" in str(await error_of(ollama.preload("mistral:7b")))


async def test_a_server_on_this_machine_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with ReplayServer(RECORDED["0.33/version"]) as server, driver(server) as ollama:
        assert await ollama.version() == "0.33.0-rc2"
