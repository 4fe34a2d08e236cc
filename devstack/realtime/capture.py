"""Change data capture for all channels: who subscribed to what, and the slot that exists while anybody does.

Owned by `RealtimeApi`. Without a subscriber there is no slot, so nothing that happened before is ever replayed. Three
of the real server's ways to leave a joined channel deaf without a frame are here: traces/realtime.md §1 "Losing the
server".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from devstack.realtime import catalog
from devstack.realtime.bindings import Binding
from devstack.realtime.database import FAILED, DsnOf, Session
from devstack.realtime.pgoutput import Change
from devstack.realtime.rate import EventRate
from devstack.realtime.routing import Router, Sink, Subscription
from devstack.realtime.slot import Pace, Slot
from devstack.realtime.tokens import Identity


class Owner(Protocol):
    """A channel."""

    def resubscribe(self) -> None:
        """The publication has changed: subscribe again."""


@dataclass(frozen=True, slots=True)
class Habits:
    """`event_limit` in events per second, None for none; `publication_tick`: seconds between looks at the tables."""

    event_limit: float | None
    publication_tick: float


class Capture:
    """Reads the publication `supabase_realtime` and routes its changes to subscriptions."""

    def __init__(self, dsn_of: DsnOf, admin: Session, caller: Session, pace: Pace, habits: Habits) -> None:
        self._dsn_of = dsn_of
        self._admin = admin
        self._router = Router(admin, caller)
        self._pace = pace
        self._tick = habits.publication_tick
        self._subscriptions: dict[Owner, Subscription] = {}
        self._owners: set[Owner] = set()
        self._slot: Slot | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.watching = False
        self.rate = EventRate(habits.event_limit)

    @property
    def subscribed(self) -> int:
        """How many channels hear changes."""
        return len(self._subscriptions)

    def hold(self, owner: Owner) -> Slot:
        """Have a slot, at least until the owner unsubscribes."""
        self._owners.add(owner)
        if self._slot is None:
            self._slot = Slot(self._dsn_of, self._pace, self._deliver, self.give_up)
            self.watching = False
            self._watch = asyncio.create_task(self._watch_publication())
        return self._slot

    async def subscribe(self, owner: Owner, identity: Identity, bindings: Sequence[Binding], sink: Sink) -> None:
        """Start delivering to `sink`, in place of the owner's earlier subscription; returns once capture runs.

        Raises:
            BindingError: one of the bindings cannot be served; then none is.
        """
        await self.hold(owner).ready.wait()
        async with self._admin.use() as connection:
            admitted = [(each, await catalog.admit(connection, each, identity.role)) for each in bindings]
        self._subscriptions[owner] = Subscription(identity, admitted, sink)

    def unsubscribe(self, owner: Owner) -> None:
        """Stop delivering; with the last owner the slot goes, too."""
        self._owners.discard(owner)
        self._subscriptions.pop(owner, None)
        if not self._owners and self._slot is not None and self._watch is not None:
            for ending in (self._slot.task, self._watch):
                ending.cancel()
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
            self._slot = self._watch = None

    def give_up(self) -> None:
        """Capture stops for all who are subscribed now, and nobody is told; a new subscription is served again."""
        self._subscriptions.clear()

    async def poll(self) -> bool:
        """Poll now, between the poller's own turns; whether there was anything."""
        return self._slot is not None and await self._slot.poll()

    async def stop(self) -> None:
        """End all subscriptions, and wait until the slot is gone."""
        for owner in list(self._owners):
            self.unsubscribe(owner)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _deliver(self, changes: list[Change]) -> None:
        if self.rate.admits(len(changes)):
            await self._router.deliver(changes, list(self._subscriptions.values()))

    async def _watch_publication(self) -> None:
        """Who is subscribed when the published tables change has to subscribe again; who was refused stays deaf."""
        known: frozenset[int] | None = None
        while True:
            with suppress(*FAILED):
                async with self._admin.use() as connection:
                    tables = await catalog.published(connection)
                if known not in (None, tables):
                    for owner in list(self._subscriptions):
                        owner.resubscribe()
                known = tables
                self.watching = True
            await asyncio.sleep(self._tick)
