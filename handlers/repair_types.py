"""Repairs of the nodes as such: stale types mapped, ids made unique, a missing trigger added. Called by `mend`."""

from __future__ import annotations

from handlers.draft import Draft, Names, Node
from handlers.existing import recover_type
from schemas.catalog import STALE
from schemas.clean import one_line


def repair_types(draft: Draft, trigger: str) -> None:
    """Map types, make ids unique, add the trigger. What has no single right answer stays for the validator."""
    for index, node in enumerate(draft.nodes):
        _map_type(draft, index, node)
    draft.separate_ids()
    _add_trigger(draft, trigger)


def _map_type(draft: Draft, index: int, node: Node) -> None:
    said = node.type
    if said not in draft.catalog:
        node.type = recover_type(node.id, node.label, [said], draft.catalog)
    if node.type in STALE:
        node.type, implied = STALE[node.type][0], STALE[node.type][1]
        node.config = {**implied, **node.config}
    if node.type != said:
        draft.mended("UNKNOWN_NODE_TYPE", f"{one_line(said)} is {node.type} now.", "nodes", index, "type")


def _add_trigger(draft: Draft, trigger: str) -> None:
    if any(draft.is_trigger(node) for node in draft.nodes):
        return
    draft.nodes.insert(0, Node(Names(draft.ids).fresh(trigger), trigger))
    draft.mended("NO_TRIGGER", f"A trigger was missing; {trigger} was added.", "nodes")
