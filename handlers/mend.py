"""Deterministic repair: brings a draft as near to the contract as there is one right answer, then says what it became.

Called by the validate step; the validator judges the result independently.
"""

from __future__ import annotations

from consumer.job import JsonObject
from handlers.credentials import blank_invented, blank_loose, required_credentials
from handlers.draft import Draft, Edge, Names, Node
from handlers.layout import lay_out
from handlers.plan import Plan
from handlers.repair_branches import repair_branches
from handlers.repair_edges import repair_edges
from handlers.repair_templates import repair_templates
from handlers.repair_types import repair_types
from handlers.repair_values import repair_values
from handlers.supplied import Supplied
from schemas.clean import clean_text, one_line
from schemas.subject import Known


def mend(draft: Draft, planned: Plan, supplied: Supplied, known: Known, fresh: frozenset[str]) -> JsonObject:
    """The workflow in flat form. `draft.repairs` then says what was done; `fresh` are the ids of new nodes."""
    repair_types(draft, planned.trigger)
    repair_values(draft, supplied, planned.facts, fresh)
    repair_edges(draft)
    repair_branches(draft)
    repair_templates(draft)
    blank_invented(draft, known)
    blank_loose(draft, known)
    lay_out(draft)
    return _workflow(draft)


def _workflow(draft: Draft) -> JsonObject:
    texts = {"explanation": clean_text(draft.explanation, 4000)} if draft.explanation is not None else {}
    return {
        "name": one_line(draft.name, 120) or "Workflow",
        "summary": one_line(draft.summary, 500) or one_line(draft.name, 120),
        **texts,
        "nodes": [_node(draft, node) for node in draft.nodes],
        "edges": _edges(draft.edges),
        "requiredCredentials": required_credentials(draft),
    }


def _node(draft: Draft, node: Node) -> JsonObject:
    kind = draft.catalog.get(node.type)
    label = one_line(node.label) or (kind.label if kind else node.type)
    return {"id": node.id, "type": node.type, "label": label, "position": node.position, "config": node.config}


def _edges(edges: list[Edge]) -> list[JsonObject]:
    names, seen = Names(edge.id for edge in edges), set[str]()
    entries = []
    for edge in edges:
        name = names.fresh("edge") if not edge.id or edge.id in seen else edge.id
        seen.add(name)
        handle = {"sourceHandle": edge.handle} if edge.handle is not None else {}
        entries.append({"id": name, "source": edge.source, "target": edge.target, **handle})
    return entries
