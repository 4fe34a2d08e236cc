"""Puts new nodes where the words say: between two nodes that are there, or before one. Called by `editing`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from handlers.draft import Draft, Edge, Node
from handlers.edit_words import names, stands
from schemas import graph

_BETWEEN = re.compile(
    r"\b(?:between|zwischen|entre|tussen|tra|между)\s+([^.;:\n]{1,120}?)\s+(?:and|und|y|et|e|en|и)\s+([^.;:\n]{1,120})"
)
_BEFORE = re.compile(r"\b(?:before|in front of|vor|avant|antes de|prima di|перед)\s+([^.,;:\n]{1,120})")
# So many places of one prompt are looked at.
MAX_SAID = 4
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
    between, before = _BETWEEN.findall(prompt)[:MAX_SAID], _BEFORE.findall(prompt)[:MAX_SAID]
    for named in (_called, _meant):
        for one, other in between:
            ends = named(draft, old, one), named(draft, old, other)
            joining = _joining(edges, *ends) or _joining(edges, *reversed(ends))
            if len(joining) == 1:
                return joining
        for text in before:
            found = named(draft, old, text)
            if len(found) == 1 and not found & _merges(old):
                return [edge for edge in edges if edge.target in found]
    return []


def _joining(edges: list[Edge], sources: set[str], targets: set[str]) -> list[Edge]:
    return [edge for edge in edges if edge.source in sources and edge.target in targets]


def _called(draft: Draft, old: dict[str, Node], text: str) -> set[str]:
    """The nodes whose own id or label stands in the text; "Tell support" does not name "Tell"."""
    said = {
        name: max((own for own in (name.lower(), node.label.lower()) if _telling(own, text)), key=len, default="")
        for name, node in old.items()
    }
    longest = max(said.values(), key=len, default="")
    return {name for name, own in said.items() if own and (own == longest or own not in longest)}


def _telling(own: str, text: str) -> bool:
    """Whether the text holds it; short words, such as the label "A", are words of the language."""
    return (len(own) > 2 or any(char.isdigit() for char in own)) and stands(own, text)


def _meant(draft: Draft, old: dict[str, Node], text: str) -> set[str]:
    """Also those that the text names by their type, and the trigger where it says so."""
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
