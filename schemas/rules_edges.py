"""Rules about edges and the graph they make: both ends exist, no cycle, all reachable, branches complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from consumer.errors import Violation
from schemas import graph
from schemas.clean import one_line
from schemas.subject import Json, Subject, pointer

BRANCHING = ("if_else", "switch")


def check(subject: Subject) -> Iterator[Violation]:
    """The violations of the edges, then those of the graph."""
    yield from _edges(subject)
    yield from _branches(subject)
    yield from _paths(subject)


def cases(config: Json) -> list[str]:
    """The case values that a switch names: `cases` holds texts, or objects with `value`."""
    raw = config.get("cases")
    values = [case.get("value") if isinstance(case, dict) else case for case in raw] if isinstance(raw, list) else []
    return [str(value) for value in values if isinstance(value, str | int | float) and str(value)]


def _edges(subject: Subject) -> Iterator[Violation]:
    kinds = {node["id"]: node for node in subject.nodes}
    triggers = _triggers(subject)
    ids: set[str] = set()
    routes: set[tuple[str, str, str | None]] = set()
    for index, edge in enumerate(subject.edges):
        where = pointer("edges", index)
        yield from _ends(kinds, edge, where)
        route = (edge["source"], edge["target"], edge.get("sourceHandle"))
        if edge["id"] in ids or route in routes:
            yield Violation("DUPLICATE_EDGE", where, f"The edge {one_line(edge['id'])} is there twice.")
        ids.add(edge["id"])
        routes.add(route)
        if edge["source"] in kinds:
            yield from _handle(kinds[edge["source"]], edge, where)
        if edge["target"] in triggers:
            text = f"{one_line(edge['target'])} is a trigger: nothing can lead to it."
            yield Violation("EDGE_INTO_TRIGGER", f"{where}/target", text)


def _triggers(subject: Subject) -> set[str]:
    return {node["id"] for node in subject.nodes if (kind := subject.type_of(node)) is not None and kind.trigger}


def _ends(kinds: Mapping[str, Json], edge: Json, where: str) -> Iterator[Violation]:
    for end in ("source", "target"):
        if edge[end] not in kinds:
            text = f"The edge {one_line(edge['id'])} names a node that does not exist: {one_line(edge[end])}."
            yield Violation("DANGLING_EDGE", f"{where}/{end}", text)
    if edge["source"] == edge["target"]:
        yield Violation("SELF_LOOP", where, f"The edge {one_line(edge['id'])} leads from a node to itself.")


def _handle(source: Json, edge: Json, where: str) -> Iterator[Violation]:
    handle = edge.get("sourceHandle")
    if handle_fits(source, handle):
        return
    text = f"{one_line(str(handle))} is not an exit of {one_line(source['id'])} ({one_line(source['type'])})."
    yield Violation("BAD_SOURCE_HANDLE", f"{where}/sourceHandle", text)


def handle_fits(source: Json, handle: str | None) -> bool:
    """Whether an edge from this node may carry that `sourceHandle`."""
    if source["type"] == "if_else":
        return handle in ("true", "false")
    if source["type"] == "switch":
        named = cases(source["config"])
        return handle is not None and (not named or handle in named)
    return handle is None


def _branches(subject: Subject) -> Iterator[Violation]:
    exits: dict[str, list[Json]] = {node["id"]: [] for node in subject.nodes if node["type"] in BRANCHING}
    for edge in subject.edges:
        if edge["source"] in exits:
            exits[edge["source"]].append(edge)
    for index, node in enumerate(subject.nodes):
        if node["type"] in BRANCHING:
            yield from _branch(node, exits[node["id"]], pointer("nodes", index))


def _branch(node: Json, edges: Sequence[Json], where: str) -> Iterator[Violation]:
    if node["type"] == "switch":
        if not edges:
            yield Violation("MISSING_BRANCH", where, f"The switch {one_line(node['id'])} leads nowhere.")
        return
    for handle in ("true", "false"):
        targets = [edge["target"] for edge in edges if edge.get("sourceHandle") == handle]
        if len(targets) != 1:
            text = f"{one_line(node['id'])} needs exactly one edge for {handle}, and has {len(targets)}."
            yield Violation("MISSING_BRANCH", where, text)
    if len(edges) == 2 and edges[0]["target"] == edges[1]["target"]:
        yield Violation("MISSING_BRANCH", where, f"Both ways out of {one_line(node['id'])} lead to the same node.")


def _paths(subject: Subject) -> Iterator[Violation]:
    targets = graph.adjacency(
        [node["id"] for node in subject.nodes],
        [(edge["source"], edge["target"]) for edge in subject.edges if edge["source"] != edge["target"]],
    )
    circling = graph.on_cycles(targets)
    starts = _triggers(subject)
    reached = graph.reachable(targets, starts)
    for index, node in enumerate(subject.nodes):
        name = one_line(node["id"])
        if node["id"] in circling:
            yield Violation("CYCLE", pointer("nodes", index), f"{name} is on a cycle, so it never runs.")
        elif starts and node["id"] not in reached:
            yield Violation("UNREACHABLE_NODE", pointer("nodes", index), f"No trigger leads to {name}.")
