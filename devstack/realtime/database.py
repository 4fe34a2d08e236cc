"""Connections to PostgreSQL: opened when first needed, reopened after a failure, used one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:  # generic in its stubs only
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection
DsnOf = Callable[[str], str]
# what a server that stops, is away or comes back makes asyncpg raise
LOST = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InternalClientError,  # a query on a connection that was just told of the shutdown
)
FAILED = (*LOST, asyncpg.PostgresError)  # also what SQL itself can raise
# values are read as text: fix what text depends on
_SETTINGS = {
    "application_name": "devstack-realtime",
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "statement_timeout": "0",
    "client_connection_check_interval": "1s",  # a terminated connection ends its query, too
}


async def connect(dsn: str) -> Connection:
    """A connection with the settings that text output depends on; a server that is away raises one of LOST."""
    return await asyncpg.connect(dsn, server_settings=_SETTINGS, timeout=10)


async def close(connection: Connection) -> None:
    """Close politely, or at once when the server does not answer."""
    try:
        await connection.close(timeout=2)
    except (TimeoutError, *LOST):
        connection.terminate()


class Session:
    """One connection of one login role, shared by tasks that take turns."""

    def __init__(self, dsn_of: DsnOf, login: str) -> None:
        self._dsn_of = dsn_of
        self._login = login
        self._turn = asyncio.Lock()
        self._connection: Connection | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """The connection, for this block alone; a cancelled or failed user leaves none, and the next opens another."""
        async with self._turn:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._dsn_of(self._login))
            try:
                yield self._connection
            except (asyncio.CancelledError, *LOST):
                self._connection.terminate()  # a query may be under way
                raise

    async def close(self) -> None:
        """Close the connection; a later use opens it again."""
        async with self._turn:
            if self._connection is not None:
                await close(self._connection)
            self._connection = None


async def act_as(connection: Connection, role: str, settings: dict[str, Any]) -> None:
    """For the rest of the transaction be `role` with these settings, as PostgREST and Realtime do for a caller."""
    names, values = list(settings), list(settings.values())
    await connection.execute(
        "select set_config(n, v, true) from unnest($1::text[], $2::text[]) as s(n, v)", names, values
    )
    await connection.execute("select set_config('role', $1, true)", role)
