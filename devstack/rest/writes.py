"""Writes to one table: insert, upsert, update, delete, as plans. Called by `api`.

Rows travel as the JSON text that was sent; PostgreSQL takes them apart (traces/postgrest.md §2, group write).
"""
# ruff: noqa: S608 - as in `sql`: only quoted identifiers and catalogue types reach the text

from __future__ import annotations

from dataclasses import replace

from devstack.rest import body, sql
from devstack.rest.cache import SchemaCache, Table
from devstack.rest.errors import RestError
from devstack.rest.plans import Kind, Plan, Request, cut, qualified, relation_of
from devstack.rest.prefer import JSON, OBJECT, Prefer, choose_media
from devstack.rest.sql import Arguments, Relation, ident


def plan_insert(request: Request, cache: SchemaCache) -> Plan:
    """POST to a table: insert, or upsert with `resolution=`.

    Raises:
        RestError: 400 for a bad body, PGRST204 for an unknown column, 404 for an unknown table.
    """
    table, arguments = cache.table(request.name), Arguments()
    payload = _payload(request)
    columns = _known(table, request.query.columns or tuple(sorted(payload.keys)))
    if payload.rows == 0:
        change = _nothing(table, request)
    else:
        target = f"insert into {qualified(table)}"
        rows = f" default values{_returning(table, request)}"
        if columns:
            source = _rows(table, payload, columns, request.prefer, arguments)
            names = ", ".join(map(ident, columns))
            rows = f" ({names}) select {names} from {source}{_upsert(table, request, columns)}"
            rows += _returning(table, request)
        change = target + rows
    honours = ("resolution",) if _upsert(table, request, columns) else ()
    return _write(
        "insert", request, table, change, arguments, honours=(*honours, "missing", "return", "count", "handling")
    )


def plan_update(request: Request, cache: SchemaCache) -> Plan:
    """PATCH of a table: one object of new values for every row that matches.

    Raises:
        RestError: 400 for a bad body, PGRST204 for an unknown column, 404 for an unknown table.
    """
    table, arguments = cache.table(request.name), Arguments()
    payload = _payload(request)
    columns = _known(table, request.query.columns or tuple(sorted(payload.keys)))
    if columns:
        document = f"{arguments.bind(payload.text)}::json" + (" -> 0" if payload.shape == "array" else "")
        source = sql.record(f"json_to_record({document})", {name: table.columns[name] for name in columns})
        updates = ", ".join(f"{ident(name)} = pgrst_body.{ident(name)}" for name in columns)
        change = f"update {qualified(table)} set {updates} from (select * from {source}) as pgrst_body"
        change += sql.where(request.query.where, relation_of(table), arguments) + _returning(table, request)
    else:
        change = _nothing(table, request)
    honours = ("missing", "return", "count", "handling", "max-affected")
    return _write("update", request, table, change, arguments, honours=honours)


def plan_delete(request: Request, cache: SchemaCache) -> Plan:
    """DELETE of the rows of a table that match.

    Raises:
        RestError: 404 for an unknown table.
    """
    table, arguments = cache.table(request.name), Arguments()
    filters = sql.where(request.query.where, relation_of(table), arguments)
    change = f"delete from {qualified(table)}{filters}{_returning(table, request)}"
    honours = ("return", "count", "handling", "max-affected")
    return _write("delete", request, table, change, arguments, honours=honours)


def _write(
    kind: Kind, request: Request, table: Table, change: str, arguments: Arguments, *, honours: tuple[str, ...]
) -> Plan:
    """A data-changing statement as the source of the answer; limit= and offset= do not apply to it."""
    media, rows = choose_media(request.accept), "select * from pgrst_source"
    key: tuple[str, ...] = ()
    if request.represents:
        relation = Relation(ident(table.name), table.columns)
        rows = cut("pgrst_source", replace(request.query, where=(), limit=None, offset=0), relation, None, arguments)
    elif "return=headers-only" in request.prefer and kind == "insert":
        key = table.key
    total = "(select count(*) from pgrst_source)" if request.prefer.wants_count else "null"
    outer = sql.answer(rows, media=media if request.represents else JSON, total=total)
    shown = media if request.represents or media == OBJECT else None
    return Plan(kind, f"with pgrst_source as ({change}) {outer}", arguments.values, shown, key=key, honours=honours)


def _returning(table: Table, request: Request) -> str:
    if request.represents:
        return f" returning {sql.base_columns(request.query.select, qualified(table))}"
    if "return=headers-only" in request.prefer and table.key and request.method == "POST":
        return f" returning {', '.join(f'{qualified(table)}.{ident(name)}' for name in table.key)}"
    return " returning 1"


def _nothing(table: Table, request: Request) -> str:
    columns = sql.base_columns(request.query.select, qualified(table)) if request.represents else "1"
    return f"select {columns} from {qualified(table)} where false"


def _rows(table: Table, payload: body.Payload, columns: tuple[str, ...], prefer: Prefer, arguments: Arguments) -> str:
    """The rows of a JSON body; with `missing=default` a column that a row lacks gets its default."""
    types = {name: table.columns[name] for name in columns}
    document = f"{arguments.bind(payload.text)}::json"
    array = f"json_build_array({document})" if payload.shape == "object" else document
    defaults = {name: table.defaults[name] for name in columns if name in table.defaults}
    if "missing=default" not in prefer or not defaults:
        return sql.record(f"json_to_recordset({array})", types)
    values = ", ".join(f"{arguments.bind(name)}::text, {default}" for name, default in defaults.items())
    filled = f"select json_agg(jsonb_build_object({values}) || e) from jsonb_array_elements(({array})::jsonb) e"
    return sql.record(f"json_to_recordset(({filled}))", types)


def _upsert(table: Table, request: Request, columns: tuple[str, ...]) -> str:
    target = request.query.on_conflict or table.key
    merge = "resolution=merge-duplicates" in request.prefer
    if not target or not columns or not (merge or "resolution=ignore-duplicates" in request.prefer):
        return ""
    return sql.conflict_clause(target, columns, merge=merge)


def _known(table: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
    for name in columns:
        if name not in table.columns:
            message = f"Could not find the '{name}' column of '{table.name}' in the schema cache"
            raise RestError(400, "PGRST204", message)
    return columns


def _payload(request: Request) -> body.Payload:
    if request.content_type not in ("", JSON, OBJECT):
        raise RestError(400, "PGRST102", f"Content-Type not acceptable: {request.content_type}")
    return body.parse(request.body, same_keys=request.query.columns is None)
