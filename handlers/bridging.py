"""Takes nodes out of a graph and joins what led to them with what followed them. Called by `editing`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from handlers.draft import Edge

# A node between more ways than this cannot go: each way in would need an edge to each way out.
MAX_JOINS = 400


class Bridges:
    """Edges by number, in order, and at each node the numbers of those that touch it."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self._edges: dict[int, Edge] = {}
        self._into: dict[str, dict[int, Edge]] = defaultdict(dict)
        self._out: dict[str, dict[int, Edge]] = defaultdict(dict)
        self._next = 0
        for edge in edges:
            self._add(edge)

    @property
    def edges(self) -> list[Edge]:
        """What is left, and the new ones last."""
        return list(self._edges.values())

    def remove(self, name: str) -> bool:
        """Take the node's edges out and bridge it; False, and nothing is changed, when it joins too much."""
        into, out = self._into[name], self._out[name]
        before = [edge for edge in into.values() if edge.source != name]
        behind = [edge.target for edge in out.values() if edge.target != name]
        if len(before) * len(behind) > MAX_JOINS:
            return False
        for number, edge in (into | out).items():
            del self._edges[number]
            self._out[edge.source].pop(number, None)
            self._into[edge.target].pop(number, None)
        for edge in before:
            for target in behind:
                self._add(Edge(edge.source, target, edge.handle))
        return True

    def _add(self, edge: Edge) -> None:
        self._edges[self._next] = self._into[edge.target][self._next] = self._out[edge.source][self._next] = edge
        self._next += 1
