"""A parser for `pgoutput` messages, protocol version 1, as logical decoding yields them. Used by `capture`.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Kind = Literal["INSERT", "UPDATE", "DELETE"]
Row = dict[str, str | None]  # a column that is missing was TOASTed and did not change
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_KINDS: dict[bytes, Kind] = {b"I": "INSERT", b"U": "UPDATE", b"D": "DELETE"}


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the change saw it; `key` are the columns of its replica identity."""

    oid: int
    schema: str
    name: str
    columns: tuple[str, ...]
    key: frozenset[str]


@dataclass(frozen=True, slots=True)
class Change:
    """One row change. `old` is what the replica identity gave, None when PostgreSQL sent none."""

    relation: Relation
    kind: Kind
    committed: datetime
    new: Row | None
    old: Row | None


class Decoder:
    """Turns the messages of one decoding call into changes, in order."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._committed = _EPOCH

    def feed(self, message: bytes) -> Change | None:
        """The change in a message; None for begin, commit, relation, truncate and the rest."""
        tag, body = message[:1], _Reader(message[1:])
        if tag == b"B":
            body.skip(8)
            self._committed = _EPOCH + timedelta(microseconds=body.number("q"))
        elif tag == b"R":
            relation = _relation(body)
            self._relations[relation.oid] = relation
        elif tag in _KINDS:
            return self._change(_KINDS[tag], body)
        return None

    def _change(self, kind: Kind, body: _Reader) -> Change:
        relation = self._relations[body.number("I")]
        new: Row | None = None
        old: Row | None = None
        while not body.done:
            part = body.take(1)
            row = _row(relation, body)
            if part == b"N":
                new = row
            else:
                old = row if part == b"O" else {name: row[name] for name in relation.columns if name in relation.key}
        return Change(relation, kind, self._committed, new, old)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at >= len(self._data)

    def skip(self, count: int) -> None:
        self._at += count

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, code: str) -> int:
        return int(struct.unpack(f">{code}", self.take(struct.calcsize(code)))[0])

    def text(self) -> str:
        end = self._data.index(b"\0", self._at)
        value = self._data[self._at : end].decode()
        self._at = end + 1
        return value


def _relation(body: _Reader) -> Relation:
    oid, schema, name = body.number("I"), body.text(), body.text()
    body.skip(1)  # replica identity setting; the columns' flags say the same
    columns, key = [], set()
    for _ in range(body.number("H")):
        flags = body.number("B")
        columns.append(body.text())
        body.skip(8)  # type and modifier: `catalog` reads them with their names
        if flags & 1:
            key.add(columns[-1])
    return Relation(oid, schema, name, tuple(columns), frozenset(key))


def _row(relation: Relation, body: _Reader) -> Row:
    row: Row = {}
    body.skip(2)
    for name in relation.columns:
        tag = body.take(1)
        if tag == b"t":
            row[name] = body.take(body.number("I")).decode()
        elif tag == b"n":
            row[name] = None
    return row
