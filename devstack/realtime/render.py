"""The `data` object of a change event as JSON text, from a decoded change and the table's columns. Used by `routing`.

Shapes: traces/realtime.md §1 "postgres_changes event". Numbers keep every digit, so the text is never parsed again.
"""

from __future__ import annotations

from collections.abc import Sequence

from devstack.realtime.catalog import Column, Table
from devstack.realtime.pgoutput import Change, Row
from devstack.realtime.protocol import dumps
from devstack.realtime.values import cast

MAX_RECORD_BYTES = 1_048_576
_SMALL_VALUE_BYTES = 64
_TOO_LARGE = '["Error 413: Payload Too Large"]'


class View:
    """The columns of a table that a reader may see, prepared once for many rows."""

    def __init__(self, columns: Sequence[Column]) -> None:
        ordered = sorted(columns, key=lambda c: (len(c.name.encode()), c.name.encode()))  # jsonb's key order
        self.fields = [(column.name, dumps(column.name), column.base) for column in ordered]
        kinds = (f'{{"name": {dumps(column.name)}, "type": {dumps(column.type)}}}' for column in columns)
        self.columns = f"[{', '.join(kinds)}]"


def data(change: Change, table: Table, view: View) -> str:
    """The event for a reader with this view."""
    record = None if change.new is None else _fields(change.new, view)
    too_large = record is not None and sum(map(_bytes, record.values())) > MAX_RECORD_BYTES
    if too_large and record is not None:
        record = {name: text for name, text in record.items() if _small(text)}
    stamp = change.committed.strftime("%Y-%m-%dT%H:%M:%S.") + f"{change.committed.microsecond // 1000:03d}Z"
    return _object(change, {
        "record": None if record is None else _json(record),
        "columns": view.columns,
        "errors": _TOO_LARGE if too_large else "null",
        "commit_timestamp": dumps(stamp),
        "old_record": None if change.kind == "INSERT" else _json(_fields(_old(change, table), view)),
    })  # fmt: skip


def refused(change: Change, reason: str) -> str:
    """The event for a reader who may not even see the key; says only that something happened."""
    return _object(change, {
        "record": "{}",
        "columns": "[]",
        "errors": dumps([reason]),
        "commit_timestamp": "null",
        "old_record": "{}" if change.kind == "UPDATE" else None,
    })  # fmt: skip


def _object(change: Change, parts: dict[str, str | None]) -> str:
    ordered = {"table": dumps(change.relation.name), "type": dumps(change.kind), "record": parts["record"],
               "columns": parts["columns"], "errors": parts["errors"], "schema": dumps(change.relation.schema),
               "commit_timestamp": parts["commit_timestamp"], "old_record": parts["old_record"]}  # fmt: skip
    return "{" + ",".join(f'"{key}":{text}' for key, text in ordered.items() if text is not None) + "}"


def _old(change: Change, table: Table) -> Row:
    """The old row, or the key alone: of the new row when it did not change, always for a DELETE under RLS."""
    old = change.old or change.new or {}
    if change.old is not None and not (change.kind == "DELETE" and table.rls):
        return old
    return {column.name: old[column.name] for column in table.key if column.name in old}


def _fields(row: Row, view: View) -> dict[str, str]:
    """JSON texts of values by JSON text of the name; a column that the row does not have is left out."""
    return {
        key: "null" if (text := row[name]) is None else cast(base, text)
        for name, key, base in view.fields
        if name in row
    }


def _json(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {text}" for key, text in fields.items()) + "}"


def _small(text: str) -> bool:
    return text != "null" and _bytes(text) <= _SMALL_VALUE_BYTES


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
