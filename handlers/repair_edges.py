"""Repairs of the edges: the impossible is dropped, what nothing leads to is wired up. Called by `mend`."""

from __future__ import annotations

from handlers.draft import Draft, Edge
from schemas import graph
from schemas.clean import one_line


def repair_edges(draft: Draft) -> None:
    """Afterwards: both ends exist, no cycle, no edge into a trigger, and every step has an input."""
    _drop_impossible(draft)
    _drop_cycles(draft)
    _wire_orphans(draft)


def _drop_impossible(draft: Draft) -> None:
    triggers = {node.id for node in draft.nodes if draft.is_trigger(node)}
    ids = set(draft.ids)
    kept: dict[tuple[str, str, str | None], Edge] = {}
    for index, edge in enumerate(draft.edges):
        route = (edge.source, edge.target, edge.handle)
        fault = _fault(edge, ids, triggers) or ("DUPLICATE_EDGE" if route in kept else None)
        if fault is None:
            kept[route] = edge
        else:
            text = f"An edge from {one_line(edge.source)} to {one_line(edge.target)} was dropped."
            draft.mended(fault, text, "edges", index)
    draft.edges = list(kept.values())


def _fault(edge: Edge, ids: set[str], triggers: set[str]) -> str | None:
    if edge.source not in ids or edge.target not in ids:
        return "DANGLING_EDGE"
    if edge.source == edge.target:
        return "SELF_LOOP"
    return "EDGE_INTO_TRIGGER" if edge.target in triggers else None


def _drop_cycles(draft: Draft) -> None:
    targets = graph.adjacency(draft.ids, [(edge.source, edge.target) for edge in draft.edges])
    closing = graph.back_edges(targets, [node.id for node in draft.nodes if draft.is_trigger(node)])
    for edge in draft.edges:
        if (edge.source, edge.target) in closing:
            draft.mended("CYCLE", f"The edge from {edge.source} back to {edge.target} was dropped.", "edges")
    draft.edges = [edge for edge in draft.edges if (edge.source, edge.target) not in closing]


def _wire_orphans(draft: Draft) -> None:
    nodes = {node.id: node for node in draft.nodes}
    targets = graph.adjacency(nodes, [(edge.source, edge.target) for edge in draft.edges])
    fed = {edge.target for edge in draft.edges}
    before = next(node.id for node in draft.nodes if draft.is_trigger(node))
    for name in graph.order(targets):
        if draft.is_trigger(nodes[name]):
            continue
        if name not in fed:
            # The order is topological, so the step before cannot lie behind this one.
            draft.edges.append(Edge(before, name))
            draft.mended("UNREACHABLE_NODE", f"{name} was connected to {before}.", "edges")
        before = name
