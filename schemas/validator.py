"""Says whether a workflow keeps the contract (§5). Pure, linear, and independent of how the workflow came to be.

Called by the validate step before anything is stored, and by `consumer validate FILE`. Takes any JSON value.
"""

from __future__ import annotations

from collections.abc import Iterator

from consumer.errors import Violation
from schemas import rules_edges, rules_nodes, rules_templates
from schemas.catalog import Catalog
from schemas.clean import one_line, storable
from schemas.documents import checker
from schemas.subject import Json, Known, Subject, pointer

MAX_VIOLATIONS = 100

__all__ = ["Known", "validate_workflow"]


def validate_workflow(
    workflow: object, catalog: Catalog, *, known: Known | None = None, previous: Json | None = None
) -> list[Violation]:
    """Every broken rule, at most 100, in the order shape, nodes, edges, graph, templates; empty when it is valid.

    Args:
        workflow: the flat form of contract §5, or anything else.
        catalog: the node types that exist.
        known: what the user gave. With it, a credential from elsewhere is INVENTED_CREDENTIAL; without it, only one
            that is plainly a placeholder.
        previous: the workflow before an edit, of sound shape. With it, a node gone without a word is LOST_NODE.
    """
    found = list(_shape(workflow))
    if found or not isinstance(workflow, dict):
        return found[:MAX_VIOLATIONS]
    subject = Subject.of(workflow, catalog, known)
    for rules in (rules_nodes, rules_edges, rules_templates):
        found.extend(rules.check(subject))
    found.extend(_lost(workflow, previous or {}))
    return found[:MAX_VIOLATIONS]


def _shape(workflow: object) -> Iterator[Violation]:
    if not storable(workflow):
        text = "The workflow holds what the database cannot store: NUL, half characters, NaN, or more than 24 levels."
        yield Violation("INVALID_FIELD_TYPE", "", text)
        return
    for error in checker("workflow").iter_errors(workflow):
        code = "MISSING_REQUIRED_FIELD" if error.validator == "required" else "INVALID_FIELD_TYPE"
        where = pointer(*error.absolute_path)
        yield Violation(code, where, f"{where or 'The workflow'}: {one_line(error.message, 160)}.")


def _lost(workflow: Json, previous: Json) -> Iterator[Violation]:
    kept = {node["id"] for node in workflow["nodes"]}
    told = workflow.get("explanation", "")
    for node in previous.get("nodes", ()):
        if node["id"] not in kept and node["id"] not in told:
            text = f"Node {one_line(node['id'])} of the workflow to edit is gone, and the explanation does not say so."
            yield Violation("LOST_NODE", "/nodes", text)
