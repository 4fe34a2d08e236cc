"""What is odd but breaks no rule of the contract: warnings, for people who look at a workflow themselves."""

from __future__ import annotations

from collections.abc import Iterator

from consumer.errors import Violation
from schemas.catalog import Field, NodeType
from schemas.clean import one_line
from schemas.loose_secrets import open_secrets
from schemas.rules_nodes import filled, well_typed
from schemas.subject import Json, Subject, pointer
from schemas.templates import is_template


def check(subject: Subject) -> Iterator[Violation]:
    """The warnings of the nodes, then those of `requiredCredentials`."""
    places: set[tuple[float, float]] = set()
    for index, node in enumerate(subject.nodes):
        yield from _label(node, index)
        place = (node["position"]["x"], node["position"]["y"])
        if place in places:
            text = f"{one_line(node['id'])} lies exactly on another node, so an editor shows one of them only."
            yield _warning("HIDDEN_NODE", pointer("nodes", index, "position"), text, "Move one of the two.")
        places.add(place)
        kind = subject.type_of(node)
        if kind is not None:
            yield from _config(node, kind, index)
    yield from _listed(subject)


def _label(node: Json, index: int) -> Iterator[Violation]:
    if not node.get("label", "").strip():
        text = f"{one_line(node['id'])} has no label, so people see only its type."
        yield _warning("MISSING_LABEL", pointer("nodes", index, "label"), text, "Add a label.")


def _config(node: Json, kind: NodeType, index: int) -> Iterator[Violation]:
    fields = {field.name: field for field in kind.fields}
    for name, value in node["config"].items():
        where = pointer("nodes", index, "config", name)
        if name not in fields:
            text = f"The catalogue lists no field {one_line(name)} for {kind.name}."
            yield _warning("UNKNOWN_CONFIG_KEY", where, text, "Check its spelling, or remove it.")
        elif _unusual(fields[name], value):
            text = f"{name} is usually one of {', '.join(fields[name].options)}."
            yield _warning("UNUSUAL_OPTION", where, text, "Check that the service knows this value.")


def _unusual(field: Field, value: object) -> bool:
    if not field.open or not filled(field, value) or is_template(value):
        return False
    return well_typed(field, value) and value not in field.options


def _listed(subject: Subject) -> Iterator[Violation]:
    open_fields = {
        (node["id"], name)
        for node in subject.nodes
        if (kind := subject.type_of(node)) is not None
        for name in (*_open(node, kind), *open_secrets(kind, node["config"]))
    }
    for index, entry in enumerate(subject.required):
        if (entry["node"], entry["field"]) not in open_fields:
            text = f"{one_line(entry['field'])} of {one_line(entry['node'])} is not an empty field of the user's own."
            yield _warning("NEEDLESS_ENTRY", pointer("requiredCredentials", index), text, "Remove the entry.")


def _open(node: Json, kind: NodeType) -> list[str]:
    return [
        field.name for field in kind.fields if field.from_user and not filled(field, node["config"].get(field.name))
    ]


def _warning(code: str, where: str, text: str, fix: str) -> Violation:
    return Violation(code, where, text, fix, "warning")
