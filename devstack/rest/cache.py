"""The schema cache: which tables, functions and role settings the API knows. Loaded by `database`, read by the plans.

As on the real server it is a snapshot: what was created after it is unknown until `notify pgrst, 'reload schema'`.
Only the schema `public` is exposed. Type names are quoted and schema-qualified, ready to be put into SQL.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from devstack.rest.errors import RestError
from devstack.rest.hints import nearest

CATALOG = (Path(__file__).parent / "catalog.sql").read_text()
HOISTED = ("statement_timeout", "default_transaction_isolation")


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view: types and defaults of its columns by name, and its primary key."""

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    defaults: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input of a function; `label` is the type as people write it."""

    name: str
    type: str
    label: str
    required: bool
    variadic: bool


@dataclass(frozen=True, slots=True)
class Function:
    """One overload of a function. `composite` rows have `columns`; `settings` are those hoisted to the transaction."""

    name: str
    parameters: tuple[Parameter, ...]
    volatile: bool
    set: bool
    void: bool
    composite: bool
    alias: str
    columns: Mapping[str, str]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SchemaCache:
    """One snapshot."""

    tables: Mapping[str, Table]
    functions: Mapping[str, tuple[Function, ...]]
    roles: Mapping[str, Mapping[str, str]]

    def table(self, name: str) -> Table:
        """The table of that name.

        Raises:
            RestError: 404 PGRST205.
        """
        if found := self.tables.get(name):
            return found
        near = nearest(name, self.tables)
        hint = f"Perhaps you meant the table 'public.{near}'" if near else None
        raise RestError(404, "PGRST205", f"Could not find the table 'public.{name}' in the schema cache", None, hint)


async def load(connection: asyncpg.Connection) -> SchemaCache:
    """Read the catalogue as the login role sees it."""
    row = await connection.fetchrow(CATALOG)
    assert row is not None
    functions: dict[str, tuple[Function, ...]] = {}
    for raw in json.loads(row["functions"]):
        functions[raw["name"]] = (*functions.get(raw["name"], ()), _function(raw))
    tables = {raw["name"]: _table(raw) for raw in json.loads(row["relations"])}
    return SchemaCache(tables, functions, json.loads(row["roles"]))


def _table(raw: dict[str, Any]) -> Table:
    columns = {column["name"]: column["type"] for column in raw["columns"]}
    defaults = {column["name"]: column["default"] for column in raw["columns"] if column["default"]}
    return Table(raw["name"], tuple(raw["key"]), columns, defaults)


def _function(raw: dict[str, Any]) -> Function:
    settings = dict(entry.split("=", 1) for entry in raw["settings"])
    return Function(
        raw["name"], tuple(Parameter(**parameter) for parameter in raw["parameters"]),
        raw["volatile"], raw["set"], raw["void"], raw["composite"], raw["relation"] or raw["name"], raw["columns"],
        {name: settings[name] for name in HOISTED if name in settings},
    )  # fmt: skip
