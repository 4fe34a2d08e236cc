"""The signs of a model that repeats itself, and what is none."""

from __future__ import annotations

import json
import pickle
import random
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import ModelStalledLoop
from consumer.watchdog import Watchdog


def watch(text: str, *sizes: int) -> None:
    """Show a watchdog this text in pieces of these sizes, over and over."""
    watchdog, at = Watchdog(), 0
    for size in cycle(sizes):
        watchdog.feed(text[at : at + size])
        at += size
        if at >= len(text):
            return


def verdict(text: str, *sizes: int) -> str:
    try:
        watch(text, *sizes)
    except ModelStalledLoop as loop:
        return str(loop)
    return "no loop"


def node(number: int, kind: str = "http_request", **config: str) -> dict[str, object]:
    return {"id": f"n{number}", "type": kind, "label": f"Step {number}", "config": config or {"url": "https://a.b/x"}}


KINDS = [
    "webhook",
    "if_else",
    "slack_message",
    "google_sheets",
    "database_read",
    "send_email",
    "text_formatter",
    "log_output",
]
WORKFLOW = json.dumps(
    {
        "nodes": [node(i, kind, message=f"{kind} no. {i}", to=kind[::-1]) for i, kind in enumerate(KINDS)],
        "edges": [{"from": f"{KINDS[i]}", "to": f"{KINDS[i + 1]}"} for i in range(7)],
    },
    indent=4,
)
ALIKE = json.dumps([node(i) for i in range(4)], indent=2)


@pytest.mark.parametrize("size", [1, 3, 17, 400, 10_000])
@pytest.mark.parametrize("text", [WORKFLOW, ALIKE + WORKFLOW + ALIKE])
def test_a_workflow_is_no_loop(text: str, size: int) -> None:
    watch(text, size)


@pytest.mark.parametrize("size", [1, 3, 17, 5000])
@pytest.mark.parametrize("piece", ["a", "ab ", '{"id":"node","type":"merge"},', "x" * 49 + "y"])
def test_a_short_piece_over_and_over_is_a_loop(piece: str, size: int) -> None:
    watch(WORKFLOW + piece * (180 // len(piece)), size)
    with pytest.raises(ModelStalledLoop, match="repeat"):
        watch(WORKFLOW + piece * (300 // len(piece) + 1), size)


@pytest.mark.parametrize("size", [1, 3, 30, 200])
def test_more_than_64_blanks_in_a_row_are_a_loop(size: int) -> None:
    watch("a" + " \n\t " * 16 + "b" * 60, size)
    with pytest.raises(ModelStalledLoop, match="64 blanks"):
        watch("ab" + " \n\t " * 17 + "b" * 30, size)


@pytest.mark.parametrize("length", range(1, 7))
@pytest.mark.parametrize("indent", [None, 2])
def test_the_same_nodes_five_times_are_a_loop_whatever_their_numbers(length: int, indent: int | None) -> None:
    def answer(count: int) -> str:
        nodes = [node(100 + i, KINDS[i % length], text=str(i)) for i in range(count * length)]
        return json.dumps({"name": "Loop", "nodes": nodes}, indent=indent) + " " * Watchdog.STRIDE

    watch(answer(4), 1)
    with pytest.raises(ModelStalledLoop, match=f"run of {length} object"):
        watch(answer(6), 1)


def test_runs_of_seven_nodes_are_not_compared() -> None:
    watch(json.dumps([node(i, KINDS[i % 7], text=str(i)) for i in range(70)]), 5)


@pytest.mark.parametrize("text", ["{" * 40 + "}" * 40, '{"x":0,"y":7},' * 4 + "]" * 40])
def test_a_row_of_closing_braces_and_of_bare_numbers_is_no_repeated_node(text: str) -> None:
    watch(text, 1)


def test_points_that_differ_in_their_numbers_are_no_repeated_node() -> None:
    watch(json.dumps([{"x": random.Random(i).random(), "y": i} for i in range(200)]), 7)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [json.dumps(node(i, kind)) for i, kind in enumerate(KINDS[:3])] + [" " * 20, "}", "7", "\ud800"]
        ),
        max_size=40,
    ),
    st.sampled_from([1, 4, 5, 6]),
    st.lists(st.integers(1, 300), min_size=1, max_size=8),
)
def test_the_verdict_does_not_depend_on_the_cuts(parts: list[str], times: int, sizes: list[int]) -> None:
    text = ",".join(parts * times)
    assert verdict(text, *sizes) == verdict(text, len(text) + 1)


def test_what_is_kept_does_not_grow_with_the_text() -> None:
    watchdog = Watchdog()
    for number in range(20_000):
        watchdog.feed(f"word{number:x} of a text without a brace ")
    assert len(pickle.dumps(watchdog)) < 1000
