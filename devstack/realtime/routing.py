"""From one poll's changes to the channels that get them: bindings, grants, policies, filters. Used by `capture`.

One query per table, reader and filter, whatever the number of rows; then one pass in commit order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from devstack.realtime import catalog, render
from devstack.realtime.bindings import Binding, Filter
from devstack.realtime.catalog import Table
from devstack.realtime.database import Session
from devstack.realtime.pgoutput import Change, Row
from devstack.realtime.render import View
from devstack.realtime.tokens import Identity
from devstack.realtime.visibility import passing, visible

UNAUTHORIZED = "Error 401: Unauthorized"
NO_KEY = "Error 400: Bad Request, no primary key"
_BREATH = 200  # changes between two chances for other tasks
Sink = Callable[[str, str, list[int]], None]
Select = tuple[str, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """What one channel hears, as whom, and where its events go: `sink(kind, data as JSON text, binding ids)`."""

    identity: Identity
    bindings: Sequence[tuple[Binding, frozenset[tuple[str, str]]]]
    sink: Sink

    def on(self, change: Change) -> list[Binding]:
        """The bindings that cover a change's table, last one first as the real server lists them."""
        at = (change.relation.schema, change.relation.name)
        return [binding for binding, tables in reversed(self.bindings) if at in tables]

    def bound(self, change: Change) -> list[Binding]:
        """Of these, the ones that want this kind of change."""
        return [binding for binding in self.on(change) if binding.event in ("*", change.kind)]


@dataclass(slots=True)
class _Batch:
    """The changes of one table in one poll, and who may have which; a position counts within `changes`."""

    table: Table
    changes: list[Change]
    seen: dict[Identity, set[int]] = field(default_factory=dict)
    passed: dict[tuple[Filter, ...], set[int]] = field(default_factory=dict)
    _views: dict[tuple[str, Select], View] = field(default_factory=dict)

    def ids(self, at: int, reader: Identity, bindings: Sequence[Binding]) -> list[int]:
        """The bindings through which the reader gets the change at this position."""
        hidden = self.changes[at].kind != "DELETE" and reader in self.seen and at not in self.seen[reader]
        return [] if hidden else [b.id for b in bindings if not b.filters or at in self.passed[b.filters]]

    def view(self, role: str, select: Select) -> View:
        """The columns that the role may read and the binding selected; a selection always has the key."""
        known = self._views.get((role, select))
        if known is None:
            readable = [c for c in self.table.columns if role in c.readers] if self._key_is_readable(role) else []
            known = View([c for c in readable if select is None or c.is_key or c.name in select])
            self._views[role, select] = known
        return known

    def refusal(self, at: int, role: str) -> str | None:
        """Why the role gets an error instead of the row, if so. Deletions are never refused, only empty."""
        if self.changes[at].kind == "DELETE" or self._key_is_readable(role):
            return None
        return UNAUTHORIZED if self.table.key else NO_KEY

    def _key_is_readable(self, role: str) -> bool:
        return bool(self.table.key) and all(role in column.readers for column in self.table.key)


class Router:
    """Delivers changes; `admin` reads the catalog and evaluates filters, `caller` evaluates policies as the reader."""

    def __init__(self, admin: Session, caller: Session) -> None:
        self._admin = admin
        self._caller = caller

    async def deliver(self, changes: Sequence[Change], subscriptions: Sequence[Subscription]) -> None:
        """Hand every change to every subscription that may have it, in commit order."""
        tables: dict[int, list[Change]] = {}
        places = []
        for change in changes:
            mates = tables.setdefault(change.relation.oid, [])
            places.append((change.relation.oid, len(mates)))
            mates.append(change)
        batches = {oid: await self._prepare(mates, subscriptions) for oid, mates in tables.items()}
        for number, (oid, at) in enumerate(places):
            batch = batches[oid]
            if batch is not None:
                _hand_out(batch, at, subscriptions)
            if number % _BREATH == 0:
                await asyncio.sleep(0)

    async def _prepare(self, changes: list[Change], subscriptions: Sequence[Subscription]) -> _Batch | None:
        wanted = {(s.identity, b.filters) for s in subscriptions for b in s.on(changes[0])}
        if not wanted:
            return None
        readers = {identity for identity, _ in wanted}
        async with self._admin.use() as connection:
            roles = sorted({identity.role for identity in readers})
            table = await catalog.table(connection, changes[0].relation.oid, roles)
        if table is None:
            return None
        batch = _Batch(table, changes)
        if table.rls and table.key:
            rows = [change.new for change in changes]
            for identity in readers:
                batch.seen[identity] = await visible(self._caller, identity, changes[0].relation, table.key, rows)
        await self._filter(batch, {filters for _, filters in wanted if filters})
        return batch

    async def _filter(self, batch: _Batch, wanted: set[tuple[Filter, ...]]) -> None:
        types = {column.name: column for column in batch.table.columns}
        rows: list[Row] = [change.new or change.old or {} for change in batch.changes]
        for filters in wanted:
            batch.passed[filters] = await passing(self._admin, filters, types, rows)


def _hand_out(batch: _Batch, at: int, subscriptions: Sequence[Subscription]) -> None:
    change = batch.changes[at]
    texts: dict[View | str, str] = {}
    for subscription in subscriptions:
        reader = subscription.identity
        by_select: dict[Select, list[Binding]] = {}
        for binding in subscription.bound(change):
            by_select.setdefault(binding.select, []).append(binding)
        for select, bindings in by_select.items():
            reason = batch.refusal(at, reader.role)
            ids = [b.id for b in bindings] if reason else batch.ids(at, reader, bindings)
            what = reason or batch.view(reader.role, select)
            if ids and what not in texts:
                texts[what] = _text(change, batch.table, what)
            if ids:
                subscription.sink(change.kind, texts[what], ids)


def _text(change: Change, table: Table, what: View | str) -> str:
    return render.refused(change, what) if isinstance(what, str) else render.data(change, table, what)
