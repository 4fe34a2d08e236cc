"""What a request asks of the database: one statement, how to run it, how to word its answer. Called by `api`, `writes`.

`Request` is the HTTP request as far as it matters; each `plan_*` function turns one into a `Plan`, without I/O.
Here are reads and function calls; `writes` has the rest.
"""
# ruff: noqa: S608 - as in `sql`: only quoted identifiers and catalogue types reach the text

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from devstack.rest import body, rpc, sql
from devstack.rest.cache import SchemaCache, Table
from devstack.rest.prefer import Prefer, choose_media
from devstack.rest.query import Query
from devstack.rest.sql import Arguments, Relation, ident

Kind = Literal["read", "call", "insert", "update", "delete"]
READS = frozenset({"GET", "HEAD"})
BODY_KINDS = {"text/plain": rpc.TEXT_BODY, "text/xml": rpc.XML_BODY}
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `name` is the table or function, `content_type` lower case and without parameters."""

    method: str
    name: str
    query: Query
    prefer: Prefer
    accept: str | None
    content_type: str
    body: bytes
    form: tuple[tuple[str, str], ...] = ()

    @property
    def represents(self) -> bool:
        """Whether a write gives the rows back."""
        return "return=representation" in self.prefer


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement to run. `key` names the columns of a Location header, `honours` the preferences that count."""

    kind: Kind
    text: str
    values: list[object]
    media: str | None
    readonly: bool = False
    void: bool = False
    single: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    honours: tuple[str, ...] = ("count", "handling")


def plan_read(request: Request, cache: SchemaCache, max_rows: int) -> Plan:
    """GET or HEAD of a table.

    Raises:
        RestError: 404 for an unknown table, 406 for an unknown media type.
    """
    relation = relation_of(cache.table(request.name))
    arguments, media, query = Arguments(), choose_media(request.accept), request.query
    columns = sql.select_list(query.select, relation, arguments)
    filters = sql.where(query.where, relation, arguments)
    tail = sql.order_by(query.order, relation, arguments) + sql.limited(_capped(query, max_rows), arguments)
    total = f"(select count(*) from {relation.sql}{filters})" if request.prefer.wants_count else "null"
    rows = f"select {columns} from {relation.sql}{filters}{tail}"
    return Plan("read", sql.answer(rows, media=media, total=total), arguments.values, media, readonly=True)


def plan_call(request: Request, cache: SchemaCache, max_rows: int) -> Plan:
    """GET, HEAD or POST of a function.

    Raises:
        RestError: 400 for a bad body, 404 or 300 when no single function fits, 406 for an unknown media type.
    """
    given = _given(request)
    function = rpc.choose(cache, request.name, given)
    arguments, media = Arguments(), choose_media(request.accept)
    source, call = rpc.call(function, given, arguments)
    relation = Relation(ident(function.alias), function.columns)
    if function.composite:
        fields = sql.base_columns(request.query.select, "pgrst_call")
        inner = f"select {fields} from {source}{call} as pgrst_call"
        rows = cut("pgrst_source", request.query, relation, max_rows, arguments)
    else:
        inner = f"select pgrst_call.pgrst_scalar from {source}(select {call} as pgrst_scalar) as pgrst_call"
        limit = sql.limited(_capped(Query(limit=request.query.limit, offset=request.query.offset), max_rows), arguments)
        rows = f"select * from pgrst_source{limit}"
    total = "(select count(*) from pgrst_source)" if request.prefer.wants_count else "null"
    outer = sql.answer(rows, media=media, single=not function.set, scalar=not function.composite, total=total)
    return Plan(
        "call", f"with pgrst_source as ({inner}) {outer}", arguments.values, media,
        readonly=request.method in READS or not function.volatile, void=function.void and not function.set,
        single=not function.set, settings=function.settings, honours=("count", "handling", "max-affected"),
    )  # fmt: skip


def cut(source: str, query: Query, relation: Relation, max_rows: int | None, arguments: Arguments) -> str:
    """The rows of a finished write or call, narrowed as the query string asks."""
    columns = sql.select_list(query.select, relation, arguments)
    filters = sql.where(query.where, relation, arguments)
    order = sql.order_by(query.order, relation, arguments)
    limit = sql.limited(_capped(query, max_rows) if max_rows else query, arguments)
    return f"select {columns} from {source} as {relation.sql}{filters}{order}{limit}"


def _capped(query: Query, max_rows: int) -> Query:
    limit = max_rows if query.limit is None else min(query.limit, max_rows)
    return replace(query, limit=limit)


def _given(request: Request) -> rpc.Given:
    if request.method in READS:
        return rpc.from_pairs(request.query.arguments)
    if request.content_type == FORM:
        return rpc.from_pairs(request.form)
    if kind := BODY_KINDS.get(request.content_type):
        return rpc.Given(frozenset(), kind, request.body.decode("utf-8"))
    payload = body.parse(request.body or b"{}")
    return rpc.Given(payload.keys, rpc.JSON_BODY, payload.text, payload.shape == "array")


def qualified(table: Table) -> str:
    """The table's name in SQL."""
    return f'"public".{ident(table.name)}'


def relation_of(table: Table) -> Relation:
    """The table to look columns up in."""
    return Relation(qualified(table), table.columns)
