"""Hostile text and values become storable and harmless."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.clean import MAX_DEPTH, clean, clean_text, one_line, storable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("a\x00b", "ab"),
        ("\ud800x", "x"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("abc\u202edef", "abcdef"),
        ("line\nnext\ttab", "line\nnext\ttab"),
        ("\x9b31m", "31m"),
        ("ünï 日本 🎉", "ünï 日本 🎉"),
    ],
)
def test_text_loses_what_is_harmful_only(hostile: str, harmless: str) -> None:
    assert clean_text(hostile) == harmless


def test_one_line_is_one_short_line() -> None:
    assert one_line(" a\r\n  b ") == "a b"
    assert one_line("x" * 100, 10) == "x" * 9 + "…"


def test_a_megabyte_is_cut() -> None:
    assert len(clean_text("x" * 1_000_000)) == 20_000


@given(JSON)
def test_whatever_is_cleaned_is_storable_and_stays_so(value: Any) -> None:
    cleaned = clean(value)
    assert storable(cleaned)
    assert clean(cleaned) == cleaned
    json.dumps(cleaned, allow_nan=False).encode()


def test_too_deep_values_are_cut_off() -> None:
    deep: Any = "x"
    for _ in range(MAX_DEPTH + 5):
        deep = {"a": deep}
    assert not storable(deep)
    assert storable(clean(deep))


@pytest.mark.parametrize("value", ["\x00", ["\ud800"], {"\x00": 1}, {"a": float("inf")}, float("nan"), {1: 2}.keys()])
def test_what_the_database_refuses_is_not_storable(value: object) -> None:
    assert not storable(value)
