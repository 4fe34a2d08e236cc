"""Repairs of references: `{{email}}` and `{{trigger.email}}` can only mean `{{input.email}}`. Called by `mend`."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from handlers.draft import Draft, Node
from schemas.rules_templates import variables_before
from schemas.templates import CODE_FIELDS, TEMPLATE, Reference

_PATH = re.compile(r"\s*\$?([A-Za-z_][\w-]*(?:\.[A-Za-z_$][\w$-]*|\[\d+\])*)\s*")


def repair_templates(draft: Draft) -> None:
    """Rewrite references that the engine cannot read and that have one meaning; the rest stays for the validator."""
    nodes = [{"id": node.id, "type": node.type, "config": node.config} for node in draft.nodes]
    before = variables_before(nodes, [{"source": edge.source, "target": edge.target} for edge in draft.edges])
    for index, node in enumerate(draft.nodes):
        _repair_node(draft, index, node, before.get(node.id, ()))


def _repair_node(draft: Draft, index: int, node: Node, known: Container[str]) -> None:
    for name, value in node.config.items():
        after = value if name in CODE_FIELDS else _walk(value, known)
        if after != value:
            node.config[name] = after
            text = "A reference was rewritten to one the engine knows."
            draft.mended("BROKEN_TEMPLATE_REFERENCE", text, "nodes", index, "config", name)


def _walk(value: Any, known: Container[str]) -> Any:
    if isinstance(value, str):
        return TEMPLATE.sub(lambda match: _rewritten(match, known), value)
    if isinstance(value, dict):
        return {key: _walk(item, known) for key, item in value.items()}
    return [_walk(item, known) for item in value] if isinstance(value, list) else value


def _rewritten(match: re.Match[str], known: Container[str]) -> str:
    reference = Reference(match[1], ())
    if reference.sound and (reference.variable is None or reference.variable in known):
        return match[0]
    path = _PATH.fullmatch(match[1])
    if path is None:
        return match[0]
    root, _, rest = path[1].partition(".")
    field = rest or root
    root = "variables" if not rest and field in known else "input"
    return "{{" + f"{root}.{field}" + "}}"
