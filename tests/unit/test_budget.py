"""What a prompt weighs, and what a server's count of it gives away; the counts are recorded ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace

import pytest
from loguru import logger

from consumer.budget import Budget, PromptSize
from consumer.errors import OutputTruncated, PromptTooLong
from consumer.ollama import Answer, ModelOptions, Ollama
from consumer.ports import Message, ModelRequest
from tests.ollama_replay import RECORDED, Recording, ReplayServer

FOX = "The quick brown fox jumps over the lazy dog near the river bank while the sun sets. "
# The prompts of the recordings: `ctx.over` has 40 times the fox; `ctx.over.history` about 64 times, in several turns.
OVER, HISTORY = FOX * 40, FOX * 64
GENERATIONS = ["0.24", "0.33"]


def asks(prompt: str, max_tokens: int = 16) -> ModelRequest:
    return ModelRequest((Message("user", prompt),), {"type": "object"}, max_tokens, 0.0, 7)


def size(prompt: str) -> PromptSize:
    return PromptSize.of(asks(prompt).messages)


def counted(trace: str) -> int:
    return int(json.loads(RECORDED[trace].body[-1])["prompt_eval_count"])


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(
    ("trace", "prompt"), [("ctx.over.default.rendered", OVER), ("ctx.over.history.default.rendered", HISTORY)]
)
def test_a_prompt_that_a_recorded_server_cut_is_suspected(generation: str, trace: str, prompt: str) -> None:
    assert Budget(512).cut("m", size(prompt), counted(f"{generation}/{trace}"))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_prompt_that_a_recorded_server_took_whole_is_not_suspected(generation: str) -> None:
    whole = (FOX * 22)[:1885]
    assert not Budget(512).cut("m", size(whole), counted(f"{generation}/ctx.fill.shift_false.rendered"))


@pytest.mark.parametrize(("tokens", "suspected"), [(256, False), (257, True), (259, True), (511, True), (512, True)])
def test_counts_at_the_edges_at_which_servers_cut_are_suspected(tokens: int, suspected: bool) -> None:
    # A script whose cost per character nobody knows: the count is compared with the edges only.
    assert Budget(512).cut("m", size("天気" * 400), tokens) is suspected


def test_a_prompt_shorter_than_the_edge_was_not_cut_there() -> None:
    assert not Budget(8192).cut("m", size(FOX * 40), 730)
    assert not Budget(1400).cut("m", size("天" * 200), 702)
    assert Budget(1400).cut("m", size("天" * 600), 702)


def test_a_server_that_leaves_the_count_out_says_nothing() -> None:
    assert not Budget(512).cut("m", size(OVER), 0)


def test_a_short_prompt_is_mostly_template_and_teaches_nothing() -> None:
    budget = Budget(8192)
    assert not budget.cut("m", size("Hi"), 10)
    assert not budget.cut("m", size("Hi, " * 50), 8)
    assert budget.estimate("m", size(OVER)) == size(OVER).weight // 4


def test_the_ratio_is_learnt_per_model_and_not_from_a_suspected_count() -> None:
    budget, whole = Budget(8192), size(OVER)
    before = budget.estimate("m", whole)
    for _ in range(50):
        assert not budget.cut("m", whole, 721)
        assert budget.cut("m", whole, 300)
    assert budget.estimate("other", whole) == before > budget.estimate("m", whole)
    assert budget.estimate("m", whole) == pytest.approx(721, rel=0.01)


# Tokens that SmolLM2's tokenizer makes of these texts, measured with the embedded model.
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (OVER, 721),
        ("Wenn das Formular abgeschickt wird, prüfe den Betrag und bitte um Freigabe in Slack, sonst füge eine Zeile "
         "in Google Sheets hinzu. " * 20, 921),
        ("Когда форма отправлена и сумма большая, попроси подтверждение в Slack. " * 20, 1021),
        ("毎朝天気を調べてスラックに送ってください。" * 40, 1600),
        ("a" + " " * 3000 + "b", 50),
        ("=" * 3000, 49),
        ("7" * 3000, 3000),
        ("internationalization responsibilities communication characteristics understanding " * 60, 360),
    ],
)  # fmt: skip
def test_no_measured_text_is_refused_where_it_fits(text: str, tokens: int) -> None:
    for taught in (300, 721, 900):
        budget = Budget(tokens + 40)
        budget.cut("m", size(OVER), taught)
        budget.admit("m", asks(text, max_tokens=10))


def test_a_prompt_that_cannot_fit_is_refused_with_the_numbers_and_the_way_out() -> None:
    with pytest.raises(PromptTooLong) as raised:
        Budget(2048).admit("mistral:7b", asks(OVER, max_tokens=1600))
    assert str(raised.value) == (
        "the prompt for 'mistral:7b' has at least 566 tokens, and with 1600 for the answer that passes num_ctx 2048: "
        "raise OLLAMA_NUM_CTX or shorten the prompt"
    )
    Budget(2048).admit("mistral:7b", asks(OVER, max_tokens=1400))


def test_a_token_of_prose_and_one_of_json_weigh_nearly_the_same() -> None:
    rows = json.dumps([{"id": f"slack_message_{i}", "position": {"x": i * 100, "y": 200}} for i in range(60)])
    # Measured with the embedded model: 721 and 1,959 tokens. In characters, one weighs 2.4 times the other.
    assert len(OVER) / 721 > 2.4 * len(rows) / 1959
    assert size(OVER).weight / 721 < 1.5 * size(rows).weight / 1959


@contextmanager
def warnings() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    try:
        yield lines
    finally:
        logger.remove(sink)


async def chat(recording: Recording, request: ModelRequest) -> Answer:
    async with ReplayServer(recording) as server:
        ollama = Ollama(server.url, options=ModelOptions(num_ctx=512))
        async with aclosing(ollama.chat("mistral:7b", request)) as pieces:
            *_, last = [piece async for piece in pieces]
        await ollama.aclose()
    assert isinstance(last, Answer)
    return last


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("trace", ["ctx.over.default.rendered", "ctx.fill.shift_false.rendered"])
async def test_a_cut_prompt_is_marked_in_the_figures_and_said_once_without_its_text(
    generation: str, trace: str
) -> None:
    recorded = RECORDED[f"{generation}/{trace}"]
    stopped = replace(recorded, body=tuple(line.replace('"length"', '"stop"') for line in recorded.body))
    with warnings() as lines:
        answer = await chat(stopped, asks((FOX * 22)[:1885]))
    cut = "over" in trace
    assert answer.figures.as_json().get("prompt_truncation_suspected") == (True if cut else None)
    assert len(lines) == cut
    assert not any("fox" in line for line in lines)


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_cut_prompt_is_said_even_when_the_answer_met_its_limit(generation: str) -> None:
    with warnings() as lines, pytest.raises(OutputTruncated):
        await chat(RECORDED[f"{generation}/ctx.over.default.rendered"], asks((FOX * 22)[:1885]))
    assert len(lines) == 1
    assert "num_ctx is 512" in lines[0]


async def test_a_prompt_that_cannot_fit_is_never_sent() -> None:
    async with ReplayServer(RECORDED["0.33/chat.length"]) as server:
        ollama = Ollama(server.url, options=ModelOptions(num_ctx=512))
        with pytest.raises(PromptTooLong, match="OLLAMA_NUM_CTX"):
            await anext(ollama.chat("mistral:7b", asks(OVER)))
        assert server.requests == []
        await ollama.aclose()
