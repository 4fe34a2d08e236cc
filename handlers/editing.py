"""Applies the changes of an edit answer to the existing workflow: what is not asked for stays. Used by validate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from consumer.job import JsonObject
from handlers.assemble import edge_into, entry_points, new_node
from handlers.bridging import Bridges
from handlers.draft import Draft, Names, Node
from handlers.edit_words import clears, names, removable
from handlers.inserting import insert
from schemas.clean import one_line
from schemas.subject import Known

# Together with a few words they fit the 4,000 characters of an explanation: what the model says, what was changed
# beyond the request, and the names of what was removed.
MAX_TOLD, MAX_BEYOND, MAX_REMOVED = 1200, 400, 2200
_UNCHANGED = "Nothing was changed."
_BLANK: tuple[Any, ...] = ("", None, [], {})


def apply_edit(draft: Draft, answer: JsonObject, known: Known) -> frozenset[str]:
    """Change the draft of the existing workflow in place; returns the ids of the nodes that are new.

    `known`: what the user gave with this job, the prompt among it; not what the workflow holds. A removal that the
    prompt does not ask for is not made, and `draft.repairs` says so; nor is a change that would lose a user's value.
    """
    before = _state(draft)
    told = _text(answer.get("explanation"))[:MAX_TOLD]
    configs = {node.id: node.config for node in draft.nodes}
    _change(draft, answer.get("change"), known)
    fresh = _add(draft, answer.get("add"), known)
    beyond = _beyond(draft, configs, known.prompt)
    insert(draft, fresh, known.prompt)
    removed = _remove(draft, answer.get("remove"), known.prompt)
    if _state(draft) == before:
        draft.explanation = _UNCHANGED
    else:
        draft.explanation = " ".join(filter(None, (told or "The workflow was changed as asked.", beyond, removed)))
    return frozenset(node.id for node in fresh)


def _state(draft: Draft) -> str:
    return repr((draft.nodes, draft.edges))


def _change(draft: Draft, changes: Any, known: Known) -> None:
    index = _Index(draft.nodes)
    for change in changes if isinstance(changes, list) else ():
        node = index.meant(change.get("id")) if isinstance(change, dict) else None
        if node is not None:
            _set(draft, node, change.get("config"), known)


def _beyond(draft: Draft, configs: Mapping[str, JsonObject], prompt: str) -> str:
    """The sentence that tells of changed nodes which the request does not name, when it names others."""
    old = [node for node in draft.nodes if node.id in configs]
    changed = [node for node in old if node.config != configs[node.id]]
    beyond = [node for node in changed if not names(draft, prompt, node)]
    if not beyond or (len(beyond) == len(changed) and not any(names(draft, prompt, node) for node in old)):
        return ""
    told = ", ".join(f"{one_line(node.label or node.type)} ({one_line(node.id)})" for node in beyond)
    return one_line(f"Also changed, though the request does not name it: {told}.", MAX_BEYOND)


class _Index:
    """Finds the node that an answer means: by id; else the only one with that id in other case, label, or type."""

    def __init__(self, nodes: list[Node]) -> None:
        self._by_id = {node.id: node for node in nodes}
        self._near: dict[str, list[Node]] = {}
        for node in nodes:
            for name in {node.id.lower(), node.label.lower(), node.type}:
                self._near.setdefault(name, []).append(node)

    def meant(self, said: Any) -> Node | None:
        """The node, if one is meant."""
        name = _text(said)
        near = self._near.get(name.lower(), []) if name else []
        return self._by_id.get(name) or (near[0] if len(near) == 1 else None)


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
    fresh_ids, nodes = Names(draft.ids), {node.id: node for node in draft.nodes}
    fresh: list[Node] = []
    for key, raw in _entries(added):
        existing = nodes.get(_text(raw.get("id")) or key)
        if existing is not None and existing not in fresh and raw.get("type") in (existing.type, None):
            # The answer repeats a node that is there.
            _set(draft, existing, raw.get("config"), known)
            continue
        node = new_node(raw, fresh_ids)
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
    index = _Index(draft.nodes)
    said = {node.id for name in (removed if isinstance(removed, list) else ()) if (node := index.meant(name))}
    asked = {node.id for node in removable(draft, prompt, [node for node in draft.nodes if node.id in said])}
    told = _take_out(draft, said, asked)
    draft.nodes = [node for node in draft.nodes if node.id not in told]
    return f"Removed: {', '.join(told.values())}." if told else ""


def _take_out(draft: Draft, said: set[str], asked: set[str]) -> dict[str, str]:
    """Bridge the nodes that may go; returns how the explanation names each. What it has no room for stays."""
    bridges, told, room = Bridges(draft.edges), dict[str, str](), MAX_REMOVED
    brief = sum(len(node.label) + len(node.id) for node in draft.nodes if node.id in asked) > room // 2
    for index, node in enumerate(draft.nodes):
        if node.id not in said:
            continue
        text = f"({node.id})" if brief else f"{one_line(node.label or node.type)} ({node.id})"
        why = _stays(node, asked, len(text) + 2 < room)
        if why is None and not bridges.remove(node.id):
            why = "it joins too many steps."
        if why is not None:
            draft.mended("LOST_NODE", f"{one_line(node.id)} was to be removed, but stays: {why}", "nodes", index)
        else:
            told[node.id], room = text, room - len(text) - 2
    draft.edges = bridges.edges
    return told


def _stays(node: Node, asked: set[str], fits: bool) -> str | None:
    if node.id not in asked:
        return "the request does not ask for it."
    return None if fits else "no more removals can be told at once. Ask again for the rest."


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
