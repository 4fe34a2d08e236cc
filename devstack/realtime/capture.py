"""Change data capture for all channels: who subscribed to what, and the slot that exists while anybody does.

Owned by `RealtimeApi`. Without a subscriber there is no slot, so nothing that happened before is ever replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from devstack.realtime import catalog
from devstack.realtime.bindings import Binding
from devstack.realtime.database import DsnOf, Session
from devstack.realtime.pgoutput import Change
from devstack.realtime.routing import Router, Sink, Subscription
from devstack.realtime.slot import Pace, Slot
from devstack.realtime.tokens import Identity


class Capture:
    """Reads the publication `supabase_realtime` and routes its changes to subscriptions."""

    def __init__(self, dsn_of: DsnOf, admin: Session, caller: Session, pace: Pace) -> None:
        self._dsn_of = dsn_of
        self._admin = admin
        self._router = Router(admin, caller)
        self._pace = pace
        self._subscriptions: dict[object, Subscription] = {}
        self._owners: set[object] = set()
        self._slot: Slot | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def hold(self, owner: object) -> Slot:
        """Have a slot, at least until the owner unsubscribes."""
        self._owners.add(owner)
        self._slot = self._slot or Slot(self._dsn_of, self._pace, self._deliver)
        return self._slot

    async def subscribe(self, owner: object, identity: Identity, bindings: Sequence[Binding], sink: Sink) -> None:
        """Start delivering to `sink`, in place of the owner's earlier subscription; returns once capture runs.

        Raises:
            BindingError: one of the bindings cannot be served; then none is.
        """
        await self.hold(owner).ready.wait()
        async with self._admin.use() as connection:
            admitted = [(each, await catalog.admit(connection, each, identity.role)) for each in bindings]
        self._subscriptions[owner] = Subscription(identity, admitted, sink)

    def unsubscribe(self, owner: object) -> None:
        """Stop delivering; with the last owner the slot goes, too."""
        self._owners.discard(owner)
        self._subscriptions.pop(owner, None)
        if not self._owners and self._slot is not None:
            ending, self._slot = self._slot.task, None
            ending.cancel()
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def poll(self) -> bool:
        """Poll now, between the poller's own turns; whether there was anything."""
        return self._slot is not None and await self._slot.poll()

    async def stop(self) -> None:
        """End all subscriptions, and wait until the slot is gone."""
        for owner in list(self._owners):
            self.unsubscribe(owner)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _deliver(self, changes: list[Change]) -> None:
        await self._router.deliver(changes, list(self._subscriptions.values()))
