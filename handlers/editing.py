"""Applies the changes of an edit answer to the existing workflow: what is not asked for stays. Used by validate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consumer.job import JsonObject
from handlers.assemble import edge_into, entry_points, new_node
from handlers.draft import Draft, Edge, Names, Node
from handlers.edit_words import clears, removable
from handlers.inserting import insert
from schemas.clean import one_line
from schemas.subject import Known

# Leaves room, within the 4,000 characters of an explanation, for the names of what was removed.
MAX_TOLD = 1200
_UNCHANGED = "Nothing was changed."
_BLANK: tuple[Any, ...] = ("", None, [], {})


def apply_edit(draft: Draft, answer: JsonObject, known: Known) -> frozenset[str]:
    """Change the draft of the existing workflow in place; returns the ids of the nodes that are new.

    `known`: what the user gave with this job, the prompt among it; not what the workflow holds. A removal that the
    prompt does not ask for is not made, and `draft.repairs` says so; nor is a change that would lose a user's value.
    """
    before = _state(draft)
    told = _text(answer.get("explanation"))[:MAX_TOLD]
    _change(draft, answer.get("change"), known)
    fresh = _add(draft, answer.get("add"), known)
    insert(draft, fresh, known.prompt)
    removed = _remove(draft, answer.get("remove"), known.prompt)
    if _state(draft) == before:
        draft.explanation = _UNCHANGED
    else:
        draft.explanation = " ".join(filter(None, (told or "The workflow was changed as asked.", removed)))
    return frozenset(node.id for node in fresh)


def _state(draft: Draft) -> str:
    return repr((draft.nodes, draft.edges))


def _change(draft: Draft, changes: Any, known: Known) -> None:
    for change in changes if isinstance(changes, list) else ():
        node = _meant(draft, change.get("id")) if isinstance(change, dict) else None
        if node is not None:
            _set(draft, node, change.get("config"), known)


def _meant(draft: Draft, said: Any) -> Node | None:
    """The node of that id; else the only one with that id in other case, that label, or that type."""
    name = _text(said)
    exact = next((node for node in draft.nodes if node.id == name), None)
    if exact is not None or not name:
        return exact
    near = [node for node in draft.nodes if name.lower() in (node.id.lower(), node.label.lower(), node.type)]
    return near[0] if len(near) == 1 else None


def _set(draft: Draft, node: Node, config: Any, known: Known) -> None:
    """Set what the node's type knows. A blank, or a credential that nobody gave, replaces no value that is there."""
    kind = draft.catalog.get(node.type)
    for name, value in config.items() if isinstance(config, dict) else ():
        field = kind.field(name) if kind else None
        there = node.config.get(name) not in _BLANK
        blank = value in _BLANK and not clears(known.prompt)
        given = known.secret(value) if field and field.credential else known.account(value)
        lost = there and (blank or (field is not None and field.from_user and not given))
        if not lost and (field is not None or name in node.config):
            node.config = {**node.config, name: value}


def _add(draft: Draft, added: Any, known: Known) -> list[Node]:
    names, nodes = Names(draft.ids), {node.id: node for node in draft.nodes}
    fresh: list[Node] = []
    for key, raw in _entries(added):
        existing = nodes.get(_text(raw.get("id")) or key)
        if existing is not None and existing not in fresh and raw.get("type") in (existing.type, None):
            # The answer repeats a node that is there.
            _set(draft, existing, raw.get("config"), known)
            continue
        node = new_node(raw, names)
        # A new node's key never hides an existing id.
        nodes.setdefault(key, node)
        draft.edges.extend(edge_into(nodes, after, node) for after in entry_points(raw.get("after")))
        fresh.append(node)
    draft.nodes.extend(fresh)
    return fresh


def _entries(added: Any) -> Iterator[tuple[str, JsonObject]]:
    """By key; an unconstrained server may send a list, whose entries may say their ids."""
    if isinstance(added, dict):
        yield from ((key, raw) for key, raw in added.items() if isinstance(raw, dict))
    for number, raw in enumerate(added if isinstance(added, list) else (), start=1):
        if isinstance(raw, dict):
            yield _text(raw.get("id")) or f"n{number}", raw


def _remove(draft: Draft, removed: Any, prompt: str) -> str:
    """Take out what the prompt asks to take out; returns the sentence that says so."""
    said = [_meant(draft, name) for name in removed] if isinstance(removed, list) else []
    wanted = [node for node in draft.nodes if any(node is meant for meant in said)]
    gone = removable(draft, prompt, wanted)
    for node in wanted:
        if node not in gone:
            text = f"{one_line(node.id)} was to be removed, which the request does not ask for; it stays."
            draft.mended("LOST_NODE", text, "nodes", draft.nodes.index(node))
    for node in gone:
        _bridge(draft, node.id)
    draft.nodes = [node for node in draft.nodes if node not in gone]
    told = ", ".join(f"{one_line(node.label or node.type)} ({node.id})" for node in gone)
    return f"Removed: {told}." if gone else ""


def _bridge(draft: Draft, name: str) -> None:
    """Join what led to a node with what followed it."""
    before = [entry for entry in draft.edges if entry.target == name]
    behind = [entry.target for entry in draft.edges if entry.source == name]
    rest = [entry for entry in draft.edges if name not in (entry.source, entry.target)]
    draft.edges = [*rest, *(Edge(entry.source, target, entry.handle) for entry in before for target in behind)]


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
