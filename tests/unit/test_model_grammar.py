"""The grammar admits what the schema admits: checked with regular expressions made from the grammar."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.model.grammar import ANY_JSON, SchemaError, grammar_of
from devstack.model.patterns import pattern_rule, span_rule

TOKEN = re.compile(r'"((?:\\.|[^"\\])*)"|(\[(?:\\.|[^\]\\])*\])|([a-zA-Z][\w-]*)|(\{[\d,]*\}|[()|*+?])|(\s+)')


def expression(grammar: str, depth: int = 5) -> re.Pattern[str]:
    """The grammar as a regular expression; rules that contain themselves are followed `depth` times."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines())

    def expand(name: str, seen: tuple[str, ...]) -> str:
        if seen.count(name) > depth:
            return "(?!)"
        parts, at = [], 0
        while at < len(rules[name]):
            match = TOKEN.match(rules[name], at)
            assert match, rules[name][at:]
            parts.append(piece(match, (*seen, name)))
            at = match.end()
        return f"(?:{''.join(parts)})"

    def piece(match: re.Match[str], seen: tuple[str, ...]) -> str:
        literal, characters, name, operator, _ = match.groups()
        if literal is not None:
            return f"(?:{re.escape(unquoted(literal))})"
        if name:
            return expand(name, seen)
        return characters or (operator or "").replace("(", "(?:")

    return re.compile(expand("root", ()))


def unquoted(literal: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), literal)


def admits(schema: Any, value: Any, depth: int = 2) -> bool:
    pattern = expression(grammar_of(schema), depth)
    texts = (json.dumps(value, ensure_ascii=False, separators=marks) for marks in ((",", ":"), (", ", ": ")))
    answers = {bool(pattern.fullmatch(text)) for text in texts}
    assert len(answers) == 1
    return answers.pop()


CASES: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "string"}, ["", "é \u0085 \" \\ \n"], [1, None]),
    ({"type": "string", "minLength": 1, "maxLength": 3}, ["a", "abc"], ["", "abcd"]),
    ({"type": "string", "maxLength": 2}, ["", "ab"], ["abc"]),
    ({"type": "string", "minLength": 2}, ["ab", "abcdef"], ["a"]),
    ({"type": "string", "format": "date"}, ["2026-11-23"], ["2026-13-01", "today"]),
    ({"type": "string", "format": "date-time"}, ["2026-11-23T10:00:00Z"], ["2026-11-23"]),
    ({"type": "string", "format": "email"}, ["anything"], [1]),
    ({"type": "string", "pattern": "^[a-z]{2,3}-(x|y)+\\.$"}, ["ab-x.", "abc-xy."], ["a-x.", "ab-x", "ab-."]),
    ({"type": ["string", "null"], "maxLength": 2}, ["ab", None], ["abc", 1]),
    ({"type": "number"}, [1, -2.5, 1e3], ["1"]),
    ({"type": "number", "minimum": 5}, [1, 7], ["1"]),
    ({"type": "boolean"}, [True, False], [1, "true"]),
    ({"enum": ["a", 1, None, "q\"uo\\te"]}, ["a", 1, None, "q\"uo\\te"], ["b", 2]),
    ({"const": {"a": [1]}}, [], [{}]),
    ({"anyOf": [{"const": 1}, {"type": "boolean"}]}, [1, True], [2]),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, [1, 1.5], ["1"]),
    ({"type": "array", "items": {"type": "integer"}}, [[], [1], [1, 2]], [["a"], 1]),
    ({"type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 3}, [[1, 1], [1, 1, 1]], [[], [1], [1] * 4]),
    ({"type": "array", "items": {"const": 1}, "maxItems": 1}, [[], [1]], [[1, 1]]),
    ({"type": "array", "items": {"const": 1}, "maxItems": 0}, [[]], [[1]]),
    ({"prefixItems": [{"const": 1}, {"const": 2}]}, [[1, 2]], [[1], [2, 1]]),
    ({"type": "array", "uniqueItems": True, "items": {"const": 1}}, [[1, 1]], []),
    ({"type": "object", "properties": {}}, [{}], [{"a": 1}]),
    ({"type": "object", "additionalProperties": {"const": 1}}, [{}, {"x": 1, "y": 1}], [{"x": 2}]),
    ({}, [{}, {"a": 1}], [1]),
    ({"type": "object"}, [{}, {"a": [1, "b"]}], [[]]),
    ({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"$ref": "#/$defs/b"}],
      "$defs": {"b": {"properties": {"b": {"const": 2}}, "required": ["b"]}}}, [{"a": 1, "b": 2}], [{"a": 1}]),
    ({"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "properties": {"t": {"$ref": "#/$defs/t"}}}}},
     [{}, {"t": {}}, {"t": {"t": {}}}], [{"t": 1}]),
    ({"not": {"type": "string"}, "type": "integer"}, [1], ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), CASES)
def test_the_grammar_admits_the_good_and_not_the_bad(schema: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not admits(schema, value)] == []
    assert [value for value in bad if admits(schema, value)] == []


