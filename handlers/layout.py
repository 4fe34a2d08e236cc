"""Lays nodes out: start at (250, 100), +300 x a step, +150 y a branch (contract §5), no overlaps. Called by `mend`.

Nodes that have a position keep it; the others find a free place downstream of their inputs, and before what follows
them where there is room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from handlers.draft import Draft, Node
from schemas import graph

LEFT, TOP, STEP, ROW = 250, 100, 300, 150
# The room that a node takes in an editor; the boxes of schemas/picture.py are smaller.
WIDTH, HEIGHT = 240, 110
# Nearer than this, two steps no longer read as one after the other.
_NARROWEST = 60
# Users' positions may be any number; beyond this a float no longer tells neighbours apart.
_FARTHEST = 10**9


class Spot(NamedTuple):
    """Where a node's box begins."""

    x: float
    y: float


class _Ahead(NamedTuple):
    """The leftmost placed node that follows an unplaced one, and how many steps lie between, one at least."""

    spot: Spot
    steps: int


def lay_out(draft: Draft) -> None:
    """Give every node a position. The draft's edges must join existing nodes and make no cycle."""
    targets = graph.adjacency(draft.ids, [(edge.source, edge.target) for edge in draft.edges])
    order = graph.order(targets)
    depth, rows = graph.depths(targets), _rows(targets, order)
    sheet = _Sheet({node.id: _spot(node) for node in draft.nodes if node.position is not None})
    ahead, before = _ahead(targets, order, sheet.spots), _before(targets, order)
    for node in sorted(draft.nodes, key=lambda node: (depth[node.id], rows[node.id])):
        if node.position is None:
            wish = sheet.behind(before[node.id], ahead.get(node.id))
            x, y = sheet.place(node.id, wish)
            node.position = {"x": x, "y": y}


def _spot(node: Node) -> Spot:
    position = node.position or {}
    return Spot(*(max(-_FARTHEST, min(_FARTHEST, position[axis])) for axis in "xy"))


def _rows(targets: dict[str, list[str]], order: list[str]) -> dict[str, int]:
    """The first step behind a node stays in its row; each further branch goes one row down."""
    rows: dict[str, int] = {}
    starts = 0
    for node in order:
        if node not in rows:
            rows[node], starts = starts, starts + 1
        for offset, target in enumerate(targets[node]):
            rows.setdefault(target, rows[node] + offset)
    return rows


def _before(targets: dict[str, list[str]], order: list[str]) -> dict[str, list[tuple[str, int]]]:
    """What leads to each node, and as which of its branches."""
    before: dict[str, list[tuple[str, int]]] = {name: [] for name in targets}
    for name in order:
        for branch, target in enumerate(targets[name]):
            before[target].append((name, branch))
    return before


def _ahead(targets: dict[str, list[str]], order: list[str], spots: dict[str, Spot]) -> dict[str, _Ahead]:
    ahead: dict[str, _Ahead] = {}
    for name in reversed(order):
        if name not in spots:
            placed = [_Ahead(spots[target], 1) for target in targets[name] if target in spots]
            later = [_Ahead(ahead[target].spot, ahead[target].steps + 1) for target in targets[name] if target in ahead]
            if placed or later:
                ahead[name] = min((*placed, *later), key=lambda found: (found.spot.x, -found.steps))
    return ahead


class _Sheet:
    """The boxes that stand, found by the cells of a grid in which no box is larger than a cell."""

    def __init__(self, spots: dict[str, Spot]) -> None:
        self.spots = spots
        self._cells: dict[tuple[int, int], set[Spot]] = {}
        # From a place that is taken to the next below it that may be free.
        self._next: dict[Spot, Spot] = {}
        for spot in spots.values():
            self._cells.setdefault(_cell(spot), set()).add(spot)
        self._corner = Spot(
            round(min((spot.x for spot in spots.values()), default=LEFT)),
            round(max((spot.y + ROW for spot in spots.values()), default=TOP)),
        )

    def behind(self, inputs: list[tuple[str, int]], ahead: _Ahead | None) -> Spot:
        """Where a node between these inputs and what is ahead of it would stand if all were free."""
        if not inputs:
            return Spot(ahead.spot.x - STEP * ahead.steps, ahead.spot.y) if ahead else self._corner
        first, branch = inputs[0]
        start = max(self.spots[name].x for name, _ in inputs)
        room = (ahead.spot.x - start) / (ahead.steps + 1) if ahead else STEP
        step = min(STEP, room) if room >= _NARROWEST else STEP
        return Spot(start + step, self.spots[first].y + ROW * branch)

    def place(self, name: str, wish: Spot) -> tuple[int, int]:
        """Take the wished place, or the nearest free one below it."""
        spot = Spot(round(wish.x), round(wish.y))
        passed = []
        while (below := self._next.get(spot) or self._blocked(spot)) is not None:
            passed.append(spot)
            spot = below
        self._next.update(dict.fromkeys(passed, spot))
        self._cells.setdefault(_cell(spot), set()).add(spot)
        self.spots[name] = spot
        return int(spot.x), int(spot.y)

    def _blocked(self, spot: Spot) -> Spot | None:
        """The place below what is in the way, if anything is."""
        lowest = max((other.y for other in self._near(spot) if _overlap(spot, other)), default=None)
        return None if lowest is None else Spot(spot.x, round(lowest) + ROW)

    def _near(self, spot: Spot) -> Iterable[Spot]:
        return (other for cell in _around(_cell(spot)) for other in self._cells.get(cell, ()))


def _cell(spot: Spot) -> tuple[int, int]:
    return int(spot.x // WIDTH), int(spot.y // HEIGHT)


def _around(cell: tuple[int, int]) -> Iterator[tuple[int, int]]:
    column, row = cell
    return ((column + right, row + down) for right in (-1, 0, 1) for down in (-1, 0, 1))


def _overlap(one: Spot, other: Spot) -> bool:
    return abs(one.x - other.x) < WIDTH and abs(one.y - other.y) < HEIGHT
