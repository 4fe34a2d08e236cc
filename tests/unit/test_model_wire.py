"""JSON, times and durations as Go reads and writes them."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.model.wire import FOREVER_NS, ApiError, dumps, keep_alive, loads, timestamp

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON_VALUES)
def test_what_is_written_reads_back_the_same(value: Any) -> None:
    text = dumps(value)
    assert json.loads(text) == value
    assert not re.search("[<>&\u2028\u2029\n]", text)


def test_go_escapes_what_could_end_a_script_but_not_u0085() -> None:
    assert dumps("<a>&\u2028\u2029") == '"\\u003ca\\u003e\\u0026\\u2028\\u2029"'
    assert dumps("\u0085é😀\x7f") == '"\u0085é😀\x7f"'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "missing request body"),
        (b'{"a":', "unexpected EOF"),
        (b'{"a": "x', "unexpected EOF"),
        (b'{"a":[1,2', "unexpected EOF"),
        (b'{"model":mistral}', "invalid character 'm' looking for beginning of value"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b'{"a":"\n"}', "invalid character '\n' in string literal"),
        (b"[" * 20_000, "exceeded max depth"),
    ],
)
def test_malformed_bodies_are_refused_in_gos_words(body: bytes, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        loads(body)
    assert (caught.value.status, str(caught.value)) == (400, message)


def test_what_follows_the_first_value_is_ignored() -> None:
    assert loads(b' {"a": 1} garbage') == {"a": 1}


def test_broken_text_becomes_the_replacement_character() -> None:
    assert loads(b'{"a\xff": ["\\ud800", {"b": "\\ud83d\\ude00"}]}') == {"a\ufffd": ["\ufffd", {"b": "😀"}]}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), (0, 0), (2, 2), (1.5, 1.5), (-1, math.inf), ("0", 0), ("0s", 0), ("30s", 30), ("1m30s", 90),
     ("1.5h", 5400), ("-1m", math.inf), ("100ms", 0.1), ("+2s", 2)],
)  # fmt: skip
def test_keep_alive_forms(value: Any, seconds: float | None) -> None:
    assert keep_alive(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("soon", 'time: invalid duration "soon"'),
        ("", 'time: invalid duration ""'),
        ("-1", 'time: missing unit in duration "-1"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        (True, "Unsupported type: 'bool'"),
        ([], "Unsupported type: '[]interface {}'"),
    ],
)
def test_bad_keep_alives_are_refused_in_gos_words(value: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        keep_alive(value)
    assert (caught.value.status, str(caught.value)) == (400, message)


def test_timestamps_have_nanoseconds_without_trailing_zeros() -> None:
    assert timestamp(1_795_447_133_238_946_820) == "2026-11-23T15:18:53.23894682Z"
    assert timestamp(1_795_447_133_000_000_000) == "2026-11-23T15:18:53Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", timestamp())


def test_for_ever_ends_in_the_year_2319_and_can_be_read() -> None:
    assert datetime.fromisoformat(timestamp(1_795_447_133 * 10**9 + FOREVER_NS)).year == 2319
