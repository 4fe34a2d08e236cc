"""Says whether a workflow keeps the contract (§5). Pure, linear, and independent of how the workflow came to be.

Called by the validate step before anything is stored, and by `consumer validate FILE`. Takes any JSON value.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from itertools import islice

from consumer.errors import Violation
from schemas import rules_advice, rules_edges, rules_nodes, rules_shape, rules_templates
from schemas.catalog import Catalog
from schemas.clean import one_line
from schemas.subject import Json, Known, Subject

MAX_VIOLATIONS = 100
# Every code of a broken rule, also of those that only repairs name.
CODES = frozenset({
    "BAD_SOURCE_HANDLE", "BROKEN_TEMPLATE_REFERENCE", "CYCLE", "DANGLING_EDGE", "DUPLICATE_EDGE", "DUPLICATE_NODE_ID",
    "EDGE_INTO_TRIGGER", "INVALID_FIELD_TYPE", "INVALID_OPTION", "INVENTED_CREDENTIAL", "LOST_NODE", "MISSING_BRANCH",
    "MISSING_REQUIRED_FIELD", "NO_NODES", "NO_TRIGGER", "SELF_LOOP", "TOO_LARGE", "UNKNOWN_KEY", "UNKNOWN_NODE_TYPE",
    "UNREACHABLE_NODE",
})  # fmt: skip
# ASCII only: a sentence in Chinese puts no blank around an id.
_INNER = frozenset(string.ascii_letters + string.digits + "_-")

__all__ = ["Known", "advise", "validate_workflow"]


def validate_workflow(
    workflow: object, catalog: Catalog, *, known: Known | None = None, previous: Json | None = None
) -> list[Violation]:
    """Every broken rule, at most 100, in the order shape, nodes, edges, graph, templates; empty when it is valid.

    All are errors; for what is only odd, see `advise`.

    Args:
        workflow: the flat form of contract §5, or anything else.
        catalog: the node types that exist.
        known: what the user gave. With it, a credential from elsewhere is INVENTED_CREDENTIAL; without it, only one
            that is plainly a placeholder.
        previous: the workflow before an edit, of sound shape. With it, a node gone without a word is LOST_NODE.
    """
    return list(islice(_broken(workflow, catalog, known, previous), MAX_VIOLATIONS))


def advise(workflow: object, catalog: Catalog) -> list[Violation]:
    """What is odd about a workflow but breaks no rule: warnings, at most 100; none when its shape is not sound."""
    if any(rules_shape.check(workflow)) or not isinstance(workflow, dict):
        return []
    return list(islice(rules_advice.check(Subject.of(workflow, catalog, None)), MAX_VIOLATIONS))


def _broken(workflow: object, catalog: Catalog, known: Known | None, previous: Json | None) -> Iterator[Violation]:
    faulty = False
    for violation in rules_shape.check(workflow):
        faulty = True
        yield violation
    if faulty or not isinstance(workflow, dict):
        return
    subject = Subject.of(workflow, catalog, known)
    for rules in (rules_nodes, rules_edges, rules_templates):
        yield from rules.check(subject)
    yield from _lost(workflow, previous or {})


def _lost(workflow: Json, previous: Json) -> Iterator[Violation]:
    kept = {node["id"] for node in workflow["nodes"]}
    told = workflow.get("explanation", "")
    for node in previous.get("nodes", ()):
        if node["id"] not in kept and not _tells(told, node["id"]):
            name = one_line(node["id"])
            text = f"Node {name} of the workflow to edit is gone, and the explanation does not say so."
            yield Violation("LOST_NODE", "/nodes", text, f"Put {name} back, or name it in the explanation.")


def _tells(text: str, name: str) -> bool:
    """Whether the text holds the id as a whole: `log_10` does not tell of `log_1`."""
    start = text.find(name)
    while start >= 0:
        around = {text[start - 1 : start], text[start + len(name) : start + len(name) + 1]}
        if not around & _INNER:
            return True
        start = text.find(name, start + 1)
    return False
