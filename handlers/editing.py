"""Applies the changes of an edit answer to the existing workflow: what is not named stays. Used by validate."""

from __future__ import annotations

from typing import Any

from consumer.job import JsonObject
from handlers.assemble import edge_into, entry_points, new_node
from handlers.draft import Draft, Edge, Names, Node
from schemas.clean import one_line


def apply_edit(draft: Draft, answer: JsonObject) -> frozenset[str]:
    """Change the draft of the existing workflow in place; returns the ids of the nodes that are new."""
    draft.explanation = _text(answer.get("explanation")) or "The workflow was changed as asked."
    _change(draft, answer.get("change"))
    fresh = _add(draft, answer.get("add"))
    _remove(draft, answer.get("remove"))
    return fresh


def _change(draft: Draft, changes: Any) -> None:
    nodes = {node.id: node for node in draft.nodes}
    for change in changes if isinstance(changes, list) else ():
        node = nodes.get(_text(change.get("id"))) if isinstance(change, dict) else None
        if node is not None and isinstance(change.get("config"), dict):
            node.config = {**node.config, **change["config"]}


def _add(draft: Draft, added: Any) -> frozenset[str]:
    entries = {key: raw for key, raw in added.items() if isinstance(raw, dict)} if isinstance(added, dict) else {}
    names, nodes = Names(draft.ids), {node.id: node for node in draft.nodes}
    fresh: list[Node] = []
    for key, raw in entries.items():
        node = new_node(raw, names)
        # A new node's key never hides an existing id.
        nodes.setdefault(key, node)
        draft.edges.extend(edge_into(nodes, after, node) for after in entry_points(raw.get("after")))
        fresh.append(node)
    draft.nodes.extend(fresh)
    return frozenset(node.id for node in fresh)


def _remove(draft: Draft, removed: Any) -> None:
    wanted = {name for name in removed if isinstance(name, str)} if isinstance(removed, list) else set()
    gone = [node for node in draft.nodes if node.id in wanted and not draft.is_trigger(node)]
    for node in gone:
        _bridge(draft, node.id)
    draft.nodes = [node for node in draft.nodes if node not in gone]
    if gone:
        told = ", ".join(f"{one_line(node.label or node.type)} ({node.id})" for node in gone)
        draft.explanation = f"{draft.explanation} Removed: {told}."


def _bridge(draft: Draft, name: str) -> None:
    """Join what led to a node with what followed it."""
    before = [entry for entry in draft.edges if entry.target == name]
    behind = [entry.target for entry in draft.edges if entry.source == name]
    rest = [entry for entry in draft.edges if name not in (entry.source, entry.target)]
    draft.edges = [*rest, *(Edge(entry.source, target, entry.handle) for entry in before for target in behind)]


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
