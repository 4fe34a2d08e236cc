"""Turns the model's answer of create mode into a draft. Tolerant: an unconstrained server may send lists and edges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consumer.job import JsonObject
from handlers.draft import Draft, Edge, Names, Node
from handlers.plan import Plan
from handlers.shape import LABEL
from schemas.catalog import Catalog
from schemas.rules_edges import cases

TRIGGER = "trigger"


def assemble(answer: JsonObject, plan: Plan, catalog: Catalog) -> Draft:
    """The draft that the answer describes: trigger first, steps in the stated order, ids `<type>_<n>`."""
    draft = Draft(catalog, name=_text(answer.get("name")), summary=_text(answer.get("summary")))
    names, nodes = Names(()), dict[str, Node]()
    for key, raw in _raw_nodes(answer, plan):
        nodes.setdefault(key, new_node(raw, names))
    draft.nodes = list(nodes.values())
    for key, raw in _raw_nodes(answer, plan):
        draft.edges.extend(edge_into(nodes, entry, nodes[key]) for entry in entry_points(raw.get("after")))
    for raw in _objects(answer.get("edges")):
        draft.edges.append(_listed_edge(nodes, raw))
    return draft


def edge_into(nodes: dict[str, Node], after: str, target: Node) -> Edge:
    """The edge to `target` from what `after` says: a key of `nodes`, or a key and an exit (`n1.true`, `n2.case1`)."""
    source, handle = (after, None) if after in nodes else _split(after)
    known = nodes.get(source)
    return Edge(known.id if known else source, target.id, _exit(known, handle) if known else handle)


def _split(after: str) -> tuple[str, str | None]:
    source, _, handle = after.rpartition(".")
    return (source, handle) if source else (after, None)


def _exit(source: Node, handle: str | None) -> str | None:
    """`case2` of a switch is its second case value."""
    named = cases(source.config) if source.type == "switch" else []
    number = (handle or "").removeprefix("case")
    return named[int(number) - 1] if number.isdecimal() and 0 < int(number) <= len(named) else handle


def _raw_nodes(answer: JsonObject, plan: Plan) -> Iterator[tuple[str, JsonObject]]:
    trigger = answer.get(TRIGGER)
    if isinstance(trigger, dict):
        config = trigger.get("config")
        stated = {**(config if isinstance(config, dict) else {}), **plan.trigger_config}
        yield TRIGGER, {**trigger, "type": trigger.get("type", plan.trigger), "config": stated, "after": None}
    nodes = answer.get("nodes")
    if isinstance(nodes, dict):
        yield from ((key, raw) for key, raw in nodes.items() if isinstance(raw, dict))
    for index, raw in enumerate(_objects(nodes)):
        yield str(raw.get("id") or f"n{index + 1}"), raw


def _objects(value: Any) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def new_node(raw: JsonObject, names: Names) -> Node:
    """The node that an entry of the answer describes, with an id of its own."""
    kind, config = _text(raw.get("type")) or "unknown", raw.get("config")
    return Node(
        names.fresh(kind), kind, _label(_text(raw.get("label"))), dict(config) if isinstance(config, dict) else {}
    )


def _label(text: str) -> str:
    """Without the half word at the end that the schema's bound leaves."""
    return text.rsplit(" ", 1)[0] if len(text) >= LABEL - 1 and " " in text else text


def entry_points(after: Any) -> list[str]:
    """What `after` lists: one text, or several."""
    entries = after if isinstance(after, list) else [after]
    return [entry for entry in entries if isinstance(entry, str)]


def _listed_edge(nodes: dict[str, Node], raw: JsonObject) -> Edge:
    source, target = nodes.get(_text(raw.get("source"))), nodes.get(_text(raw.get("target")))
    handle = _text(raw.get("sourceHandle")) or None
    if source is None or target is None:
        return Edge(_text(raw.get("source")), _text(raw.get("target")), handle)
    return Edge(source.id, target.id, _exit(source, handle))


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
