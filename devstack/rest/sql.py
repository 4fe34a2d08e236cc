"""SQL of reads and writes: one statement per request, whose answer PostgreSQL renders as JSON itself.

Called by `plans` and `rpc`. Identifiers are quoted, types come from the catalogue, and every value is a parameter:
nothing of a request reaches the statement's text in any other way.
"""
# ruff: noqa: S608 - building SQL is what this module is for; see the docstring for why it is safe

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from devstack.rest.prefer import CSV, OBJECT
from devstack.rest.query import Query
from devstack.rest.terms import Condition, Field, Filter, Item, Order, Tree

_COMPARE = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
    "match": "~", "imatch": "~*", "isdistinct": "is distinct from", "cs": "@>", "cd": "<@", "ov": "&&",
}  # fmt: skip
_TEXT = frozenset({"like", "ilike", "match", "imatch"})
_JSON_TYPES = frozenset({"pg_catalog.json", "pg_catalog.jsonb"})
_SETTINGS = (
    "nullif(current_setting('response.headers', true), '') as headers,"
    " nullif(current_setting('response.status', true), '') as status"
)


@dataclass
class Arguments:
    """The values of a statement, collected while its text is written."""

    values: list[object] = field(default_factory=list)

    def bind(self, value: object) -> str:
        """The placeholder of a new value."""
        self.values.append(value)
        return f"${len(self.values)}"


@dataclass(frozen=True, slots=True)
class Relation:
    """What columns are looked up in: its name in SQL, and the types of its known columns."""

    sql: str
    types: Mapping[str, str]

    def column(self, where: Field, arguments: Arguments) -> str:
        """A column or a place inside a JSON column."""
        base = f"{self.sql}.{ident(where.name)}"
        if not where.path:
            return base
        if self.types.get(where.name, "pg_catalog.jsonb") not in _JSON_TYPES:
            base = f"to_jsonb({base})"
        return "(" + base + "".join(_step(arrow, key, arguments) for arrow, key in where.path) + ")"

    def value(self, where: Field, text: str, arguments: Arguments) -> str:
        """A value to compare that column with, read as the column's type."""
        return f"{arguments.bind(text)}::text::{self.type(where)}"

    def type(self, where: Field) -> str:
        """The type of a column or JSON place; text for what the schema cache does not know."""
        if where.path:
            return "text" if where.path[-1][0] == "->>" else "jsonb"
        return self.types.get(where.name, "text")


