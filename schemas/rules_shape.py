"""Rules about the shape: what the JSON Schema says, in plain sentences, and what the database can store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from consumer.errors import Violation
from schemas.clean import TOO_DEEP, one_line, unstorable
from schemas.documents import checker
from schemas.subject import pointer

# Of jsonschema's ValidationError, whose typed attributes may all be unset, and a pointer.
Sentence = Callable[[Any, str], Iterator[Violation]]
_KINDS = {"object": "an object", "array": "a list", "string": "a text", "number": "a number"}


def check(workflow: object) -> Iterator[Violation]:
    """The violations of any value's shape; the other rules want a workflow that has none."""
    found = unstorable(workflow)
    if found is not None:
        yield _unstorable(*found)
        return
    for error in checker("workflow").iter_errors(workflow):
        yield from _KEYWORDS[str(error.validator)](error, pointer(*error.absolute_path))


def _unstorable(place: tuple[str | int, ...], wrong: str) -> Violation:
    where = pointer(*place)
    if wrong == TOO_DEEP:
        return Violation("TOO_LARGE", where, f"{_named(where)} {wrong}.", "Make the value flatter.")
    text = f"{_named(where)} {wrong}, which the database cannot store."
    return Violation("INVALID_FIELD_TYPE", where, text, "Remove it or write it as plain text.")


def _required(error: Any, where: str) -> Iterator[Violation]:
    # jsonschema reports each missing key on its own, without saying which but in the sentence.
    for name in error.validator_value:
        if error.message.startswith(repr(name)):
            text = f"{_named(where)} has no {name}."
            yield Violation("MISSING_REQUIRED_FIELD", f"{where}/{name}", text, f"Add {name}.")


def _extra(error: Any, where: str) -> Iterator[Violation]:
    allowed = error.schema["properties"]
    for name in error.instance:
        if name not in allowed:
            text = f"{_named(where)} has the key {one_line(name)}, which is not part of a workflow."
            yield Violation("UNKNOWN_KEY", where + pointer(name), text, "Remove the key.")


def _type(error: Any, where: str) -> Iterator[Violation]:
    kind = _KINDS[str(error.validator_value)]
    yield Violation("INVALID_FIELD_TYPE", where, f"{_named(where)} must be {kind}.", f"Give {kind}.")


def _empty(error: Any, where: str) -> Iterator[Violation]:
    yield Violation("MISSING_REQUIRED_FIELD", where, f"{_named(where)} must not be empty.", "Fill it.")


def _too_large(unit: str) -> Sentence:
    def check_size(error: Any, where: str) -> Iterator[Violation]:
        limit, size = error.validator_value, len(error.instance)
        text = f"{_named(where)} has {size} {unit}; at most {limit} are allowed."
        yield Violation("TOO_LARGE", where, text, f"Cut it to {limit} {unit}.")

    return check_size


def _too_small(error: Any, where: str) -> Iterator[Violation]:
    limit = error.validator_value
    text = f"{_named(where)} must be more than {limit}."
    yield Violation("INVALID_OPTION", where, text, f"Give a number above {limit}.")


def _named(where: str) -> str:
    return one_line(where) or "The workflow"


# Every keyword of workflow.schema.json that can be broken.
_KEYWORDS: Mapping[str, Sentence] = {
    "required": _required,
    "additionalProperties": _extra,
    "type": _type,
    "minLength": _empty,
    "maxLength": _too_large("characters"),
    "maxItems": _too_large("entries"),
    "maxProperties": _too_large("keys"),
    "exclusiveMinimum": _too_small,
}
