"""Who may see which changed row, and which rows pass a filter: both are asked of PostgreSQL. Used by `routing`.

A policy is evaluated against the row as it is now, not as it was written (traces/realtime.md §1, trace 13b).
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from devstack.realtime.bindings import Filter
from devstack.realtime.catalog import Column
from devstack.realtime.database import LOST, Session, act_as
from devstack.realtime.pgoutput import Relation, Row
from devstack.realtime.tokens import Identity

_OPERATORS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "like": "~~", "ilike": "~~*",
              "match": "~", "imatch": "~*", "isdistinct": "is distinct from"}  # fmt: skip


async def visible(
    session: Session, identity: Identity, relation: Relation, key: Sequence[Column], rows: Sequence[Row | None]
) -> set[int]:
    """Positions of the rows that exist now and that the identity's policies let it see; one query for all.

    Rows without a whole key (None: a deletion, which no policy hides) are not among them.
    """
    chosen = [(at, row) for at, row in enumerate(rows) if row is not None and all(c.name in row for c in key)]
    same = " and ".join(f"t.{_name(c.name)} = k.c{at}::{c.sql_type}" for at, c in enumerate(key))
    sql = f"""select k.at from {_keys(len(key))} where exists (
              select from {_name(relation.schema)}.{_name(relation.name)} t where {same})"""  # noqa: S608 - quoted names
    values = [[row[column.name] for _, row in chosen] for column in key]
    try:
        async with session.use() as connection, connection.transaction(readonly=True):
            await act_as(connection, identity.role, {"request.jwt.claims": identity.claims})
            return {record["at"] for record in await connection.fetch(sql, [at for at, _ in chosen], *values)}
    except LOST:
        raise
    except asyncpg.PostgresError:
        return set()  # a policy that fails shows nothing


async def passing(
    session: Session, filters: Sequence[Filter], types: dict[str, Column], rows: Sequence[Row]
) -> set[int]:
    """Positions of the rows that pass every filter; a row without one of the columns does not pass."""
    if any(condition.column not in types for condition in filters):
        return set()
    chosen = [(at, row) for at, row in enumerate(rows) if all(f.column in row for f in filters)]
    where = " and ".join(_condition(f, types[f.column].sql_type, at, len(filters)) for at, f in enumerate(filters))
    sql = f"select k.at from {_keys(len(filters))} where {where}"  # noqa: S608 - placeholders and type names
    values = [[row[f.column] for _, row in chosen] for f in filters]
    async with session.use() as connection:
        found = await connection.fetch(sql, [at for at, _ in chosen], *values, *(f.value for f in filters))
    return {record["at"] for record in found}


def _keys(columns: int) -> str:
    arrays = ", ".join(f"${at + 2}::text[]" for at in range(columns))
    names = ", ".join(f"c{at}" for at in range(columns))
    return f"unnest($1::int[], {arrays}) as k(at, {names})"


def _condition(condition: Filter, sql_type: str, at: int, count: int) -> str:
    left, value = f"k.c{at}::{sql_type}", f"${at + 2 + count}::text::{sql_type}"
    match condition.operator:
        case "in":
            test = f"{left} = any({value}[])"
        case "is":
            test = f"{left} is {condition.value} and ${at + 2 + count}::text is not null"
        case operator:
            test = f"{left} {_OPERATORS[operator]} {value}"
    return f"not ({test})" if condition.negated else f"({test})"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
