"""Repairs of config values: the user's values put in place, types coerced, defaults, templates. Called by `mend`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from handlers.coerce import coerce
from handlers.draft import Draft, Node
from handlers.facts import Facts
from handlers.repair_forms import complete_form
from handlers.shape import stated, usual_operation
from handlers.supplied import Supplied
from schemas.catalog import Field, NodeType
from schemas.rules_nodes import allowed, filled, well_typed


def repair_values(draft: Draft, supplied: Supplied, facts: Facts, fresh: frozenset[str]) -> None:
    """Fill and type the config of every node. What the prompt states goes only into `fresh` nodes (ids)."""
    kinds = {node.type for node in draft.nodes}
    owners = Counter(field.name for kind in kinds if kind in draft.catalog for field in draft.catalog[kind].fields)
    for index, node in enumerate(draft.nodes):
        kind = draft.catalog.get(node.type)
        if kind is not None:
            _fill_given(node, kind, supplied, owners, facts if node.id in fresh else None)
            _repair_config(draft, index, node, kind)


def _fill_given(node: Node, kind: NodeType, supplied: Supplied, owners: Counter[str], facts: Facts | None) -> None:
    """`facts` is None for a node that was there before: what it holds is the user's, and only gaps are filled."""
    config = {"operation": usual_operation(kind), **node.config}
    for field in kind.fields:
        given = supplied.value(kind.name, field.name, sole=owners[field.name] == 1)
        said = stated(field, facts or Facts())
        if facts is None and filled(field, node.config.get(field.name)):
            continue
        if given is not None:
            node.config[field.name] = given
        elif said is not None and (field.required or field.needed(config) or field.name == "channel"):
            node.config[field.name] = said


def _repair_config(draft: Draft, index: int, node: Node, kind: NodeType) -> None:
    if kind.name == "form":
        complete_form(node)
    for field in kind.fields:
        if field.name in node.config:
            _retype(draft, index, node, field)
    for field in kind.fields:
        if field.needed(node.config) and not filled(field, node.config.get(field.name)):
            _default(draft, index, node, field)


def _retype(draft: Draft, index: int, node: Node, field: Field) -> None:
    before = node.config[field.name]
    after = coerce(field, before)
    if not _fits(field, after) and field.default is not None and filled(field, before):
        after = field.default
    if type(after) is type(before) and after == before:
        return
    node.config[field.name] = after
    code = "INVALID_OPTION" if field.options or field.format else "INVALID_FIELD_TYPE"
    draft.mended(code, f"{field.name} was brought to type {field.type}.", "nodes", index, "config", field.name)


def _fits(field: Field, value: Any) -> bool:
    return well_typed(field, value) and allowed(field, value)


def _default(draft: Draft, index: int, node: Node, field: Field) -> None:
    if field.from_user:
        node.config[field.name] = ""
    elif field.default is not None:
        node.config[field.name] = field.default
        text = f"{field.name} was not given; {field.default} is assumed."
        draft.mended("MISSING_REQUIRED_FIELD", text, "nodes", index, "config", field.name)
