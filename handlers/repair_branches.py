"""Repairs of the exits of if_else and switch, without changing what runs when. Called by `mend`."""

from __future__ import annotations

from handlers.draft import Draft, Edge, Names, Node
from schemas.rules_edges import cases

_WAYS = ("true", "false")
_MEANT = {"yes": "true", "then": "true", "no": "false", "else": "false", "otherwise": "false"}


def repair_branches(draft: Draft) -> None:
    """Afterwards: handles only where they belong; every if_else has one edge each way, to different nodes."""
    exits: dict[str, list[Edge]] = {node.id: [] for node in draft.nodes}
    for edge in draft.edges:
        exits[edge.source].append(edge)
    names = Names(draft.ids)
    for node in list(draft.nodes):
        edges = exits[node.id]
        if node.type == "if_else":
            _name_ways(draft, node, edges)
            _complete(draft, node, edges, names)
        elif node.type == "switch":
            _name_cases(draft, node, edges, names)
        else:
            _drop_handles(draft, edges)
    _drop_repeated(draft)


def _drop_handles(draft: Draft, edges: list[Edge]) -> None:
    for edge in edges:
        if edge.handle is not None:
            draft.mended("BAD_SOURCE_HANDLE", f"{edge.source} has one exit only; the handle was dropped.", "edges")
            edge.handle = None


def _name_ways(draft: Draft, node: Node, edges: list[Edge]) -> None:
    used = {_way(edge) for edge in edges}
    for edge in edges:
        meant = _way(edge) or next((way for way in _WAYS if way not in used), "true")
        used.add(meant)
        if meant != edge.handle:
            draft.mended("BAD_SOURCE_HANDLE", f"The way from {node.id} to {edge.target} is {meant}.", "edges")
            edge.handle = meant


def _way(edge: Edge) -> str | None:
    said = (edge.handle or "").strip().lower()
    meant = _MEANT.get(said, said)
    return meant if meant in _WAYS else None


def _complete(draft: Draft, node: Node, edges: list[Edge], names: Names) -> None:
    for way in _WAYS:
        taken = [edge for edge in edges if edge.handle == way]
        others = {edge.target for edge in edges if edge.handle != way}
        # A noop in between changes nothing: it is where several edges start, or where nothing follows.
        if len(taken) != 1 or (way == "false" and taken[0].target in others):
            _pass_through(draft, node, way, taken, names)


def _pass_through(draft: Draft, node: Node, way: str, edges: list[Edge], names: Names) -> None:
    label = "Continue" if edges else "Do nothing"
    noop = Node(names.fresh("noop"), "noop", label)
    draft.nodes.append(noop)
    for edge in edges:
        edge.source, edge.handle = noop.id, None
    draft.edges.append(Edge(node.id, noop.id, way))
    draft.mended("MISSING_BRANCH", f"{noop.id} was put behind the way {way} of {node.id}.", "nodes")


def _name_cases(draft: Draft, node: Node, edges: list[Edge], names: Names) -> None:
    known = cases(node.config)
    if not edges:
        noop = Node(names.fresh("noop"), "noop", "Do nothing")
        draft.nodes.append(noop)
        edges = [Edge(node.id, noop.id)]
        draft.edges.extend(edges)
        draft.mended("MISSING_BRANCH", f"{noop.id} was put behind {node.id}.", "nodes")
    used = {edge.handle for edge in edges}
    spare = [case for case in known if case not in used]
    for number, edge in enumerate(edges, start=1):
        if edge.handle is None:
            edge.handle = spare.pop(0) if spare else f"case{number}"
            draft.mended("BAD_SOURCE_HANDLE", f"The way from {node.id} to {edge.target} is {edge.handle}.", "edges")
    missing = [edge.handle for edge in edges if edge.handle not in known]
    if missing:
        given = node.config.get("cases")
        node.config["cases"] = [*(given if isinstance(given, list) else []), *dict.fromkeys(missing)]


def _drop_repeated(draft: Draft) -> None:
    routes = {(edge.source, edge.target, edge.handle): edge for edge in reversed(draft.edges)}
    if len(routes) < len(draft.edges):
        draft.mended("DUPLICATE_EDGE", "An edge that was there twice was dropped.", "edges")
        draft.edges = list(reversed(routes.values()))
