"""Rules about template references: the engine can read them, and a variable is set before it is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consumer.errors import Violation
from schemas import graph
from schemas.clean import one_line
from schemas.subject import Json, Subject, pointer
from schemas.templates import Reference, references


def check(subject: Subject) -> Iterator[Violation]:
    """The violations of all references, node by node."""
    found = [(index, node, reference) for index, node in enumerate(subject.nodes) for reference in _in(node)]
    named = {reference.variable for _, _, reference in found} - {None}
    before = variables_before(subject.nodes, subject.edges) if named else {}
    for index, node, reference in found:
        text = _fault(reference, before.get(node["id"], frozenset()))
        if text:
            where = pointer("nodes", index, "config", *reference.path)
            yield Violation("BROKEN_TEMPLATE_REFERENCE", where, text)


def variables_before(nodes: Sequence[Json], edges: Sequence[Json]) -> dict[str, frozenset[str]]:
    """For every node not on a cycle, the variables that a set_variable on some way to it has stored."""
    names = {node["id"]: str(node["config"].get("name", "")) for node in nodes if node["type"] == "set_variable"}
    targets = graph.adjacency([node["id"] for node in nodes], [(edge["source"], edge["target"]) for edge in edges])
    bits = {name: 1 << index for index, name in enumerate(dict.fromkeys(names.values()))}
    masks = dict.fromkeys(targets, 0)
    for node in graph.order(targets):
        after = masks[node] | (bits[names[node]] if node in names else 0)
        for target in targets[node]:
            masks[target] |= after
    # One set per distinct mask: nodes along a chain share theirs.
    sets = {mask: frozenset(name for name, bit in bits.items() if mask & bit) for mask in set(masks.values())}
    return {node: sets[mask] for node, mask in masks.items()}


def _in(node: Json) -> Iterator[Reference]:
    yield from references(node["config"])


def _fault(reference: Reference, known: frozenset[str]) -> str | None:
    shown = one_line("{{" + reference.text + "}}")
    if not reference.sound:
        return f"{shown} is not a reference the engine knows; use {{{{input.field}}}} or {{{{variables.name}}}}."
    if reference.variable is not None and reference.variable not in known:
        return f"{shown} is used where no earlier set_variable has stored it."
    return None
