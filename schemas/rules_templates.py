"""Rules about template references: the engine can read them, and a variable is set before it is used."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from consumer.errors import Violation
from schemas import graph
from schemas.clean import one_line
from schemas.subject import Json, Subject, pointer
from schemas.templates import Reference, references

# Stands for every name: what a set_variable without a name stores, or a node of unknown type.
ANY = ""


@dataclass(frozen=True, slots=True)
class Stored(Container[str]):
    """The names of the variables that are stored before a node. `bits` is shared by all nodes, `mask` its own.

    A set for each node would cost as much as nodes times variables.
    """

    bits: Mapping[str, int]
    mask: int

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.mask & self.bits.get(name, 0))


def check(subject: Subject) -> Iterator[Violation]:
    """The violations of all references, node by node."""
    found = [(index, node, reference) for index, node in enumerate(subject.nodes) for reference in _in(node)]
    named = any(reference.variable is not None for _, _, reference in found)
    before = variables_before(subject.nodes, subject.edges, subject.unknown) if named else {}
    for index, node, reference in found:
        fault = _fault(reference, before.get(node["id"]))
        if fault is not None:
            where = pointer("nodes", index, "config", *reference.path)
            yield Violation("BROKEN_TEMPLATE_REFERENCE", where, *fault)


def variables_before(
    nodes: Sequence[Json], edges: Sequence[Json], unknown: Set[str] = frozenset()
) -> dict[str, Stored]:
    """For every node neither on nor behind a cycle, the variables that a set_variable on some way to it has stored.

    They contain `ANY` behind a set_variable whose name is missing, and behind a node whose id is in `unknown`.
    """
    names = {node["id"]: ANY if node["id"] in unknown else _name(node) for node in nodes if _stores(node, unknown)}
    targets = graph.adjacency([node["id"] for node in nodes], [(edge["source"], edge["target"]) for edge in edges])
    bits = {name: 1 << index for index, name in enumerate(dict.fromkeys(names.values()))}
    masks = dict.fromkeys(targets, 0)
    order = graph.order(targets)
    for node in order:
        after = masks[node] | (bits[names[node]] if node in names else 0)
        for target in targets[node]:
            masks[target] |= after
    return {node: Stored(bits, masks[node]) for node in order}


def _stores(node: Json, unknown: Set[str]) -> bool:
    return node["type"] == "set_variable" or node["id"] in unknown


def _name(node: Json) -> str:
    name = node["config"].get("name")
    return name if isinstance(name, str) and name.strip() else ANY


def _in(node: Json) -> Iterator[Reference]:
    yield from references(node["config"])


def _fault(reference: Reference, before: Container[str] | None) -> tuple[str, str] | None:
    """What is wrong and what would fix it. `before` is None on and behind a cycle, where nobody can say."""
    shown = one_line("{{" + reference.text + "}}")
    if not reference.sound:
        return f"{shown} is not a reference the engine knows.", "Use {{input.field}} or {{variables.name}}."
    name = reference.variable
    if name is None or before is None or name in before or ANY in before:
        return None
    text = f"{shown} is used where no earlier set_variable has stored it."
    return text, f"Store {one_line(name)} with a set_variable before, or use {{{{input.field}}}}."
