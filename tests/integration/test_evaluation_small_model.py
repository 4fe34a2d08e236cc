"""The evaluation with the real small model: the pipeline's workflows are valid, and the figures are the server's."""

from __future__ import annotations

import pytest

from consumer.cases import Case
from consumer.evaluation import evaluate
from consumer.model_settings import ModelSettings
from consumer.scores import Score
from devstack.model import ModelServer

pytestmark = pytest.mark.slow
CASES = (
    Case(id="alarm", prompt="Every 5 minutes get https://a.example.com and tell Slack", trigger="interval",
         nodes=("http_request", "slack_message")),
    Case(id="one-word", prompt="Slack", nodes=("slack_message",)),
)  # fmt: skip


async def test_two_prompts_end_valid_and_are_scored_with_the_servers_figures() -> None:
    server, told = ModelServer(names=("tiny:135m",)), list[Score]()
    await server.start()
    try:
        settings = ModelSettings(
            _env_file=None, ollama_local_url=server.url, ollama_num_ctx=4096, analyze_model="tiny:135m",
            generate_model="tiny:135m",
        )  # type: ignore[call-arg]  # fmt: skip
        figures = await evaluate(settings, CASES, "pipeline", lambda number, of, score: told.append(score))
    finally:
        await server.stop()
    assert [(score.id, score.valid) for score in told] == [("alarm", True), ("one-word", True)]
    assert figures.shares["trigger_right"].hits == 1
    assert figures.shares["nodes_found"].hits == 3
    assert figures.input_tokens > 200 and figures.output_tokens > 20
