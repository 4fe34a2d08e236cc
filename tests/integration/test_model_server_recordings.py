"""The embedded model server answers what a real Ollama 0.33 was recorded to answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from devstack.model import ModelServer
from tests.integration.model_wire import Answer, call, recorded

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACES = {row["trace"]: row for row in recorded("0.33")}
GROUPS = ("root.", "ps.nothing", "show.", "unknown_", "wrong_", "host_", "err.", "name.", "preload", "unload.",
          "keep_alive.", "chat.", "generate.", "format.", "repeat.", "reload.", "ctx.")  # fmt: skip
LEFT_OUT = {
    "err.logprobs": "not offered",
    "keep_alive.expiry": "test_model_server_loads waits for an expiry",
    "chat.num_predict_0": "ends when the model likes; test_model_requests checks the limit",
    "chat.during_unload": "test_model_server_loads plays the whole scene",
    "unload.while_streaming": "test_model_server_loads plays the whole scene",
    "ctx.fill.shift_default.rendered": "long; test_model_server_answers has a short one",
    "ctx.fill.shift_false.rendered": "long; test_model_server_answers has a short one",
}
REPLAYED = [name for name in TRACES if name.startswith(GROUPS) and name not in LEFT_OUT]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    server = ModelServer()
    await server.start()
    yield server.url
    await server.stop()


async def test_what_is_left_out_is_in_the_recordings() -> None:
    assert set(LEFT_OUT) <= set(TRACES)
    assert len(REPLAYED) > 80


@pytest.mark.parametrize("trace", REPLAYED)
async def test_it_answers_as_recorded(url: str, trace: str) -> None:
    await replay(url, TRACES[trace])
    if follow_up := TRACES.get(f"ps.{trace}"):
        await replay(url, follow_up)


async def replay(url: str, row: dict[str, Any]) -> None:
    request, expected = row["request"], row["response"]
    answer = await call(url, request["method"], request["path"], request["body"], request["headers"])
    assert (answer.status, answer.end) == (expected["status"], expected["end"])
    headers = {"Content-Length": "same", **answer.headers} if "Content-Length" in answer.headers else answer.headers
    assert headers.get("Content-Type") == expected["headers"].get("Content-Type")
    assert ("Content-Length" in headers) == ("Content-Length" in expected["headers"])
    assert answer.headers["X-Devstack"] == "embedded development model"
    compare(answer, expected["chunks"], streamed=expected["headers"].get("Content-Type") == "application/x-ndjson")


def compare(answer: Answer, chunks: list[Any], *, streamed: bool) -> None:
    if answer.status != 200 or "json" not in answer.headers.get("Content-Type", ""):
        assert "".join(answer.chunks) == "".join(chunks)
        return
    assert all(chunk.endswith("\n") == streamed and "\n" not in chunk[:-1] for chunk in answer.chunks)
    if chunks:
        assert shape(answer.chunks[0]) == shape(chunks[0])
        assert shape(answer.chunks[-1]) == shape(chunks[-1])


def shape(chunk: str) -> Any:
    return masked(json.loads(chunk))


def masked(value: Any, key: str = "") -> Any:
    """Keys in their order and the values that are the same in every run; everything else by its type."""
    if isinstance(value, dict):
        return [(name, masked(item, name)) for name, item in value.items()]
    if key in ("model", "name", "role", "done", "done_reason", "size_vram", "context_length", "error"):
        return value
    if key == "models":
        return [masked(item) for item in value]
    return type(value).__name__


async def test_the_lists_have_the_recorded_keys(url: str) -> None:
    for trace in ("version", "tags"):
        answer = await call(url, "GET", TRACES[trace]["request"]["path"])
        ours, theirs = answer.final, json.loads(TRACES[trace]["response"]["chunks"][0])
        assert list(ours) == list(theirs)
        for model in ours.get("models", ()):
            assert list(model) == list(theirs["models"][0])
            assert list(model["details"]) == list(theirs["models"][0]["details"])


async def test_it_says_what_it_is(url: str) -> None:
    version = (await call(url, "GET", "/api/version")).final["version"]
    assert version == "0.33.0-devstack"
    tags = (await call(url, "GET", "/api/tags")).final["models"]
    assert [tag["name"] for tag in tags] == ["mistral:7b", "qwen2.5:7b"]
    assert len({tag["digest"] for tag in tags}) == 2
    shown = (await call(url, "POST", "/api/show", {"model": "qwen2.5:7b"})).final
    assert "embedded development model" in shown["details"]["family"]
    assert "{{ .Content }}" in shown["template"]
    assert shown["model_info"]["llama.context_length"] == 8192


async def test_the_repeat_guard_strikes_after_as_many_chunks(url: str) -> None:
    row = TRACES["repeat.same_token.rendered"]
    answer = await call(url, "POST", "/api/chat", row["request"]["body"])
    chunks = row["response"]["chunks"]
    assert len(answer.chunks) == sum(chunk["cut"] if isinstance(chunk, dict) else 1 for chunk in chunks)
    assert not any(part["done"] for part in answer.objects)
