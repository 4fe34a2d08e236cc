"""Answers are read whole and while they stream; nothing that arrives can raise anything but OutputNotJson."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import OutputNotJson
from consumer.ports import StreamReader
from handlers.reading import read_object
from handlers.stream import NodeReader, SummaryReader
from schemas.clean import storable

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
