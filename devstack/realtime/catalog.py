"""What PostgreSQL knows of a published table now: columns, key, RLS, grants. Used by `routing` and `capture`.

Also decides whether a binding can be served at all, with the real server's messages (traces/realtime.md §1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from devstack.realtime.bindings import Binding, BindingError, Filter
from devstack.realtime.database import LOST, Connection

_COLUMNS = """
select a.attname::text as name, t.typname::text as type, coalesce(b.typname, t.typname)::text as base,
       format_type(a.atttypid, null) as sql_type, c.relrowsecurity as rls,
       coalesce(a.attnum = any(i.indkey), false) as is_key,
       array(select r from unnest($2::text[]) r
             where exists (select from pg_roles where rolname = r)
             and has_column_privilege(r, c.oid, a.attnum, 'select')
       ) as readers
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
left join pg_type b on b.oid = t.typbasetype
left join pg_index i on i.indrelid = c.oid and i.indisprimary
where c.oid = $1::oid order by a.attnum
"""
_PUBLISHED = """
select schemaname::text, tablename::text, format('%I.%I', schemaname, tablename)::regclass::oid as oid
from pg_publication_tables where pubname = 'supabase_realtime'
and schemaname like (case $1 when '*' then '%' else $1 end) escape ''
and tablename like (case $2 when '*' then '%' else $2 end) escape ''
"""
_TRUTHS = ("null", "true", "false", "unknown")
_REFUSED = "Unable to subscribe to changes with given parameters. "


@dataclass(frozen=True, slots=True)
class Column:
    """A column: pg_type name, base type behind a domain, SQL type name, and which of the asked roles may read it."""

    name: str
    type: str
    base: str
    sql_type: str
    is_key: bool
    readers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is now; `columns` in table order."""

    columns: tuple[Column, ...]
    rls: bool

    @property
    def key(self) -> tuple[Column, ...]:
        """The columns of the primary key, in table order."""
        return tuple(column for column in self.columns if column.is_key)


async def table(connection: Connection, oid: int, roles: Sequence[str]) -> Table | None:
    """The table with this oid, None when it is gone; `readers` are told for `roles` only."""
    rows = await connection.fetch(_COLUMNS, oid, roles)
    columns = [
        Column(row["name"], row["type"], row["base"], row["sql_type"], row["is_key"], frozenset(row["readers"]))
        for row in rows
    ]
    return Table(tuple(columns), rows[0]["rls"]) if rows else None


async def published(connection: Connection) -> frozenset[int]:
    """The tables of the publication, by oid."""
    return frozenset(row["oid"] for row in await connection.fetch(_PUBLISHED, "*", "*"))


async def admit(connection: Connection, binding: Binding, role: str) -> frozenset[tuple[str, str]]:
    """The published tables (schema, name) that a binding covers.

    Raises:
        BindingError: none is published, the role does not exist, or a filter does not fit the columns.
    """
    try:
        await connection.execute("select $1::text::regrole", f'"{role}"')
        rows = await connection.fetch(_PUBLISHED, binding.schema, binding.table)
        for row in rows:
            await _check(connection, binding, await table(connection, row["oid"], [role]), role)
    except LOST:
        raise
    except asyncpg.PostgresError as error:
        raise BindingError(
            f"{_REFUSED}An exception happened so please check your connect parameters: [{binding}]. "
            f"Exception: ERROR {error.sqlstate} ({_condition(error)}) {error.args[0]}"
        ) from error
    if not rows:
        raise BindingError(f"{_REFUSED}Please check Realtime is enabled for the given connect parameters: [{binding}]")
    return frozenset((row["schemaname"], row["tablename"]) for row in rows)


async def _check(connection: Connection, binding: Binding, found: Table | None, role: str) -> None:
    types = {column.name: column.sql_type for column in found.columns if role in column.readers} if found else {}
    for condition in binding.filters:
        if condition.column not in types:
            raise asyncpg.RaiseError(f"invalid column for filter {condition.column}")
        await _check_value(connection, condition, types[condition.column])
    for name in binding.select or ():
        if name not in types:
            raise asyncpg.RaiseError(f"invalid column for select {name}")


async def _check_value(connection: Connection, condition: Filter, sql_type: str) -> None:
    if condition.operator == "is":
        if condition.value.lower() not in _TRUTHS:
            raise asyncpg.RaiseError("invalid value for is filter: must be null, true, false, or unknown")
        return
    many = "[]" if condition.operator == "in" else ""
    await connection.execute(f"select $1::text::{sql_type}{many}", condition.value)


def _condition(error: asyncpg.PostgresError) -> str:
    if isinstance(error, asyncpg.RaiseError):
        return "raise_exception"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
