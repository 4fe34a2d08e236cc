"""One temporary replication slot of publication `supabase_realtime`, polled until it is stopped. Used by `capture`.

Consuming: what a poll has read is gone. When PostgreSQL goes away a new slot is made later; what changed meanwhile is
lost without a frame, as on the real server (traces/realtime.md §1 "Losing the server").
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from devstack.realtime.database import FAILED, Connection, DsnOf, connect
from devstack.realtime.pgoutput import Change, Decoder

log = logging.getLogger(__name__)
_CREATE = "select pg_create_logical_replication_slot($1, 'pgoutput', true)"
_READ = """select data from pg_logical_slot_get_binary_changes($1, null, $2, 'proto_version', '1',
           'publication_names', 'supabase_realtime')"""
_MAX_CHANGES = 100  # a transaction always comes whole
_RETRIES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between polls after one that found something and after one that did not, and before the first slot.

    After `give_up` seconds without PostgreSQL the poller is over for those it served.
    """

    busy: float
    idle: float
    cold_start: tuple[float, float] | None
    give_up: float


class Slot:
    """Created running; `ready` is set while changes are captured. Calls `on_give_up` once per long outage."""

    def __init__(
        self, dsn_of: DsnOf, pace: Pace, deliver: Callable[[list[Change]], Awaitable[None]],
        on_give_up: Callable[[], None],
    ) -> None:  # fmt: skip
        self.ready = asyncio.Event()
        self._dsn_of = dsn_of
        self._pace = pace
        self._deliver = deliver
        self._on_give_up = on_give_up
        self._giving_up: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        self._open: tuple[Connection, str] | None = None
        self.task = asyncio.create_task(self._run())

    async def poll(self) -> bool:
        """Deliver what was committed since the last poll; whether there was anything. No slot: nothing."""
        async with self._turn:
            if self._open is None:
                return False
            changes = await _read(*self._open)
            await self._deliver(changes)
            return bool(changes)

    async def _run(self) -> None:
        if self._pace.cold_start:
            await asyncio.sleep(random.uniform(*self._pace.cold_start))
        try:
            await self._capture_for_ever()
        finally:
            self._hold_on()

    async def _capture_for_ever(self) -> None:
        failures = 0
        while True:
            try:
                await self._capture()
            except FAILED as error:
                failures += 1
                if self.ready.is_set():
                    failures = 0
                    self._giving_up = asyncio.get_running_loop().call_later(self._pace.give_up, self._on_give_up)
                    log.warning("change capture stopped (%s); changes until it is back are lost", type(error).__name__)
            finally:
                self.ready.clear()
            await asyncio.sleep(_RETRIES[min(failures, len(_RETRIES) - 1)])

    async def _capture(self) -> None:
        connection = await connect(self._dsn_of("supabase_admin"))
        try:
            name = f"supabase_realtime_{secrets.token_hex(6)}"
            await connection.execute(_CREATE, name)
            self._open = (connection, name)
            self.ready.set()
            self._hold_on()
            while True:
                busy = await self.poll()
                await asyncio.sleep(self._pace.busy if busy else self._pace.idle)
        finally:
            self._open = None
            connection.terminate()  # not close(): a query may be under way

    def _hold_on(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()


async def _read(connection: Connection, name: str) -> list[Change]:
    decoder = Decoder()
    messages = await connection.fetch(_READ, name, _MAX_CHANGES)
    return [change for message in messages if (change := decoder.feed(message["data"]))]
