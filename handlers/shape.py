"""The JSON Schema of one job's answer: only what this job may contain, all of it bounded. Used by generate and edit.

Kept to what Ollama's converter enforces (facts/ollama.md §1.6): const, enum, anyOf, objects, arrays, lengths. No
pattern, no number bounds, no $ref. What code knows or only the user knows is not asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from consumer.job import JsonObject
from handlers.facts import Facts
from schemas.catalog import Field, NodeType
from schemas.forms import FIELD_TYPES

TEXT, LABEL, WORD, ITEMS = 80, 28, 24, 3
# With 1,500 tokens of prompt and 900 of system text it fits num_ctx 4096; no answer seen came near.
MAX_TOKENS = 1600
_STATED = {
    "url": "urls",
    "feedUrl": "urls",
    "to": "emails",
    "recipient": "emails",
    "approver": "emails",
    "channel": "channels",
}
CASES = ("case1", "case2", "case3")


def text(limit: int) -> JsonObject:
    """A non-empty string."""
    return {"type": "string", "minLength": 1, "maxLength": limit}


def record(properties: JsonObject, required: Iterable[str] | None = None) -> JsonObject:
    """A closed object; all properties required unless `required` says which."""
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def several(item: JsonObject, least: int, most: int) -> JsonObject:
    """A bounded list."""
    return {"type": "array", "minItems": least, "maxItems": most, "items": item}


def stated(field: Field, facts: Facts) -> str | None:
    """The value the prompt states for a field of that name."""
    values: Sequence[str] = getattr(facts, _STATED[field.name]) if field.name in _STATED else ()
    return values[0] if values else None


def asked(node: NodeType, facts: Facts) -> list[Field]:
    """The fields the model is asked for: required, not the user's own, not stated, and with no value known to code."""
    return [field for field in node.fields if _open_question(node, field) and stated(field, facts) is None]


def _open_question(node: NodeType, field: Field) -> bool:
    if field.from_user:
        return False
    if field.options:
        return field.required
    if node.name == "switch" and field.name == "cases":
        return True
    return field.default is None and (field.required or field.needed({"operation": usual_operation(node)}))


def usual_operation(node: NodeType) -> object:
    """The operation a node of that type has unless something else is said."""
    operation = node.field("operation")
    return operation.default if operation is not None else None


def config(node: NodeType, facts: Facts) -> JsonObject:
    """The schema of a node's config."""
    if node.name == "form":
        return _form()
    return record({field.name: _value(node, field) for field in asked(node, facts)})


def _value(node: NodeType, field: Field) -> JsonObject:
    if field.options:
        return {"enum": [option for option in field.options if _answerable(node, field, option)]}
    match field.type:
        case "number":
            return {"type": "integer"}
        case "boolean":
            return {"type": "boolean"}
        case "array":
            return several(text(WORD), 1, ITEMS)
        case "object":
            return several(record({"name": text(WORD), "value": text(40)}), 1, ITEMS)
        case _:
            return text(TEXT)


def _answerable(node: NodeType, field: Field, option: str) -> bool:
    """Whether what this option makes necessary is asked for, known, or the user's."""
    needs = [other for other in node.fields if other.when is not None and other.needed({field.name: option})]
    return all(_open_question(node, other) or other.default is not None or other.from_user for other in needs)


def _form() -> JsonObject:
    kinds = [kind for kind in FIELD_TYPES if kind not in ("select", "radio")]
    # Not "label" and "type": the preview takes those for a node's.
    field = record({"question": text(WORD), "kind": {"enum": kinds}, "required": {"type": "boolean"}})
    return record({"formTitle": text(40), "formDescription": text(TEXT), "fields": several(field, 1, 4)})


def step(node: NodeType, facts: Facts, after: Sequence[str]) -> JsonObject:
    """The schema of one step of that type that may follow what `after` lists."""
    entry: JsonObject = {"enum": list(after)}
    joins = node.name == "merge" and len(after) > 1
    return configured(
        {"type": {"const": node.name}, "label": text(LABEL), "after": several(entry, 1, 3) if joins else entry},
        node,
        facts,
    )


def configured(parts: JsonObject, node: NodeType, facts: Facts) -> JsonObject:
    """A node of these parts and a config; without one when there is nothing to ask (an empty object invites blanks)."""
    settings = config(node, facts)
    return record({**parts, "config": settings} if settings["properties"] else parts)


def exits(name: str, types: Iterable[str]) -> list[str]:
    """What may be followed at a step called `name` that may have one of `types`."""
    kinds = set(types)
    plain = [name] if kinds - {"if_else", "switch"} else []
    branches = [f"{name}.true", f"{name}.false"] if "if_else" in kinds else []
    return [*plain, *branches, *([f"{name}.{case}" for case in CASES] if "switch" in kinds else [])]


def worst_tokens(schema: JsonObject, dense: bool) -> int:
    """A bound for the answer's tokens, every list and union at its longest: one token a character.

    `dense`: a script of which a character can cost a small model's tokenizer three tokens (SmolLM2, Japanese).
    """
    return min(MAX_TOKENS, _longest(schema, 3 if dense else 1, 0) + 24)


def most_chars(schema: JsonObject, dense: bool) -> int:
    """A bound for the answer's characters: printed one part a line, with each character of free text escaped.

    A line break with its indent is at most 22 characters in llama.cpp's grammar (facts/ollama.md §1.5). An escape is
    `\\"`, or in a `dense` script `\\u5929`.
    """
    return _longest(schema, 6 if dense else 2, 22) + 22


def _longest(schema: JsonObject, char: int, line: int) -> int:
    """The longest text; a character of free text counts as `char`, a line break between the parts as `line`."""
    if "anyOf" in schema:
        return max(_longest(option, char, line) for option in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        return max(len(json.dumps(value, ensure_ascii=False)) for value in values)
    match schema.get("type"):
        case "object":
            parts = schema["properties"].items()
            return 2 + line + sum(len(name) + 6 + line + _longest(part, char, line) for name, part in parts)
        case "array":
            item: int = 2 + line + _longest(schema["items"], char, line)
            return 2 + line + int(schema["maxItems"]) * item
        case "string":
            return 2 + char * int(schema["maxLength"])
        case _:
            return 12