def ident(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace("\0", "").replace('"', '""') + '"'


def select_list(items: Iterable[Item], relation: Relation, arguments: Arguments) -> str:
    """The columns to return."""
    return ", ".join(_item(item, relation, arguments) for item in items)


def base_columns(items: Iterable[Item], relation: str) -> str:
    """The real columns that a select list needs, to be returned by a write or a function."""
    names = list(dict.fromkeys(item.field.name for item in items))
    return f"{relation}.*" if "*" in names else ", ".join(f"{relation}.{ident(name)}" for name in names)


def where(conditions: Iterable[Condition], relation: Relation, arguments: Arguments) -> str:
    """A WHERE clause, or nothing."""
    parts = [_condition(condition, relation, arguments) for condition in conditions]
    return f" where {' and '.join(parts)}" if parts else ""


def order_by(orders: Iterable[Order], relation: Relation, arguments: Arguments) -> str:
    """An ORDER BY clause, or nothing."""
    nulls = {"nullsfirst": " nulls first", "nullslast": " nulls last", "": ""}
    parts = [f"{relation.column(by.field, arguments)} {by.direction}{nulls[by.nulls]}" for by in orders]
    return f" order by {', '.join(parts)}" if parts else ""


def limited(query: Query, arguments: Arguments) -> str:
    """LIMIT and OFFSET, as far as asked for."""
    limit = f" limit {arguments.bind(query.limit)}::bigint" if query.limit is not None else ""
    return limit + (f" offset {arguments.bind(query.offset)}::bigint" if query.offset else "")


def record(source: str, columns: Mapping[str, str]) -> str:
    """JSON object(s) as rows of typed columns; `source` is json_to_record(…) or json_to_recordset(…)."""
    definition = ", ".join(f"{ident(name)} {kind}" for name, kind in columns.items())
    return f"{source} as _({definition})"


def answer(rows: str, *, media: str, single: bool = False, scalar: bool = False, total: str = "null") -> str:
    """The outer statement: rows counted and rendered. Columns: total, page, body, headers, status, merged."""
    body = _csv() if media == CSV else _json("t.pgrst_scalar" if scalar else "t", single=single or media == OBJECT)
    page = "1" if scalar and single else "count(*)"
    return (
        f"select {total}::bigint as total, {page}::bigint as page, {body} as body, {_SETTINGS},"
        f" nullif(current_setting('pgrst.merged', true), '')::bigint as merged from ({rows}) t"
    )


def conflict_clause(target: Iterable[str], columns: Iterable[str], *, merge: bool) -> str:
    """ON CONFLICT; merged rows are counted in a setting, because their number decides between 200 and 201."""
    names = ", ".join(ident(name) for name in target)
    if not merge:
        return f" on conflict ({names}) do nothing"
    updates = ", ".join(f"{ident(name)} = excluded.{ident(name)}" for name in columns)
    count = "coalesce(nullif(current_setting('pgrst.merged', true), '')::bigint, 0) + 1"
    counted = f"set_config('pgrst.merged', ({count})::text, true) is not null"
    return f" on conflict ({names}) do update set {updates} where {counted}"


def _json(row: str, *, single: bool) -> str:
    return f"coalesce(json_agg({row}) -> 0, 'null')::text" if single else f"coalesce(json_agg({row}), '[]')::text"


def _csv() -> str:
    """Rows as CSV, by way of PostgreSQL's text form of a row."""
    header = "(select string_agg(k, ',') from json_object_keys(json_agg(t) -> 0) k)"
    return f"coalesce({header} || chr(10) || string_agg(substr(t::text, 2, length(t::text) - 2), chr(10)), '')"


def _item(item: Item, relation: Relation, arguments: Arguments) -> str:
    if item.field.name == "*":
        return f"{relation.sql}.*"
    value = relation.column(item.field, arguments)
    if item.cast:
        value = f"cast({value} as {item.cast})"
    keys = [item.field.name, *(key for _, key in item.field.path if not key.lstrip("-").isdigit())]
    return f"{value} as {ident(item.alias or keys[-1])}"


def _step(arrow: str, key: str, arguments: Arguments) -> str:
    if key.lstrip("-").isdecimal() and len(key) <= 9:
        return f" {arrow} {arguments.bind(int(key))}::int"
    return f" {arrow} {arguments.bind(key)}::text"


def _condition(condition: Condition, relation: Relation, arguments: Arguments) -> str:
    if isinstance(condition, Tree):
        text = f" {condition.joiner} ".join(_condition(part, relation, arguments) for part in condition.parts)
        text = f"({text})"
    else:
        text = _filter(condition, relation, arguments)
    return f"not {text}" if condition.negated else text


def _filter(found: Filter, relation: Relation, arguments: Arguments) -> str:
    column = relation.column(found.field, arguments)
    if isinstance(found.value, tuple):
        return f"({column} = any({arguments.bind(list(found.value))}::text[]::{relation.type(found.field)}[]))"
    if found.operator == "is":
        return f"({column} is {found.value.replace('_', ' ')})"
    if found.operator in _TEXT:
        text = found.value.replace("*", "%") if "like" in found.operator else found.value
        return f"({column} {_COMPARE[found.operator]} {arguments.bind(text)}::text)"
    return f"({column} {_COMPARE[found.operator]} {relation.value(found.field, found.value, arguments)})"
