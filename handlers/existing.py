"""Reads the workflow that a person wants to edit, in flat or in editor form, into a draft. Used by edit mode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from consumer.job import JsonObject
from handlers.draft import Draft, Edge, Node
from handlers.search import named_types
from schemas.catalog import STALE, Catalog
from schemas.clean import clean

_SLUG = re.compile(r"[^a-z0-9]+")
_DIGITS = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?")


def read_existing(workflow: Mapping[str, Any], catalog: Catalog) -> Draft:
    """The draft of an existing workflow: types recovered, ids, positions and configs as they are."""
    raw: JsonObject = clean(dict(workflow))
    draft = Draft(catalog, name=_text(raw.get("name")), summary=_text(raw.get("summary")))
    draft.nodes = [_node(draft, index, node) for index, node in enumerate(_objects(raw.get("nodes")))]
    draft.separate_ids()
    draft.edges = [_edge(edge) for edge in _objects(raw.get("edges"))]
    return draft


def recover_type(node_id: str, label: str, kinds: list[str], catalog: Catalog) -> str:
    """The real type: what the node says, else by its id's prefix (`slack_message_3`) or its label (contract §5).

    A label that is no type's name decides when it names exactly one ("Send to Slack").
    """
    slug = _SLUG.sub("_", label.lower()).strip("_")
    for name in (*kinds, _prefix(node_id, catalog), slug):
        if name in catalog or name in STALE:
            return name
    named = named_types(label.lower(), catalog)
    return next(iter(named)) if len(named) == 1 else kinds[0]


def _prefix(node_id: str, catalog: Catalog) -> str:
    # No type's name is longer (workflow.schema.json); an id of many parts must not cost their square.
    parts = re.split(r"[_-]", node_id[:100])
    prefixes = ("_".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in prefixes if name in catalog or name in STALE), "")


def _node(draft: Draft, index: int, raw: JsonObject) -> Node:
    data = raw["data"] if isinstance(raw.get("data"), dict) else raw
    label = _text(data.get("label")) or _text(raw.get("label"))
    node_id = _name(raw.get("id")) or f"node_{index + 1}"
    said = _text(raw.get("type")) or "custom"
    kind = recover_type(node_id, label, [_text(data.get("type")) or said, said], draft.catalog)
    if kind != said and not isinstance(raw.get("data"), dict):
        draft.mended("UNKNOWN_NODE_TYPE", f"{said} is {kind}, by its id or label.", "nodes", index, "type")
    config = data.get("config")
    return Node(node_id, kind, label, config if isinstance(config, dict) else {}, _position(raw.get("position")))


def _position(value: Any) -> JsonObject | None:
    if not isinstance(value, dict):
        return None
    x, y = _number(value.get("x")), _number(value.get("y"))
    return {"x": x, "y": y} if x is not None and y is not None else None


def _number(value: Any) -> int | float | None:
    """Old editors send numbers as strings too."""
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        value = float(value) if "." in value else int(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _edge(raw: JsonObject) -> Edge:
    handle = _text(raw.get("sourceHandle")) or None
    return Edge(_name(raw.get("source")), _name(raw.get("target")), handle, _text(raw.get("id")))


def _objects(value: Any) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _name(value: Any) -> str:
    """An id; a number is read as its digits."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
