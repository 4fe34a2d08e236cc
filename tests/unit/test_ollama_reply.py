"""One streamed answer, from bytes to deltas, figures and failures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import InternalError, JobError, ModelStalledLoop, ModelUnavailable, OutputNotJson, OutputTruncated
from consumer.ollama_reply import Answer, Delta, Figures, Reply
from tests.ollama_replay import RECORDED, Recording, every, says, stream

MAX_CHARS = 1_000_000
COUNTERS = {
    "total_duration": 4_498_010_862, "load_duration": 1_656_812, "prompt_eval_count": 17,
    "prompt_eval_duration": 57_570_000, "eval_count": 6, "eval_duration": 69_380_000,
}  # fmt: skip


def read(recording: Recording, size: int = 1 << 16, reply: Reply | None = None) -> list[Delta | Answer]:
    """Everything a reply gives of a recorded body fed in pieces of this size, to its end."""
    reply = reply or Reply("mistral:7b", max_chars=MAX_CHARS)
    items: list[Delta | Answer] = []
    for piece in (*every(size)(recording.payload), b""):
        items += reply.feed(piece)
    return items


def answer(items: list[Delta | Answer]) -> Answer:
    assert isinstance(items[-1], Answer)
    assert not any(isinstance(item, Answer) for item in items[:-1])
    return items[-1]


def without_clock(items: list[Delta | Answer]) -> list[Delta | Answer]:
    """The first token's time is measured here, so it differs from run to run."""
    last = answer(items)
    return [*items[:-1], replace(last, figures=replace(last.figures, time_to_first_token_ms=0.0))]


@pytest.mark.parametrize("generation", ["0.24", "0.33"])
@pytest.mark.parametrize("name", ["format.schema.rendered", "chat.utf8", "chat.html_escape", "format.schema.native"])
def test_a_recorded_stream_is_its_deltas_and_then_the_answer(generation: str, name: str) -> None:
    recording = RECORDED[f"{generation}/{name}"]
    items = read(recording)
    texts = [json.loads(line)["message"]["content"] for line in recording.body]
    assert [item.text for item in items[:-1]] == [text for text in texts if text]
    assert answer(items).text == "".join(texts)
    assert answer(items).figures.output_tokens == json.loads(recording.body[-1])["eval_count"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 61, 1000])
def test_a_raw_next_line_character_is_text_however_the_stream_is_cut(size: int) -> None:
    recording = RECORDED["0.33/chat.utf8.nel"]
    items = read(recording, size)
    assert "a\u0085b\u2028c" in answer(items).text
    assert without_clock(items) == without_clock(read(recording))


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), min_size=1, max_size=9),
    st.integers(1, 80),
)
def test_any_text_cut_anywhere_gives_the_same_deltas(texts: list[str], size: int) -> None:
    made = says("{", *texts)
    raw = replace(made, body=tuple(json.dumps(json.loads(line), ensure_ascii=False) + "\n" for line in made.body))
    items = read(raw, size)
    assert [item.text for item in items[:-1]] == ["{", *texts]
    assert answer(items).text == "{" + "".join(texts)


@given(st.binary(max_size=200), st.integers(1, 20))
def test_garbage_ends_in_a_named_failure(data: bytes, size: int) -> None:
    reply = Reply("m", max_chars=MAX_CHARS)
    with pytest.raises(JobError):
        for piece in (*every(size)(data), b""):
            list(reply.feed(piece))


def test_the_final_chunks_text_belongs_to_the_answer() -> None:
    items = read(stream({"message": {"content": '{"a":'}}, {"message": {"content": "1}"}, "done": True}))
    assert items[0] == Delta('{"a":')
    assert answer(items).text == '{"a":1}'


def test_what_comes_after_the_final_chunk_is_not_read() -> None:
    recording = says("{}")
    assert answer(read(replace(recording, body=(*recording.body, "garbage\n")))).text == "{}"


