"""Rules about edges and the graph they make: both ends exist, no cycle, all reachable, branches complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from consumer.errors import Violation
from schemas import graph
from schemas.clean import one_line
from schemas.subject import Json, Subject, pointer

WAYS = ("true", "false")
BRANCHING = ("if_else", "switch")


@dataclass(frozen=True, slots=True)
class Exits:
    """What the edges from a node may carry as `sourceHandle`; `cases` are those that a switch names."""

    type: str
    cases: frozenset[str]

    @classmethod
    def of(cls, node: Json) -> Exits:
        """The exits of a node."""
        return cls(node["type"], frozenset(cases(node["config"])) if node["type"] == "switch" else frozenset())

    def fit(self, handle: str | None) -> bool:
        """Whether an edge may carry it; a switch that names no cases takes any text."""
        if self.type == "if_else":
            return handle in WAYS
        if self.type == "switch":
            return handle is not None and (not self.cases or handle in self.cases)
        return handle is None


def check(subject: Subject) -> Iterator[Violation]:
    """The violations of the edges, then those of the graph."""
    exits = {node["id"]: Exits.of(node) for node in subject.nodes}
    yield from _edges(subject, exits)
    yield from _branches(subject)
    yield from _paths(subject)


def cases(config: Json) -> list[str]:
    """The case values that a switch names: `cases` holds texts, or objects with `value`."""
    raw = config.get("cases")
    values = [case.get("value") if isinstance(case, dict) else case for case in raw] if isinstance(raw, list) else []
    return [str(value) for value in values if isinstance(value, str | int | float) and str(value)]


def _edges(subject: Subject, exits: Mapping[str, Exits]) -> Iterator[Violation]:
    ids: set[str] = set()
    routes: set[tuple[str, str, str | None]] = set()
    for index, edge in enumerate(subject.edges):
        where, name = pointer("edges", index), one_line(edge["id"])
        yield from _ends(exits, edge, where)
        route = (edge["source"], edge["target"], edge.get("sourceHandle"))
        if route in routes:
            yield Violation("DUPLICATE_EDGE", where, f"The edge {name} is there twice.", "Remove one of the two.")
        elif edge["id"] in ids:
            text = f"The id {name} is used by more than one edge."
            yield Violation("DUPLICATE_EDGE", where, text, "Give each edge its own id.")
        ids.add(edge["id"])
        routes.add(route)
        if edge["source"] in exits and edge["source"] not in subject.unknown:
            yield from _handle(exits[edge["source"]], edge, where)
        if edge["target"] in subject.triggers:
            text = f"{one_line(edge['target'])} is a trigger: nothing can lead to it."
            yield Violation("EDGE_INTO_TRIGGER", f"{where}/target", text, "Remove the edge.")


def _ends(exits: Mapping[str, Exits], edge: Json, where: str) -> Iterator[Violation]:
    for end in ("source", "target"):
        if edge[end] not in exits:
            text = f"The edge {one_line(edge['id'])} names a node that does not exist: {one_line(edge[end])}."
            yield Violation("DANGLING_EDGE", f"{where}/{end}", text, f"Name an existing {end}, or remove the edge.")
    if edge["source"] == edge["target"]:
        text = f"The edge {one_line(edge['id'])} leads from a node to itself."
        yield Violation("SELF_LOOP", where, text, "Remove the edge.")


def _handle(exits: Exits, edge: Json, where: str) -> Iterator[Violation]:
    handle, source = edge.get("sourceHandle"), one_line(edge["source"])
    if exits.fit(handle):
        return
    if handle is None:
        text = f"The edge {one_line(edge['id'])} does not say which way out of {source} ({exits.type}) it takes."
    else:
        text = f"{one_line(handle)} is not an exit of {source} ({one_line(exits.type)})."
    yield Violation("BAD_SOURCE_HANDLE", f"{where}/sourceHandle", text, _right_handle(exits))


def _right_handle(exits: Exits) -> str:
    if exits.type == "if_else":
        return "Set sourceHandle to true or false."
    return "Set sourceHandle to a case of the switch." if exits.type == "switch" else "Remove sourceHandle."


def _branches(subject: Subject) -> Iterator[Violation]:
    edges: dict[str, list[Json]] = {node["id"]: [] for node in subject.nodes if _branching(subject, node)}
    for edge in subject.edges:
        if edge["source"] in edges:
            edges[edge["source"]].append(edge)
    for index, node in enumerate(subject.nodes):
        where = pointer("nodes", index)
        if not _branching(subject, node):
            continue
        if node["type"] == "if_else":
            yield from _ways(one_line(node["id"]), edges[node["id"]], where)
        elif not edges[node["id"]]:
            text = f"The switch {one_line(node['id'])} leads nowhere."
            yield Violation("MISSING_BRANCH", where, text, "Add an edge for each case.")


def _branching(subject: Subject, node: Json) -> bool:
    return node["type"] in BRANCHING and node["id"] not in subject.unknown


def _ways(name: str, edges: Sequence[Json], where: str) -> Iterator[Violation]:
    targets = {way: {edge["target"] for edge in edges if edge.get("sourceHandle") == way} for way in WAYS}
    # An edge with a bad handle may be meant for the missing way; the handle is what is wrong then.
    astray = sum(edge.get("sourceHandle") not in WAYS for edge in edges)
    for way in WAYS:
        if not targets[way] and astray:
            astray -= 1
        elif len(targets[way]) != 1:
            text = f"{name} needs exactly one edge for {way}, and has {len(targets[way])}."
            yield Violation("MISSING_BRANCH", where, text, f"Keep or add one edge for {way}.")
    if len(targets["true"]) == 1 and targets["true"] == targets["false"]:
        text = f"Both ways out of {name} lead to the same node."
        yield Violation("MISSING_BRANCH", where, text, "Lead one way to another node.")


def _paths(subject: Subject) -> Iterator[Violation]:
    targets = graph.adjacency(
        [node["id"] for node in subject.nodes],
        [(edge["source"], edge["target"]) for edge in subject.edges if edge["source"] != edge["target"]],
    )
    circling = graph.on_cycles(targets)
    starts = subject.starts
    reached = graph.reachable(targets, starts)
    for index, node in enumerate(subject.nodes):
        where, name = pointer("nodes", index), one_line(node["id"])
        if node["id"] in circling:
            text = f"{name} is on a cycle, so it never runs."
            yield Violation("CYCLE", where, text, "Remove the edge that leads back.")
        elif starts and node["id"] not in reached:
            text = f"No trigger leads to {name}."
            yield Violation("UNREACHABLE_NODE", where, text, f"Connect an earlier step to {name}, or remove it.")
