"""The driver against the embedded model server: a real small model, real loads, real cancellation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import jsonschema
import pytest
import pytest_asyncio

from consumer.errors import (
    JobError,
    ModelNotFound,
    ModelOverloaded,
    ModelTimeout,
    ModelUnavailable,
    OutputTruncated,
    PromptTooLong,
    RequestRefused,
)
from consumer.ollama import Answer, Clocks, Delta, ModelOptions, Ollama
from consumer.ports import Message, ModelRequest
from devstack.model import Fault, Faults, ModelServer
from tests.ollama_replay import names

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 30}, "steps": {"enum": ["one", "two"]}},
    "required": ["name", "steps"],
}
REQUEST = ModelRequest(
    messages=(Message("system", "Answer in JSON."), Message("user", "Name a workflow.")),
    schema=SCHEMA,
    max_tokens=200,
    temperature=0.7,
    seed=3,
)
FAULTS = Faults()
MODEL = "mistral:7b"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[ModelServer]:
    running = ModelServer(faults=FAULTS)
    await running.start()
    yield running
    await running.stop()


@asynccontextmanager
async def driver(server: ModelServer, clocks: Clocks | None = None, num_ctx: int = 1024) -> AsyncIterator[Ollama]:
    ollama = Ollama(server.url, clocks=clocks or Clocks(), options=ModelOptions(num_ctx=num_ctx))
    try:
        yield ollama
    finally:
        FAULTS.queue.clear()
        await ollama.aclose()


async def ask(ollama: Ollama, request: ModelRequest = REQUEST, model: str = MODEL) -> tuple[list[Delta], Answer]:
    async with aclosing(ollama.chat(model, request)) as pieces:
        *deltas, answer = [piece async for piece in pieces]
    assert isinstance(answer, Answer)
    return [delta for delta in deltas if isinstance(delta, Delta)], answer


async def until(condition: Callable[[list[str]], bool], ollama: Ollama) -> None:
    """Wait for a state of the loaded models."""
    async with asyncio.timeout(30):
        while not condition(await names(ollama)):
            await asyncio.sleep(0.02)


async def test_a_preload_loads_and_the_chat_after_it_does_not_load_again(server: ModelServer) -> None:
    async with driver(server) as ollama:
        assert await ollama.version()
        assert {MODEL, "qwen2.5:7b"} <= set(await ollama.models())
        await ollama.unload(MODEL)
        await until(lambda loaded: loaded == [], ollama)
        spent = await ollama.preload(MODEL)
        assert await names(ollama) == [MODEL]
        _, answer = await ask(ollama)
        assert spent <= answer.figures.model_load_time_ms < 1.5 * spent
        _, answer = await ask(ollama)
        assert answer.figures.model_load_time_ms < spent


async def test_a_stream_is_bound_by_the_schema_and_counted_by_the_server(server: ModelServer) -> None:
    async with driver(server) as ollama:
        deltas, answer = await ask(ollama)
    assert answer.text == "".join(delta.text for delta in deltas)
    jsonschema.validate(json.loads(answer.text), SCHEMA)
    figures = answer.figures
    assert figures.output_tokens >= len(deltas) > 1
    assert figures.input_tokens > 0
    assert figures.tokens_per_second
    assert figures.time_to_first_token_ms > 0
    parts = figures.model_load_time_ms + figures.queue_time_ms + figures.prompt_time_ms + figures.inference_time_ms
    assert parts == pytest.approx(figures.total_time_ms)


async def test_a_second_model_takes_the_place_of_the_first(server: ModelServer) -> None:
    async with driver(server) as ollama:
        await ollama.preload(MODEL)
        await ollama.preload("qwen2.5:7b")
        assert await names(ollama) == ["qwen2.5:7b"]
        _, answer = await ask(ollama, model="qwen2.5:7b")
        assert answer.figures.model == "qwen2.5:7b"


async def test_an_answer_at_its_limit_is_truncated(server: ModelServer) -> None:
    async with driver(server) as ollama:
        with pytest.raises(OutputTruncated):
            await ask(ollama, replace(REQUEST, max_tokens=3))


async def test_a_prompt_over_the_context_is_refused_and_not_cut(server: ModelServer) -> None:
    long = replace(REQUEST, messages=(Message("user", "All work and no play makes a dull boy. " * 200),))
    async with driver(server) as ollama:
        with pytest.raises(PromptTooLong):
            await ask(ollama, long)


async def test_a_model_that_is_not_there_is_named_with_the_way_to_get_it(server: ModelServer) -> None:
    async with driver(server) as ollama:
        for call in (ollama.preload("nosuch"), ask(ollama, model="nosuch")):
            with pytest.raises(ModelNotFound, match="ollama pull nosuch"):
                await call


async def test_a_schema_that_no_grammar_can_hold_is_a_bug_and_no_reason_to_retry(server: ModelServer) -> None:
    async with driver(server) as ollama:
        with pytest.raises(RequestRefused):
            await ask(ollama, replace(REQUEST, schema={"type": "nosuchtype"}))


async def test_leaving_a_stream_frees_the_slot_for_the_next_call(server: ModelServer) -> None:
    async with driver(server) as ollama:
        FAULTS.queue.append(Fault("stall", after=3))
        async with aclosing(ollama.chat(MODEL, REQUEST)) as pieces:
            assert isinstance(await anext(pieces), Delta)
        _, answer = await ask(ollama)
        jsonschema.validate(json.loads(answer.text), SCHEMA)


async def test_a_cancelled_call_frees_the_slot_for_the_next_one(server: ModelServer) -> None:
    async with driver(server) as ollama:
        FAULTS.queue.append(Fault("stall"))
        call = asyncio.create_task(ask(ollama))
        await asyncio.sleep(0)
        while FAULTS.queue:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await ask(ollama)


@pytest.mark.parametrize(
    ("fault", "clocks", "clock"),
    [
        (Fault("stall"), Clocks(first_token=0.5), "first_token"),
        (Fault("stall", after=3), Clocks(between_tokens=0.5), "between_tokens"),
        (Fault("stall", after=3), Clocks(total=1), "total"),
    ],
)
async def test_a_clock_that_runs_out_closes_the_stream(
    server: ModelServer, fault: Fault, clocks: Clocks, clock: str
) -> None:
    async with driver(server) as patient, driver(server, clocks) as ollama:
        await patient.preload(MODEL)
        FAULTS.queue.append(fault)
        with pytest.raises(ModelTimeout) as raised:
            await ask(ollama)
        assert raised.value.clock == clock
        await ask(patient)


async def test_a_load_that_passes_its_clock_is_given_up_and_can_be_tried_again(server: ModelServer) -> None:
    async with driver(server, Clocks(load=0.02)) as ollama, driver(server) as patient:
        await patient.unload(MODEL)
        await until(lambda loaded: MODEL not in loaded, patient)
        with pytest.raises(ModelTimeout) as raised:
            await ollama.preload(MODEL)
        assert raised.value.clock == "load"
        await patient.preload(MODEL)
        assert await names(patient) == [MODEL]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("error", after=3), ModelUnavailable),
        (Fault("end", after=3), ModelUnavailable),
        (Fault("drop", after=3), ModelUnavailable),
        (Fault("drop"), ModelUnavailable),
        (Fault("refuse"), ModelOverloaded),
    ],
)
async def test_a_broken_answer_fails_and_the_next_one_is_whole(
    server: ModelServer, fault: Fault, error: type[JobError]
) -> None:
    async with driver(server) as ollama:
        await ollama.preload(MODEL)
        FAULTS.queue.append(fault)
        with pytest.raises(error):
            await ask(ollama)
        await ask(ollama)


async def test_a_server_that_went_away_is_unavailable_until_it_is_back() -> None:
    server = ModelServer()
    await server.start()
    async with driver(server) as ollama:
        await ollama.version()
        await server.stop()
        with pytest.raises(ModelUnavailable):
            await ollama.version()
        with pytest.raises(ModelUnavailable):
            await ask(ollama)
        await server.start()
        assert await ollama.version()
        await server.stop()
