"""The pure steps with the real small model: what comes out is valid, complete and what the words asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from consumer.errors import ModelStalledLoop, WorkflowInvalid
from consumer.job import Attempt, Job, JobId, JsonObject
from consumer.ollama import Answer, ModelOptions, Ollama
from consumer.ports import CodeStep, ModelStep
from devstack.model import ModelServer
from handlers.graph import draw
from handlers.registry import handler_for
from schemas.catalog import Catalog
from schemas.validator import validate_workflow

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]
MODEL = "mistral:7b"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ollama() -> AsyncIterator[Ollama]:
    server = ModelServer(names=(MODEL,))
    await server.start()
    driver = Ollama(server.url, options=ModelOptions(num_ctx=4096))
    yield driver
    await driver.aclose()
    await server.stop()


async def ask(
    ollama: Ollama, step: ModelStep, work: Job, done: dict[str, JsonObject], attempt: int
) -> tuple[JsonObject, JsonObject]:
    """The step's value and the last preview. `OutputTruncated` would fail the test."""
    request, reader = step.request(work, done, attempt), step.reader()
    async with aclosing(ollama.chat(MODEL, request)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Answer):
                Draft202012Validator(request.schema).validate(json.loads(piece.text))
                return step.read(work, done, piece.text), reader.preview
            reader.feed(piece.text)
    raise AssertionError("the stream ended without an answer")


async def run(ollama: Ollama, work: Job) -> tuple[JsonObject, list[JsonObject]]:
    """As the engine does it: a stalled or invalid answer is asked for again, changed."""
    for attempt in range(3):
        with suppress(ModelStalledLoop, WorkflowInvalid):
            return await once(ollama, work, attempt)
    return await once(ollama, work, 3)


async def once(ollama: Ollama, work: Job, attempt: int) -> tuple[JsonObject, list[JsonObject]]:
    done: dict[str, JsonObject] = {}
    previews = []
    handler = handler_for(work.mode)
    for step in handler.steps:
        if isinstance(step, CodeStep):
            done[step.name] = step.run(work, done)
        else:
            done[step.name], preview = await ask(ollama, step, work, done, attempt)
            previews.append(preview)
    return handler.result(done), previews


def job(prompt: str, **columns: object) -> Job:
    values = {"id": JobId("job_1"), "attempt": Attempt(1), "prompt": prompt, "created_at": datetime.now(UTC), **columns}
    return Job.model_validate(values)


async def test_a_small_model_ends_in_a_valid_workflow(ollama: Ollama) -> None:
    work = job(
        "Every 5 minutes check https://status.example.org and if it fails, tell #ops on Slack, otherwise log it",
        config={"slackWebhookUrl": "https://hooks.example/T1"},
    )
    flow, previews = await run(ollama, work)
    assert validate_workflow(flow, Catalog.load()) == []
    assert [node["type"] for node in flow["nodes"]] == [
        "interval",
        "http_request",
        "if_else",
        "slack_message",
        "log_output",
    ]
    configs = {node["type"]: node["config"] for node in flow["nodes"]}
    assert configs["interval"] == {"interval": "5m"}
    assert configs["http_request"]["url"] == "https://status.example.org"
    assert configs["slack_message"]["channel"] == "#ops"
    assert configs["slack_message"]["webhookUrl"] == "https://hooks.example/T1"
    assert flow["requiredCredentials"] == []
    assert previews[0]["summary"] and len(previews[1]["nodes"]) == len(flow["nodes"])
    assert draw(flow).count("\n") == len(flow["nodes"])


async def test_a_prompt_in_another_language_that_says_little_ends_valid(ollama: Ollama) -> None:
    flow, _ = await run(ollama, job("毎朝9時に天気を取得して送信する"))
    assert validate_workflow(flow, Catalog.load()) == []
    assert flow["nodes"][0]["type"] == "schedule"


async def test_an_edit_by_a_small_model_loses_nothing(ollama: Ollama) -> None:
    before, _ = await run(ollama, job("When a webhook comes in, log it"))
    flow, _ = await run(ollama, job("Add a Telegram message after the log", mode="edit", current_workflow=before))
    assert validate_workflow(flow, Catalog.load(), previous=before) == []
    assert flow["nodes"][: len(before["nodes"])] == before["nodes"]
    assert flow["nodes"][-1]["type"] == "telegram"
    assert flow["explanation"]
