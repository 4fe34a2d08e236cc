"""JSON Schema to a llama.cpp grammar (GBNF), by the rules of llama.cpp's own converter that a real Ollama uses.

Pure. Called by `devstack.model.answers`. The converter inside `xllamacpp` is another one (llguidance): it leaves
objects open, and drops the whole constraint silently for oneOf, not, uniqueItems or an unknown format: not used.
As in the real one: properties keep their order, required ones first; objects are closed unless `additionalProperties`
says otherwise; oneOf is anyOf; if, not, uniqueItems, number bounds and unknown formats are ignored
(facts/ollama.md §1.6).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from devstack.model.patterns import pattern_rule, span_rule
from devstack.model.wire import JsonObject

ANY_JSON = r"""root ::= object
value ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? ws "}"
array ::= "[" ws ( value ("," ws value)* )? ws "]"
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F]) )* "\""
number ::= ("-"? ([0-9] | [1-9] [0-9]*)) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
ws ::= ([ \t\n] ws)?
"""
_PRIMITIVES = {
    "space": r'| " " | "\n"{1,2} [ \t]{0,20}',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "number": '"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,16})?',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "char": r'[^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{4})',
    "string": r'"\"" char* "\""',
    "object": '"{" space (string space ":" space value (space "," space string space ":" space value)* space)? "}"',
    "array": '"[" space (value (space "," space value)* space)? "]"',
    "value": "object | array | string | number | boolean | null",
    "date": '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [1-2] [0-9] | "3" [0-1])',
    "hour": '[01] [0-9] | "2" [0-3]',
    "time": 'hour ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{3})? ("Z" | [+-] hour ":" [0-5] [0-9])',
    "date-time": 'date "T" time',
    "uuid": '[0-9a-fA-F]{8} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{12}',
}
_TYPES = ("boolean", "null", "number", "integer", "string", "object", "array")
_FORMATS = ("date", "time", "date-time", "uuid")
_COMMA = ' space "," space '


class SchemaError(ValueError):
    """The schema cannot be converted; the text is llama.cpp's."""


def grammar_of(schema: JsonObject) -> str:
    """The grammar that admits what `schema` admits.

    Raises:
        SchemaError: an unknown type, an unresolvable reference, a pattern without ^ and $.
    """
    return _Converter(schema).text()


