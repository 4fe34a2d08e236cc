"""New nodes find a free place downstream of their inputs, wherever a user has dragged the old ones."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.job import JsonObject
from handlers.draft import Draft, Edge, Node
from handlers.layout import HEIGHT, LEFT, ROW, STEP, TOP, WIDTH, lay_out
from schemas import picture
from tests.unit.handlers_kit import CATALOG

COORDINATES = st.one_of(
    st.integers(-2000, 2000),
    st.floats(-2000, 2000),
    st.sampled_from([LEFT, LEFT + STEP, TOP, TOP + ROW, 0, 1e308, -1e308, 10**300]),
)
POSITIONS = st.fixed_dictionaries({"x": COORDINATES, "y": COORDINATES})


def draft(positions: list[JsonObject | None], edges: list[tuple[int, int]]) -> Draft:
    nodes = [Node(f"n{index}", "noop", position=position) for index, position in enumerate(positions)]
    return Draft(CATALOG, nodes=nodes, edges=[Edge(f"n{one}", f"n{other}") for one, other in edges])


@st.composite
def drafts(draw: st.DrawFn, positions: st.SearchStrategy[JsonObject | None]) -> Draft:
    """Any acyclic graph, some of its nodes placed."""
    places = draw(st.lists(positions, min_size=1, max_size=12))
    pairs = list(combinations(range(len(places)), 2))
    edges = draw(st.lists(st.sampled_from(pairs), max_size=20, unique=True)) if pairs else []
    return draft(places, edges)


def place(node: Node) -> tuple[float, float]:
    assert node.position is not None
    return node.position["x"], node.position["y"]


def overlaps(draft: Draft, new: set[str]) -> Iterator[tuple[str, str]]:
    """Every pair of boxes that overlap, of which one at least is new."""
    for one, other in combinations(draft.nodes, 2):
        (x, y), (u, v) = place(one), place(other)
        if {one.id, other.id} & new and abs(x - u) < WIDTH and abs(y - v) < HEIGHT:
            yield one.id, other.id


def unplaced(draft: Draft) -> set[str]:
    return {node.id for node in draft.nodes if node.position is None}


@given(drafts(st.one_of(st.none(), POSITIONS)))
def test_no_new_box_overlaps_another_and_no_old_one_moves(draft: Draft) -> None:
    new, old = unplaced(draft), json.dumps([node.position for node in draft.nodes if node.position is not None])
    lay_out(draft)
    assert list(overlaps(draft, new)) == []
    assert json.dumps([node.position for node in draft.nodes if node.id not in new]) == old
    assert all(isinstance(value, int) for node in draft.nodes if node.id in new for value in place(node))


@given(drafts(st.one_of(st.none(), st.fixed_dictionaries({"x": st.integers(-999, 999), "y": st.integers(-999, 999)}))))
def test_a_new_node_stands_downstream_of_all_its_inputs(draft: Draft) -> None:
    new = unplaced(draft)
    lay_out(draft)
    nodes = {node.id: node for node in draft.nodes}
    for edge in draft.edges:
        if edge.target in new:
            assert place(nodes[edge.target])[0] > place(nodes[edge.source])[0]


@given(drafts(st.one_of(st.none(), POSITIONS)))
def test_laying_out_again_changes_nothing_and_the_same_draft_is_laid_out_the_same(draft: Draft) -> None:
    twin = Draft(CATALOG, nodes=copy.deepcopy(draft.nodes), edges=draft.edges)
    lay_out(draft)
    lay_out(twin)
    assert twin == draft
    lay_out(twin)
    assert twin == draft


@given(drafts(st.none()))
def test_a_new_workflow_stands_on_the_grid(draft: Draft) -> None:
    lay_out(draft)
    assert all((x - LEFT) % STEP == 0 and (y - TOP) % ROW == 0 for x, y in map(place, draft.nodes))


def test_the_boxes_of_the_picture_are_no_larger_than_those_kept_apart() -> None:
    assert picture.WIDTH <= WIDTH < STEP
    assert picture.HEIGHT <= HEIGHT < ROW


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        pytest.param(300, (150, 200), id="no-room-in-the-row"),
        pytest.param(600, (300, 50), id="room-for-one"),
        pytest.param(5000, (300, 50), id="much-room"),
        pytest.param(40, (300, 50), id="too-near-each-other"),
        pytest.param(-900, (300, 50), id="drawn-backwards"),
    ],
)
def test_a_node_between_two_stands_between_them_where_there_is_room(gap: int, expected: tuple[int, int]) -> None:
    work = draft([{"x": 0, "y": 50}, {"x": gap, "y": 50}, None], [(0, 2), (2, 1)])
    lay_out(work)
    assert place(work.nodes[2]) == expected


def test_two_nodes_between_two_share_the_room() -> None:
    work = draft([{"x": 0, "y": 0}, {"x": 900, "y": 0}, None, None], [(0, 2), (2, 3), (3, 1)])
    lay_out(work)
    assert [place(node) for node in work.nodes[2:]] == [(300, 0), (600, 0)]


def test_a_further_branch_goes_below_the_ones_that_are_there() -> None:
    work = draft([{"x": 11, "y": -7}, {"x": 320, "y": 1}, None, None], [(0, 1), (0, 2), (2, 3)])
    lay_out(work)
    assert [place(node) for node in work.nodes[2:]] == [(311, 143), (611, 143)]


def test_a_new_trigger_stands_before_what_it_starts_and_a_loose_one_below_everything() -> None:
    work = draft([{"x": 700, "y": 40}, {"x": 1000, "y": 500}, None, None], [(0, 1), (2, 0)])
    lay_out(work)
    assert [place(node) for node in work.nodes[2:]] == [(400, 40), (700, 650)]


def test_layout_is_linear_also_when_all_new_nodes_want_one_place() -> None:
    def seconds(count: int) -> float:
        work = draft([{"x": 5.5, "y": 5.5}, *[None] * count], [])
        began = time.process_time()
        lay_out(work)
        return time.process_time() - began

    seconds(200)
    assert min(seconds(2000) for _ in range(3)) <= 20 * min(seconds(200) for _ in range(3))