def test_an_answer_that_met_its_limit_is_truncated_and_never_an_answer() -> None:
    for trace in ("chat.length", "chat.utf8.cut", "ctx.fill.shift_false.rendered"):
        for generation in ("0.24", "0.33"):
            with pytest.raises(OutputTruncated):
                read(RECORDED[f"{generation}/{trace}"])


@pytest.mark.parametrize(
    ("recording", "error"),
    [
        (says("x", reason="load"), InternalError),
        (RECORDED["0.33/unload"], InternalError),
        (RECORDED["0.24/preload.stream_false"], InternalError),
        (says(), OutputNotJson),
        (says(" ", "\n"), OutputNotJson),
        (stream({"done": True}), OutputNotJson),
        (stream({"message": {"content": 7}, "done": True}), OutputNotJson),
        (RECORDED["0.33/repeat.same_token.rendered.stream_false"], ModelUnavailable),
        (RECORDED["0.33/kill.runner_sigkill.midstream"], ModelUnavailable),
        (RECORDED["0.24/kill.streaming_request"], ModelUnavailable),
        (RECORDED["0.33/pattern.7.native"], OutputNotJson),
    ],
)
def test_an_end_without_an_answer_is_a_failure_of_its_own_kind(recording: Recording, error: type[JobError]) -> None:
    with pytest.raises(JobError) as raised:
        read(recording)
    assert type(raised.value) is error


@pytest.mark.parametrize("generation", ["0.24", "0.33"])
def test_an_early_end_after_31_equal_pieces_is_a_loop(generation: str) -> None:
    recording = RECORDED[f"{generation}/repeat.same_token.rendered"]
    with pytest.raises(ModelStalledLoop, match="gave up"):
        read(recording)
    with pytest.raises(ModelUnavailable, match="without a final chunk"):
        read(replace(recording, body=recording.body[:-1]))


@pytest.mark.parametrize("size", [1, 50, 1 << 16])
def test_an_answer_longer_than_its_schema_allows_is_cut_off(size: int) -> None:
    fits, too_long = says("{", "é" * 98, "}"), says("{", "é" * 99, "}")
    assert len(answer(read(fits, size, Reply("m", max_chars=100))).text) == 100
    with pytest.raises(OutputNotJson, match=r"passed 100 characters.*format"):
        read(too_long, size, Reply("m", max_chars=100))
    with pytest.raises(OutputNotJson, match="passed 100 characters"):
        read(stream({"message": {"content": "x" * 101}, "done": True}), size, Reply("m", max_chars=100))


def test_figures_are_the_final_chunks_counters_and_the_timed_preload() -> None:
    reply = Reply("mistral:7b", max_chars=MAX_CHARS, preload_ms=500.0)
    figures = answer(read(says("{}", counters=COUNTERS), reply=reply)).figures
    assert figures.time_to_first_token_ms > 0
    assert replace(figures, time_to_first_token_ms=1.0).as_json() == {
        "model": "mistral:7b",
        "model_load_time_ms": 501.657,
        "queue_time_ms": 4369.404,
        "prompt_time_ms": 57.57,
        "inference_time_ms": 69.38,
        "time_to_first_token_ms": 1.0,
        "total_time_ms": 4998.011,
        "input_tokens": 17,
        "output_tokens": 6,
        "tokens_per_second": 86.48,
    }


@pytest.mark.parametrize(
    "chunk", [{}, {"eval_count": "6", "eval_duration": -3}, {"eval_count": True, "total_duration": 1.5}]
)
def test_counters_that_are_left_out_or_nonsense_are_zero(chunk: dict[str, object]) -> None:
    figures = Figures.of("m", dict(chunk), preload_ms=0.0, first_token_ms=0.0)
    assert figures == Figures("m", 0, 0, 0, 0, 0, 0, 0, 0, None)


def test_a_wait_is_never_negative() -> None:
    figures = Figures.of("m", {"total_duration": 5, "eval_duration": 9}, preload_ms=0.0, first_token_ms=0.0)
    assert figures.queue_time_ms == 0
