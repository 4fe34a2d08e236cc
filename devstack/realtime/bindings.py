"""What a channel asks to hear of `postgres_changes`: parsing, and the server's words for errors. Used by `channel`.

Syntax of filters: `column=op.value`, a comma means AND, `not.` negates (traces/realtime.md §1; realtime v2.129.8).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any

from devstack.realtime.protocol import dumps

OPERATORS = frozenset(
    ["eq", "neq", "lt", "lte", "gt", "gte", "in", "like", "ilike", "is", "match", "imatch", "isdistinct"]
)
_ID_BITS = (1 << 27) - 1
_NOTHING_ASKED = "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: "
_SELECT_TEXT = 'Error parsing `select` params: expected a list of column name strings, e.g. select: ["col1", "col2"]'
_SELECT_WILDCARD = (
    "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name."
)


class BindingError(Exception):
    """A binding that cannot be served; the message is what the `system` frame says."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on one column; `value` is text, for `in` an array literal."""

    column: str
    operator: str
    value: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Binding:
    """One parsed binding; `event` is INSERT, UPDATE, DELETE or *, and schema and table may be * too."""

    id: int
    event: str
    schema: str
    table: str
    filters: tuple[Filter, ...]
    select: tuple[str, ...] | None

    def __str__(self) -> str:
        filters = ", ".join(
            f"{{{dumps(f.column)}, {dumps(f.operator)}, {dumps(f.value)}, {dumps(f.negated)}}}" for f in self.filters
        )
        select = "nil" if self.select is None else inspect(list(self.select))
        return (
            f"event: {self.event}, schema: {self.schema}, table: {self.table}, filters: [{filters}], select: {select}"
        )


def binding_id(params: dict[str, Any]) -> int:
    """A number below 2^27 that depends on the binding alone (the real server's is another one: phash2)."""
    return zlib.crc32(dumps(params, sort=True).encode()) & _ID_BITS


def parse(params: dict[str, Any]) -> Binding:
    """The binding that a client's map asks for.

    Raises:
        BindingError: it asks for nothing, or its filter or select is malformed.
    """
    select = _select(params.get("select"))
    schema, table = _target(params)
    if select is not None and "*" in (schema, table):
        raise BindingError(_SELECT_WILDCARD)
    return Binding(binding_id(params), _event(params.get("event")), schema, table, _filters(params), select)


def inspect(value: object) -> str:
    """JSON-like data as Elixir prints it."""
    match value:
        case None:
            return "nil"
        case dict():
            inner = ", ".join(f"{inspect(key)} => {inspect(value[key])}" for key in sorted(value))
            return f"%{{{inner}}}"
        case list():
            return f"[{', '.join(map(inspect, value))}]"
    return dumps(value)


def _target(params: dict[str, Any]) -> tuple[str, str]:
    schema, table = params.get("schema", "public"), params.get("table", "*")
    named = params.keys() & {"schema", "table"}
    strings = all(isinstance(params[key], str) for key in params.keys() & {"schema", "table", "filter"})
    if not named or not strings or ("filter" in params and len(named) < 2):
        secret = params.keys() & {"user_token", "auth_token"}
        raise BindingError(_NOTHING_ASKED + ("<redacted>" if secret else inspect(params)))
    return schema, table


def _event(event: object) -> str:
    name = event.upper() if isinstance(event, str) else "*"
    return name if name in ("INSERT", "UPDATE", "DELETE") else "*"


def _select(asked: object) -> tuple[str, ...] | None:
    if isinstance(asked, str):
        raise BindingError(_SELECT_TEXT)
    names = [name for name in asked if isinstance(name, str)] if isinstance(asked, list) else []
    return tuple(names) or None


def _filters(params: dict[str, Any]) -> tuple[Filter, ...]:
    text = params.get("filter", "").strip()
    try:
        return tuple(_filter(segment.strip()) for segment in _segments(text)) if text else ()
    except ValueError as error:
        raise BindingError(f"Error parsing `filter` params: {error}") from error


def _segments(text: str) -> list[str]:
    """Split at commas outside parentheses and quotes; a quote opens only after `.`, `(` or `,`."""
    pieces, depth, quoted, escaped, before = [""], 0, False, False, ""
    for char in text:
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"' and before in (".", "(", ","):
            quoted = True
        elif char == "," and depth == 0:
            pieces.append("")
            before = ""
            continue
        else:
            depth = max(0, depth + (char == "(") - (char == ")"))
        pieces[-1] += char
        before = char
    return pieces


def _filter(segment: str) -> Filter:
    if not segment:
        raise ValueError("filter must not contain empty segments (check for extra commas)")
    column, equals, rest = segment.partition("=")
    if not equals:
        raise ValueError(inspect([segment]))
    condition = rest.removeprefix("not.")
    operator, dot, value = condition.partition(".")
    if not dot or operator not in OPERATORS:
        raise ValueError(inspect([operator, value] if dot else [condition]))
    return Filter(column, operator, _value(operator, value), condition != rest)


def _value(operator: str, value: str) -> str:
    if operator == "in":
        if len(value) < 2 or value[0] != "(" or value[-1] != ")":
            raise ValueError("`in` filter value must be wrapped by parentheses")
        return f"{{{value[1:-1]}}}"
    quoted = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', value, re.DOTALL)
    return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL) if quoted else value
