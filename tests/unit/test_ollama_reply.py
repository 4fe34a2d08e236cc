"""One streamed answer, from bytes to deltas, figures and failures."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import InternalError, JobError, ModelStalledLoop, ModelUnavailable, OutputNotJson, OutputTruncated
from consumer.ollama_reply import MAX_ANSWER_CHARS, Answer, Delta, Figures, Reply, Watchdog
from tests.ollama_replay import RECORDED, Recording, every, says, stream

COUNTERS = {
    "total_duration": 4_498_010_862, "load_duration": 1_656_812, "prompt_eval_count": 17,
    "prompt_eval_duration": 57_570_000, "eval_count": 6, "eval_duration": 69_380_000,
}  # fmt: skip


def read(recording: Recording, size: int = 1 << 16, reply: Reply | None = None) -> list[Delta | Answer]:
    """Everything a reply gives of a recorded body fed in pieces of this size, to its end."""
    reply = reply or Reply("mistral:7b")
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
    reply = Reply("m")
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


def test_an_endless_answer_is_cut_off() -> None:
    text = "".join(random.Random(1).choices("abcdefghij ", k=100_000))
    with pytest.raises(OutputTruncated, match=str(MAX_ANSWER_CHARS)):
        read(says(*[text] * (MAX_ANSWER_CHARS // len(text) + 1)))


def test_figures_are_the_final_chunks_counters_and_the_timed_preload() -> None:
    figures = answer(read(says("{}", counters=COUNTERS), reply=Reply("mistral:7b", preload_ms=500.0))).figures
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


def watch(text: str, size: int) -> None:
    watchdog = Watchdog()
    for at in range(0, len(text), size):
        watchdog.feed(text[at : at + size])


WORKFLOW = json.dumps(
    {
        "nodes": [{"id": f"n{i}", "type": "http_request", "config": {"url": f"https://a.b/{i}"}} for i in range(40)],
        "edges": [{"from": f"n{i}", "to": f"n{i + 1}"} for i in range(39)],
    },
    indent=4,
)


@pytest.mark.parametrize("size", [1, 3, 17, 400])
def test_a_workflow_is_no_loop(size: int) -> None:
    watch(WORKFLOW, size)


@pytest.mark.parametrize("size", [1, 3, 17])
@pytest.mark.parametrize("piece", ["a", "ab ", '{"id":"node","type":"merge"},', "x" * 49 + "y"])
def test_a_short_piece_over_and_over_is_a_loop(piece: str, size: int) -> None:
    watch(WORKFLOW + piece * (180 // len(piece)), size)
    with pytest.raises(ModelStalledLoop, match="repeat"):
        watch(WORKFLOW + piece * (300 // len(piece) + 1), size)


@pytest.mark.parametrize("size", [1, 3, 30, 200])
def test_more_than_64_blanks_in_a_row_are_a_loop(size: int) -> None:
    watch("a" + " \n\t " * 16 + "b", size)
    with pytest.raises(ModelStalledLoop, match="64 blanks"):
        watch("ab" + " \n\t " * 17 + "b" * 30, size)
