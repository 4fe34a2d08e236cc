"""Rules about single nodes: known type, filled and well-typed config, credentials that nobody invented."""

from __future__ import annotations

from collections.abc import Iterator

from consumer.errors import Violation
from schemas.catalog import Field, NodeType
from schemas.clean import one_line
from schemas.formats import WANTED, follows
from schemas.forms import form_faults
from schemas.loose_secrets import loose_secrets, unknown_secret
from schemas.subject import Json, Subject, is_placeholder, pointer
from schemas.templates import is_template

_PYTHON: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": (dict, list),
}


def check(subject: Subject) -> Iterator[Violation]:
    """The violations of the nodes, node by node."""
    if all(node["id"] in subject.triggers for node in subject.nodes):
        text = "The workflow has no step that does something."
        yield Violation("NO_NODES", "/nodes", text, "Add a step behind the trigger.")
    if subject.nodes and not subject.starts:
        text = "The workflow has no trigger, so nothing ever starts it."
        yield Violation("NO_TRIGGER", "/nodes", text, "Add a trigger and connect it to the first step.")
    yield from _duplicates(subject)
    for index, node in enumerate(subject.nodes):
        kind = subject.type_of(node)
        if kind is None:
            text = f"There is no node type {one_line(node['type'])}."
            where = pointer("nodes", index, "type")
            yield Violation("UNKNOWN_NODE_TYPE", where, text, "Use a type of the catalogue.")
        else:
            yield from _config(subject, index, node, kind)


def filled(field: Field, value: object) -> bool:
    """Whether the value counts as given: not null, and neither blank text nor an empty list unless that is allowed."""
    if isinstance(value, str):
        return field.blank or bool(value.strip())
    return value is not None and value != [] and value != {}


def stands_in(field: Field, value: object) -> bool:
    """Whether the value is a template that stands for one of the field's type."""
    return is_template(value) and not field.fixed


def well_typed(field: Field, value: object) -> bool:
    """Whether the value has the field's type. A template may stand for anything; true is not a number."""
    if stands_in(field, value):
        return True
    if isinstance(value, bool) and field.type != "boolean":
        return False
    return isinstance(value, _PYTHON[field.type])


def allowed(field: Field, value: object) -> bool:
    """Whether a well-typed value is one of the field's options and written as its format says; templates are."""
    if stands_in(field, value):
        return True
    if field.options and not field.open and value not in field.options:
        return False
    return field.format is None or follows(field.format, value)


def invented(subject: Subject, field: Field, value: object) -> bool:
    """Whether a filled credential or account field holds what the user never gave."""
    if stands_in(field, value):
        return False
    if subject.known is None:
        return field.credential and is_placeholder(value)
    return not (subject.known.secret(value) if field.credential else subject.known.account(value))


def _duplicates(subject: Subject) -> Iterator[Violation]:
    seen: set[str] = set()
    for index, node in enumerate(subject.nodes):
        if node["id"] in seen:
            text = f"The id {one_line(node['id'])} is used by more than one node."
            yield Violation("DUPLICATE_NODE_ID", pointer("nodes", index, "id"), text, "Give each node its own id.")
        seen.add(node["id"])


def _config(subject: Subject, index: int, node: Json, kind: NodeType) -> Iterator[Violation]:
    for field in kind.fields:
        where = pointer("nodes", index, "config", field.name)
        value = node["config"].get(field.name)
        if filled(field, value):
            yield from _value(subject, field, value, where)
        elif field.needed(node["config"]) and not _excused(subject, node, field):
            text = f"{kind.label} ({one_line(node['id'])}) needs {field.name}."
            yield Violation("MISSING_REQUIRED_FIELD", where, text, _filling(field))
    if kind.name == "form":
        yield from form_faults(node["config"], pointer("nodes", index, "config"))
    for place, secret in loose_secrets(kind, node["config"]):
        if unknown_secret(secret, subject.known):
            text = f"{one_line(str(place[-1]))} holds a secret that the user never gave."
            where = pointer("nodes", index, "config", *place)
            yield Violation("INVENTED_CREDENTIAL", where, text, "Leave it empty; the user fills it in.")


def _filling(field: Field) -> str:
    if field.from_user:
        return f"Fill {field.name}, or list it in requiredCredentials."
    return f"Fill {field.name}."


def _excused(subject: Subject, node: Json, field: Field) -> bool:
    return field.from_user and (node["id"], field.name) in subject.listed


def _value(subject: Subject, field: Field, value: object, where: str) -> Iterator[Violation]:
    if not well_typed(field, value):
        text = f"{field.name} must be of type {field.type}."
        yield Violation("INVALID_FIELD_TYPE", where, text, f"Give {field.name} as {field.type}.")
    elif not allowed(field, value):
        wanted = WANTED[field.format] if field.format else f"one of {', '.join(field.options)}"
        text = f"{field.name} must be {wanted}."
        yield Violation("INVALID_OPTION", where, text, f"Set {field.name} to {wanted}.")
    elif field.from_user and invented(subject, field, value):
        text = f"{field.name} holds a value that the user never gave."
        yield Violation("INVENTED_CREDENTIAL", where, text, "Leave it empty and list it in requiredCredentials.")
