"""Lays nodes out: start at (250, 100), +300 x a step, +150 y a branch (contract §5), no overlaps. Called by `mend`."""

from __future__ import annotations

from handlers.draft import Draft
from schemas import graph

LEFT, TOP, STEP, ROW = 250, 100, 300, 150


def lay_out(draft: Draft) -> None:
    """Give every node a position. Nodes that have one keep it; the others find a free place."""
    targets = graph.adjacency(draft.ids, [(edge.source, edge.target) for edge in draft.edges])
    depth = graph.depths(targets)
    rows = _wished_rows(targets)
    taken = {_cell(node.position["x"], node.position["y"]) for node in draft.nodes if node.position is not None}
    free: dict[int, int] = {}
    for node in sorted(draft.nodes, key=lambda node: (depth[node.id], rows[node.id])):
        if node.position is None:
            column = depth[node.id]
            row = max(rows[node.id], free.get(column, 0))
            while (column, row) in taken:
                row += 1
            free[column] = row + 1
            node.position = {"x": LEFT + STEP * column, "y": TOP + ROW * row}


def _wished_rows(targets: dict[str, list[str]]) -> dict[str, int]:
    """The first step behind a node stays in its row; each further branch goes one row down."""
    rows: dict[str, int] = {}
    starts = 0
    for node in graph.order(targets):
        if node not in rows:
            rows[node], starts = starts, starts + 1
        for offset, target in enumerate(targets[node]):
            rows.setdefault(target, rows[node] + offset)
    return rows


def _cell(x: float, y: float) -> tuple[int, int]:
    return round((x - LEFT) / STEP), round((y - TOP) / ROW)
