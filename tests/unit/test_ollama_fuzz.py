"""The reader of streamed answers, fed with anything: it ends in an answer or a named failure, holds little, and what
it gives does not depend on how the bytes were cut."""

from __future__ import annotations

import json
import pickle
from itertools import cycle

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from consumer.errors import JobError, ModelUnavailable, OutputNotJson
from consumer.ollama_reply import Answer, Reply
from consumer.ollama_wire import MAX_LINE_BYTES
from tests.ollama_replay import RECORDED

QUICK = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
MAX_CHARS = 300
STREAMS = [
    recording.payload
    for recording in RECORDED.values()
    if recording.content_type == "application/x-ndjson" and len(recording.body) > 2
]
CUTS = st.lists(st.integers(1, 200), min_size=1, max_size=6)
Outcome = tuple[list[str], str, str]


def whole(counted: int) -> bool:
    return counted < 0


def outcome(data: bytes, *sizes: int) -> Outcome:
    """The deltas and how it ended: with this text, or with this error."""
    reply, deltas, at = Reply("m", max_chars=MAX_CHARS, was_cut=whole), list[str](), 0
    longest = max(map(len, data.split(b"\n")))
    try:
        for size in cycle(sizes):
            piece, at = data[at : at + size], at + size
            for item in reply.feed(piece):
                if isinstance(item, Answer):
                    assert item.text.startswith("".join(deltas))
                    return deltas, "answer", item.text
                deltas.append(item.text)
            assert len(pickle.dumps(reply)) < 2500 + longest + 8 * MAX_CHARS
            assert piece, "the end of the stream was no end"
    except JobError as error:
        assert len(str(error)) < 600
        return deltas, type(error).__name__, str(error)
    raise AssertionError("unreachable")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A recorded stream with flipped bits, and stretches left out or repeated."""
    data = bytearray(draw(st.sampled_from(STREAMS)))
    for _ in range(draw(st.integers(1, 4))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(1, 160))
        match draw(st.sampled_from(["flip", "delete", "double", "newline"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "delete":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + size]
            case _:
                data[at:at] = b"\n"
    return bytes(data)


@QUICK
@given(st.one_of(mutated(), st.sampled_from(STREAMS)), CUTS)
def test_a_damaged_stream_comes_to_the_same_end_however_it_is_cut(data: bytes, sizes: list[int]) -> None:
    assert outcome(data, *sizes) == outcome(data, 1) == outcome(data, len(data) + 1)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "message": VALUES | st.fixed_dictionaries({"content": VALUES}),
        "done": st.booleans() | VALUES,
        "done_reason": st.sampled_from(["stop", "length", "load"]) | VALUES,
        "error": VALUES,
        "prompt_eval_count": VALUES,
        "eval_duration": VALUES,
    },
)
LINES = st.one_of(
    CHUNKS.map(lambda chunk: json.dumps(chunk, ensure_ascii=False).encode(errors="surrogatepass")),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
    st.just(b'{"message":{"content":"a\xc2\x85b\xe2\x80\xa8\xe2\x80\xa9c"}}'),
    st.just(b""),
)


@QUICK
@given(st.lists(LINES, max_size=8).map(b"\n".join), CUTS)
@example(b'{"message":{"content":"\\ud83d"}}\n{"message":{"content":"\\ude00"},"done":true}', [1])
@example(b'{"done":true,"message":{"content":"{}"},"eval_count":1' + b"0" * 5000 + b"}", [7])
@example(b"[" * 100_000, [1000])
@example(b'{"error":' * 5000, [64])
@example(b'{"message":{"content":"x"},"eval_count":1e999,"done":true}', [3])
def test_lines_of_any_shape_come_to_the_same_end_however_they_are_cut(data: bytes, sizes: list[int]) -> None:
    assert outcome(data, *sizes) == outcome(data, len(data) + 1)


@pytest.mark.parametrize("size", [4096, 65_536, 1 << 20])
def test_a_line_without_end_is_held_up_to_its_limit(size: int) -> None:
    reply, sent, held = Reply("m", max_chars=MAX_CHARS, was_cut=whole), 0, 0
    with pytest.raises(ModelUnavailable, match="no Ollama"):
        while True:
            held, sent = sent, sent + size
            list(reply.feed(b"x" * size))
    assert held <= MAX_LINE_BYTES < sent


def test_lines_that_say_nothing_are_not_held() -> None:
    reply = Reply("m", max_chars=MAX_CHARS, was_cut=whole)
    for _ in range(200):
        assert list(reply.feed(b'{"message":{"content":""},"done":false}\n\n' * 500)) == []
    assert len(pickle.dumps(reply)) < 2500


def test_an_answer_without_end_is_held_up_to_its_limit() -> None:
    reply, pieces = Reply("m", max_chars=MAX_CHARS, was_cut=whole), 0
    with pytest.raises(OutputNotJson):
        while True:
            pieces += len(list(reply.feed(b'{"message":{"content":"word %d "}}\n' % pieces)))
            assert len(pickle.dumps(reply)) < 2500 + 8 * MAX_CHARS
    assert pieces < MAX_CHARS