def test_required_properties_come_first_in_order_and_optional_ones_may_be_missing() -> None:
    schema = {"properties": {"o1": {"const": 1}, "r1": {"const": 2}, "o2": {"const": 3}, "r2": {"const": 4}},
              "required": ["r1", "r2"]}  # fmt: skip
    assert admits(schema, {"r1": 2, "r2": 4})
    assert admits(schema, {"r1": 2, "r2": 4, "o1": 1})
    assert admits(schema, {"r1": 2, "r2": 4, "o2": 3})
    assert admits(schema, {"r1": 2, "r2": 4, "o1": 1, "o2": 3})
    assert not admits(schema, {"r2": 4, "r1": 2})
    assert not admits(schema, {"r1": 2, "r2": 4, "o2": 3, "o1": 1})
    assert not admits(schema, {"r1": 2, "r2": 4, "other": 1})
    assert admits(schema | {"additionalProperties": {"const": 9}}, {"r1": 2, "r2": 4, "o1": 1, "x": 9, "y": 9})


def test_only_optional_properties_admit_the_empty_object() -> None:
    schema = {"properties": {"a": {"const": 1}, "b": {"const": 2}}}
    assert all(admits(schema, value) for value in ({}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}))


@given(st.integers(-3000, 3000), st.integers(0, 3000), st.integers(-7000, 7000))
def test_integer_bounds_hold(low: int, width: int, value: int) -> None:
    schema = {"type": "integer", "minimum": low, "maximum": low + width}
    assert admits(schema, value) == (low <= value <= low + width)
    assert admits(schema, low)
    assert admits(schema, low + width)


@given(st.integers(-500, 500), st.integers(-1000, 1000))
def test_exclusive_and_single_bounds_hold(bound: int, value: int) -> None:
    assert admits({"type": "integer", "minimum": bound}, value) == (value >= bound)
    assert admits({"type": "integer", "exclusiveMaximum": bound}, value) == (value < bound)
    assert admits({"type": "integer", "exclusiveMinimum": bound}, value) == (value > bound)


NODE = {
    "anyOf": [
        {"type": "object", "properties": {"type": {"const": kind}, "id": {"type": "string", "maxLength": 4}},
         "required": ["type", "id"], "additionalProperties": False}
        for kind in ("webhook", "if_else", "slack")
    ]
}  # fmt: skip
NODES = {"type": "array", "maxItems": 2, "items": NODE}
WORKFLOW = {
    "type": "object", "required": ["name", "nodes"], "additionalProperties": False,
    "properties": {"name": {"type": "string", "maxLength": 5}, "nodes": NODES},
}  # fmt: skip
SOME_NODE = st.builds(
    lambda kind, key: {"type": kind, "id": key},
    st.sampled_from(["webhook", "slack", "x"]),
    st.text('ab"\\', max_size=6),
)
SOME_WORKFLOW = st.builds(
    lambda name, nodes: {"name": name, "nodes": nodes},
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=7),
    st.lists(SOME_NODE, max_size=3),
)


@given(SOME_WORKFLOW)
def test_a_workflow_like_schema_admits_what_json_schema_admits(value: Any) -> None:
    valid: bool = jsonschema.Draft202012Validator(WORKFLOW).is_valid(value)
    assert admits(WORKFLOW, value) == valid


def test_equal_parts_share_one_rule() -> None:
    part = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 60}}}
    one = grammar_of({"prefixItems": [part]})
    many = grammar_of({"prefixItems": [part] * 50})
    assert many.count("::=") == one.count("::=")


BAD: list[tuple[Any, str]] = [
    ({"type": "nosuchtype"}, 'Unrecognized schema: {"type":"nosuchtype"}'),
    ({"items": False}, "Unrecognized schema: false"),
    ({"$ref": "#/$defs/nope"}, 'Error resolving ref #/$defs/nope: $defs not in {"$ref":"#/$defs/nope"}'),
    ({"$ref": "https://example.com/x"}, "Unsupported ref: https://example.com/x"),
    ({"type": "string", "pattern": "abc"}, "Pattern must start with '^' and end with '$'"),
]


@pytest.mark.parametrize(("schema", "message"), BAD)
def test_what_cannot_be_converted_is_refused_in_llama_cpps_words(schema: Any, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        grammar_of(schema)
    assert str(caught.value) == message


@pytest.mark.parametrize("pattern", ["\\d{3}", "(?=x)a", "[a-"])
def test_a_pattern_that_no_grammar_can_say_becomes_a_rule_that_llama_cpp_refuses(pattern: str) -> None:
    assert pattern_rule(pattern) == "\\"


def test_a_span_of_one_number_is_that_number() -> None:
    assert re.sub(r'[" ()]', "", span_rule(42, 42)) == "42"


def test_free_json_is_an_object_of_anything() -> None:
    pattern = expression(ANY_JSON.replace("ws ::= ([ \\t\\n] ws)?", "ws ::= [ \\t\\n]*"), depth=2)
    assert pattern.fullmatch('{"a": [1, {"b": null}], "c": "é\\n"}')
    assert not pattern.fullmatch("[1]")
