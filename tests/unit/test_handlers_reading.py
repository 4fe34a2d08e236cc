"""Answers are read whole and while they stream; nothing that arrives can raise anything but OutputNotJson."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consumer.errors import OutputNotJson
from consumer.job import JsonObject
from consumer.ports import StreamReader
from handlers.near_json import rewrite
from handlers.reading import read_object
from handlers.refusal import Refusal
from handlers.stream import NodeReader, SummaryReader
from schemas.clean import clean, clean_text, storable

ANSWER = {
    "name": "T",
    "trigger": {"type": "schedule", "label": 'Every "day"'},
    "nodes": {
        "n1": {"type": "slack_message", "label": "Tell\nthe team", "after": "trigger", "config": {"message": "x"}}
    },
}


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', 'Sure:\n```json\n{"a": 1}\n```', ' {"a": 1} Hope this helps!', '{"a": 0, "a": 1}'],
)
def test_an_object_is_found_in_what_surrounds_it(text: str) -> None:
    assert read_object(text) == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "[1]",
        "{",
        '{"a": 1',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a":}',
        "[" * 100_000,
        '{"a":' * 100_000 + "}",
        "{} {}",
        "9" * 5000,
        '{"a": ' + "9" * 5000 + "}",
        "x" * 500_000,
    ],
)
def test_anything_else_is_not_json(text: str) -> None:
    with pytest.raises(OutputNotJson):
        read_object(text)


def test_what_the_database_refuses_is_gone() -> None:
    value = read_object('{"a\\u0000": "\\ud800x\\u0000", "b": 1e999, "c": "\x00"}')
    assert value == {"a": "x", "b": None, "c": ""}
    assert storable(value)


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(OutputNotJson):
        assert storable(read_object(text))


# What damaged answers are made of; longer pieces make deeper damage likely.
PIECES = [
    *"{}[],:\"'\\“”‘’`~#/*.+-019 \n\x00é",
    '{"a": ',
    '"b": 1',
    "true",
    "None",
    "NaN",
    "```json\n",
    "//",
    "/*",
    "*/",
]
PIECES += [
    "<think>",
    "</think>",
    '{\\"a\\": ',
    "\\u12",
    "\ud800",
    "…",
    "&quot;",
    "\ufeff",
    '"x"',
    "n1",
    "1e999",
    '{"type": "x"}',
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(), VALUES, min_size=1)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_no_damage_raises_anything_else_and_no_reason_quotes_the_answer(text: str) -> None:
    try:
        assert storable(read_object(text))
    except OutputNotJson as error:
        assert str(error).partition(" is not usable: ")[2] in set(Refusal)


@settings(max_examples=60)
@given(OBJECTS, st.sampled_from([None, 2]), st.booleans())
def test_an_answer_that_is_json_is_taken_as_it_is(value: JsonObject, indent: int | None, ascii_only: bool) -> None:
    assume(len({clean_text(key, 200) for key in value}) == len(value))
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    with contextlib.suppress(OutputNotJson):  # keys further in may collide when they are cleaned
        assert read_object(text) == clean(json.loads(text))


@settings(max_examples=60)
@given(OBJECTS, st.sampled_from([None, 2]), st.booleans())
def test_reading_tolerantly_changes_nothing_in_what_is_json(
    value: JsonObject, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    written, end = rewrite(text, 0)
    assert json.loads(written, strict=False) == value
    assert end == len(text)


@given(st.integers(1, 400), st.sampled_from([None, 1]))
def test_what_a_cut_leaves_has_only_whole_values(length: int, indent: int | None) -> None:
    with contextlib.suppress(OutputNotJson):
        value = read_object(json.dumps(ANSWER, indent=indent)[:length])
        assert _is_within(value, ANSWER)


def _is_within(part: object, whole: object) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _is_within(value, whole[key]) for key, value in part.items())
    return part == whole


@given(st.lists(st.integers(1, 30), min_size=1))
def test_the_preview_does_not_depend_on_the_pieces(sizes: list[int]) -> None:
    text, reader, at, index = json.dumps(ANSWER, indent=1), NodeReader(), 0, 0
    while at < len(text):
        size = sizes[index % len(sizes)]
        reader.feed(text[at : at + size])
        at, index = at + size, index + 1
    assert reader.preview == {"nodes": ['Every "day"', "Tell the team"]}


def test_the_preview_shows_the_type_until_the_label_comes() -> None:
    reader = NodeReader()
    assert not reader.feed('{"trigger": {"type": "sch')
    assert reader.feed('edule", ')
    assert reader.preview == {"nodes": ["schedule"]}
    assert reader.feed('"label": "Daily"')
    assert reader.preview == {"nodes": ["Daily"]}


def test_the_preview_reads_keys_in_alphabetical_order_too() -> None:
    reader = NodeReader()
    reader.feed(json.dumps(ANSWER, sort_keys=True))
    assert reader.preview == {"nodes": ["Tell the team", 'Every "day"']}


def test_a_type_without_a_label_stays_a_type() -> None:
    reader = NodeReader()
    reader.feed('{"type": "noop"}, {"type": "wait", "label": "Later"}')
    assert reader.preview == {"nodes": ["noop", "Later"]}


def test_the_summary_is_shown_once() -> None:
    reader = SummaryReader()
    assert reader.preview == {}
    assert reader.feed('{"summary": "A \\u001b[1mthing", "summary": "B"}')
    assert reader.preview == {"summary": "A u001b[1mthing"}
    assert not reader.feed('{"summary": "C"}')


@given(st.lists(st.text()))
def test_a_reader_never_raises(pieces: list[str]) -> None:
    readers: list[StreamReader] = [NodeReader(), SummaryReader()]
    for piece in pieces:
        for reader in readers:
            reader.feed(piece)
            assert storable(reader.preview)


def test_a_reader_keeps_little_of_a_megabyte() -> None:
    reader = NodeReader()
    for _ in range(100):
        reader.feed('{"type": "' + "x" * 10_000 + '"}')
    assert len(json.dumps(reader.preview)) < 10_000
