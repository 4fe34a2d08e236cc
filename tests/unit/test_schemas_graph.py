"""Order, cycles and reach on plain graphs, checked against what they promise on random ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas import graph

NODES = [f"n{i}" for i in range(8)]
PAIRS = st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), max_size=24)


def test_order_keeps_the_given_order_where_it_may() -> None:
    targets = graph.adjacency(["a", "b", "c", "d"], [("a", "b"), ("b", "d")])
    assert graph.order(targets) == ["a", "b", "c", "d"]


def test_nodes_on_a_cycle_are_found_and_those_behind_it_are_not() -> None:
    targets = graph.adjacency("abcde", [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])
    assert graph.on_cycles(targets) == {"b", "c"}


def test_pairs_with_unknown_ends_are_left_out() -> None:
    assert graph.adjacency(["a"], [("a", "x"), ("x", "a")]) == {"a": []}


def test_depth_is_the_longest_way() -> None:
    targets = graph.adjacency("abc", [("a", "b"), ("b", "c"), ("a", "c")])
    assert graph.depths(targets) == {"a": 0, "b": 1, "c": 2}


@given(PAIRS)
def test_without_its_back_edges_a_graph_has_an_order(pairs: list[graph.Pair]) -> None:
    targets = graph.adjacency(NODES, pairs)
    closing = graph.back_edges(targets, [])
    left = graph.adjacency(NODES, [pair for pair in pairs if pair not in closing])
    place = {node: index for index, node in enumerate(graph.order(left))}
    assert set(place) == set(NODES)
    assert all(place[source] < place[target] for source, nodes in left.items() for target in nodes)


@given(PAIRS)
def test_a_graph_without_cycles_loses_no_edge(pairs: list[graph.Pair]) -> None:
    forward = [(a, b) for a, b in pairs if a < b]
    assert graph.back_edges(graph.adjacency(NODES, forward), []) == set()


@given(PAIRS, st.sampled_from(NODES))
def test_reach_is_closed(pairs: list[graph.Pair], start: str) -> None:
    reached = graph.reachable(graph.adjacency(NODES, pairs), [start])
    assert start in reached
    assert all(b in reached for a, b in pairs if a in reached)
