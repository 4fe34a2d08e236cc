"""Puts new nodes where the words say: between two nodes that are there, or before one. Called by `editing`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from handlers.draft import Draft, Edge, Node
from handlers.edit_words import names
from schemas import graph

_BETWEEN = re.compile(
    r"\b(?:between|zwischen|entre|tussen|tra|между)\s+([^.;:\n]{1,120}?)\s+(?:and|und|y|et|e|en|и)\s+([^.;:\n]{1,120})"
)
_BEFORE = re.compile(r"\b(?:before|in front of|vor|avant|antes de|prima di|перед)\s+([^.,;:\n]{1,120})")
_TRIGGER = re.compile(r"\b(?:trigger|start|auslöser|déclencheur|disparador)\b")


def insert(draft: Draft, fresh: Sequence[Node], prompt: str) -> None:
    """Lead the edges that the prompt names through the first new node and what was added behind it.

    Without such words, or when they may mean several places, the nodes stay where the answer put them.
    """
    if not fresh or draft.is_trigger(fresh[0]):
        return
    new = {node.id for node in fresh}
    old = {node.id: node for node in draft.nodes if node.id not in new}
    places = _places(draft, old, prompt.lower())
    if places:
        _lead_through(draft, fresh, places)


def _places(draft: Draft, old: dict[str, Node], prompt: str) -> list[Edge]:
    """The edges between old nodes that are to lead through the new ones: one for "between", all inputs for "before"."""
    edges = [edge for edge in draft.edges if edge.source in old and edge.target in old]
    for one, other in _BETWEEN.findall(prompt):
        first, second = _named(draft, old, one), _named(draft, old, other)
        for ends in ((first, second), (second, first)):
            joining = [edge for edge in edges if edge.source in ends[0] and edge.target in ends[1]]
            if len(joining) == 1:
                return joining
    for text in _BEFORE.findall(prompt):
        named = _named(draft, old, text)
        if len(named) == 1 and not named & _merges(old):
            return [edge for edge in edges if edge.target in named]
    return []


def _named(draft: Draft, old: dict[str, Node], text: str) -> set[str]:
    start = _TRIGGER.search(text) is not None
    return {name for name, node in old.items() if names(draft, text, node) or (start and draft.is_trigger(node))}


def _merges(old: dict[str, Node]) -> set[str]:
    """Nodes of which nobody can say before which input a new one belongs."""
    return {name for name, node in old.items() if node.type == "merge"}


def _lead_through(draft: Draft, fresh: Sequence[Node], places: Sequence[Edge]) -> None:
    """Each place leads to the first new node; the last ones of those behind it lead where the place led."""
    new = {node.id: node for node in fresh}
    inner = graph.adjacency(new, ((edge.source, edge.target) for edge in draft.edges))
    head, behind = fresh[0], graph.reachable(inner, [fresh[0].id])
    ends = [node for node in fresh if node.id in behind and not inner[node.id]] or [head]
    draft.edges = list(_rerouted(draft.edges, head.id, new, places))
    for target in dict.fromkeys(place.target for place in places):
        draft.edges.extend(Edge(end.id, target, "true" if end.type == "if_else" else None) for end in ends)


def _rerouted(edges: list[Edge], head: str, new: dict[str, Node], places: Sequence[Edge]) -> Iterator[Edge]:
    meant = {id(place) for place in places}
    for edge in edges:
        if id(edge) in meant:
            yield Edge(edge.source, head, edge.handle)
        elif edge.target != head or edge.source in new:
            yield edge