class _Converter:
    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._rules = dict(_PRIMITIVES)
        self._names: dict[str, str] = {}
        self._references: dict[str, str] = {}

    def text(self) -> str:
        rules = {"root": self._visit(self._root), **self._rules}
        return "".join(f"{name} ::= {rule}\n" for name, rule in rules.items())

    def _rule(self, expression: str) -> str:
        """The name of the rule for an expression; equal expressions share one, which keeps big unions small."""
        if expression not in self._names:
            self._names[expression] = f"r{len(self._names)}"
            self._rules[self._names[expression]] = expression
        return self._names[expression]

    def _visit(self, schema: Any) -> str:
        if schema is True:
            return "value"
        if not isinstance(schema, dict):
            raise SchemaError(f"Unrecognized schema: {_compact(schema)}")
        steps: tuple[Callable[[JsonObject], str | None], ...] = (
            self._reference, self._union, self._literals, self._object, self._array, self._string, self._integer,
        )  # fmt: skip
        for step in steps:
            rule = step(schema)
            if rule is not None:
                return rule
        return self._plain(schema)

    def _reference(self, schema: JsonObject) -> str | None:
        if "$ref" not in schema:
            return None
        pointer = schema["$ref"]
        if pointer not in self._references:
            # Named before it is visited, so that a schema may contain itself.
            self._references[pointer] = name = f"ref{len(self._references)}"
            self._rules[name] = self._visit(self._resolve(pointer))
        return self._references[pointer]

    def _resolve(self, pointer: str) -> Any:
        if not pointer.startswith("#/"):
            raise SchemaError(f"Unsupported ref: {pointer}")
        target: Any = self._root
        for part in pointer[2:].split("/"):
            if not isinstance(target, dict) or part not in target:
                raise SchemaError(f"Error resolving ref {pointer}: {part} not in {_compact(target)}")
            target = target[part]
        return target

    def _union(self, schema: JsonObject) -> str | None:
        options = schema.get("oneOf") or schema.get("anyOf")
        if options is None and isinstance(schema.get("type"), list):
            options = [schema | {"type": item} for item in schema["type"]]
        return self._rule(" | ".join(self._visit(option) for option in options)) if options else None

    def _literals(self, schema: JsonObject) -> str | None:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        return self._rule(" | ".join(_literal(_compact(value)) for value in values)) if values else None

    def _object(self, schema: JsonObject) -> str | None:
        if schema.get("type", "object") != "object":
            return None
        if "allOf" in schema:
            schema = self._merged(schema)
        extra = schema.get("additionalProperties")
        if "properties" not in schema and (extra is None or extra is True):
            return None
        return self._rule(self._members(schema, extra))

    def _merged(self, schema: JsonObject) -> JsonObject:
        parts = [self._resolve(part["$ref"]) if "$ref" in part else part for part in schema["allOf"]]
        parts.append(schema)
        return {
            "properties": {key: item for part in parts for key, item in part.get("properties", {}).items()},
            "required": [key for part in parts for key in part.get("required", ())],
            "additionalProperties": schema.get("additionalProperties"),
        }

    def _members(self, schema: JsonObject, extra: Any) -> str:
        required = set(schema.get("required", ()))
        pairs = {key: self._pair(key, item) for key, item in schema.get("properties", {}).items()}
        first = _COMMA.join(pair for key, pair in pairs.items() if key in required)
        later = [(pair, "?") for key, pair in pairs.items() if key not in required]
        if extra is True or isinstance(extra, dict):
            later.append((self._rule(f'string space ":" space {self._visit(extra)}'), "*"))
        optional = self._optional(later)
        if first and optional:
            first = f"{first} ({_COMMA}({optional}))?"
        inside = f"{first} space" if first else f"(({optional}) space)?" if optional else ""
        return f'"{{" space {inside} "}}"'

    def _pair(self, key: str, schema: Any) -> str:
        return self._rule(f'{_literal(_compact(key))} space ":" space {self._visit(schema)}')

    def _optional(self, pairs: Sequence[tuple[str, str]]) -> str:
        """Any subset of the pairs, in order: one alternative for each pair that can come first."""
        rest = [self._rule(f"({_COMMA}{pair}){times}") for pair, times in pairs]
        return " | ".join(
            " ".join([pair, *([rest[at]] if times == "*" else []), *rest[at + 1 :]])
            for at, (pair, times) in enumerate(pairs)
        )

    def _array(self, schema: JsonObject) -> str | None:
        items = schema.get("prefixItems", schema.get("items"))
        if schema.get("type", "array") != "array" or items is None:
            return None
        if isinstance(items, list):
            return self._rule(f'"[" space {_COMMA.join(map(self._visit, items))} space "]"')
        item, least, most = self._visit(items), int(schema.get("minItems", 0)), schema.get("maxItems")
        if most == 0:
            return self._rule('"[" space "]"')
        more = f"({_COMMA}{item}){_times(max(least - 1, 0), None if most is None else int(most) - 1)}"
        return self._rule(f'"[" space ({item} {more} space){"" if least else "?"} "]"')

    def _string(self, schema: JsonObject) -> str | None:
        if schema.get("type", "string") != "string":
            return None
        if "pattern" in schema:
            return self._rule(_pattern(schema["pattern"]))
        if schema.get("format") in _FORMATS:
            return self._rule(rf'"\"" {schema["format"]} "\""')
        if "minLength" in schema or "maxLength" in schema:
            return self._rule(rf'"\"" char{_times(int(schema.get("minLength", 0)), schema.get("maxLength"))} "\""')
        return None

    def _integer(self, schema: JsonObject) -> str | None:
        bounds = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        if schema.get("type") != "integer" or not any(name in schema for name in bounds):
            return None
        low = schema.get("minimum", schema.get("exclusiveMinimum", -(10**16)) + 1)
        high = schema.get("maximum", schema.get("exclusiveMaximum", 10**16) - 1)
        return self._rule(span_rule(int(low), int(high)))

    def _plain(self, schema: JsonObject) -> str:
        if not schema:
            return "object"
        if schema.get("type") not in _TYPES:
            raise SchemaError(f"Unrecognized schema: {_compact(schema)}")
        return str(schema["type"])


def _pattern(pattern: str) -> str:
    if not (pattern.startswith("^") and pattern.endswith("$")):
        raise SchemaError("Pattern must start with '^' and end with '$'")
    return rf'"\"" ({pattern_rule(pattern[1:-1])}) "\""'


def _times(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else int(most)}}}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
