"""Broadcasts that SQL sends: from `realtime.messages` to the channels, at commit. Owned by `RealtimeApi`.

A trigger notifies the message's id (devstack/sql/02_realtime.sql); while PostgreSQL is away, messages are lost.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import asyncpg

from devstack.realtime.database import FAILED, Connection, DsnOf, close, connect
from devstack.realtime.hub import Hub
from devstack.realtime.protocol import UserMessage, dumps

log = logging.getLogger(__name__)
CHANNEL = "realtime_messages"
_KEPT = "delete from realtime.messages where inserted_at < now() - interval '3 days'"
_FETCH = """select m.id::text, m.topic, m.event, m.private, m.payload::text
from unnest($1::uuid[]) with ordinality as wanted(id, at) join realtime.messages m using (id)
where m.topic is not null and m.event is not null and m.payload is not null order by at"""
_RETRY_SECONDS = 0.5


class Feed:
    """Listens on one connection and hands messages to the hub; `ready` is set while it does."""

    def __init__(self, dsn_of: DsnOf, hub: Hub) -> None:
        self._dsn_of = dsn_of
        self._hub = hub
        self._task: asyncio.Task[None] | None = None
        self.ready = asyncio.Event()

    def start(self) -> None:
        """Begin to listen; waits for a PostgreSQL that is not there yet."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop listening and close the connection."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._connected()
            except FAILED as error:
                if self.ready.is_set():
                    log.warning(
                        "broadcasts from SQL stopped (%s); those until it is back are lost", type(error).__name__
                    )
            finally:
                self.ready.clear()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _connected(self) -> None:
        connection = await connect(self._dsn_of("supabase_admin"))
        try:
            await self._listen(connection)
        finally:
            await close(connection)

    async def _listen(self, connection: Connection) -> None:
        heard: asyncio.Queue[str | None] = asyncio.Queue()
        connection.add_termination_listener(lambda _: heard.put_nowait(None))
        await connection.execute(_KEPT)
        await connection.add_listener(CHANNEL, lambda _c, _pid, _channel, message: heard.put_nowait(str(message)))
        self.ready.set()
        while (message := await heard.get()) is not None:
            ids = [message]
            while not heard.empty() and (message := heard.get_nowait()) is not None:
                ids.append(message)
            for row in await connection.fetch(_FETCH, ids):
                self._relay(row)
        raise ConnectionError("the listening connection ended")

    def _relay(self, row: asyncpg.Record) -> None:
        message = UserMessage(row["event"], row["payload"].encode(), meta=dumps({"id": row["id"]}))
        self._hub.broadcast(f"realtime:{row['topic']}", row["private"], message)
