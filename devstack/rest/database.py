"""The connections of the REST half: a pool of login role `authenticator`, and one that listens for schema reloads.

Called by `api`. Every request is one transaction as the role of its token; PostgreSQL may go away and come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from devstack.rest import cache, errors

log = logging.getLogger(__name__)
SEARCH_PATH = '"public", "extensions"'
RECONNECT_AFTER = 0.2
CONNECT_TIMEOUT = 5.0
_ISOLATION = frozenset({"read committed", "repeatable read", "serializable"})
# the check makes a backend give up soon after the gateway went away, instead of working on and holding its locks
_SETTINGS = {"application_name": "devstack-rest", "client_connection_check_interval": "250ms"}
_LOST = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.PostgresWarning,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a query on a session that was just told of its end
)

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class Session:
    """How a transaction is begun: for whom, read only or not, with which local settings."""

    role: str
    readonly: bool
    settings: Mapping[str, str]

    @property
    def begin(self) -> str:
        """The BEGIN statement; read write is said too, so that a read-only database default does not stop writes."""
        asked = self.settings.get("default_transaction_isolation", "").lower()
        isolation = asked if asked in _ISOLATION else "read committed"
        return f"begin isolation level {isolation} read {'only' if self.readonly else 'write'}"

    @property
    def local(self) -> dict[str, str]:
        """Settings of this transaction, in the order in which they are made."""
        others = {name: value for name, value in self.settings.items() if name != "default_transaction_isolation"}
        return {"search_path": SEARCH_PATH, "role": self.role, **others}


@dataclass(frozen=True, slots=True)
class Row:
    """The one row that a plan's statement gives; `total` only when a count was asked for."""

    total: int | None
    page: int
    body: str
    headers: str | None
    status: str | None
    merged: int | None


class Database:
    """The pool, the listener, and the schema cache they keep."""

    def __init__(self, dsn: str, *, pool_size: int, pool_timeout: float) -> None:
        self._dsn = dsn
        self._size = pool_size
        self._timeout = pool_timeout
        self._cache: cache.SchemaCache | None = None
        self._pool: asyncpg.Pool | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()

    @property
    def cache(self) -> cache.SchemaCache:
        """The newest snapshot of the schema.

        Raises:
            RestError: 503 PGRST002 while PostgreSQL has not been reachable since the start.
        """
        if self._cache is None:
            raise errors.no_schema_cache()
        return self._cache

    async def start(self) -> None:
        """Begin to serve; waits for the first attempt to load the schema, which may fail."""
        self._tried.clear()
        self._pool = await asyncpg.create_pool(
            self._dsn, min_size=0, max_size=self._size, timeout=CONNECT_TIMEOUT, reset=_keep, server_settings=_SETTINGS
        )
        self._watcher = asyncio.create_task(self._watch(), name="rest schema watcher")
        await self._tried.wait()

    async def stop(self) -> None:
        """Close everything; running transactions are rolled back by the server."""
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        if self._pool is not None:
            self._pool.terminate()
        self._pool = self._watcher = self._cache = None

    async def run(self, session: Session, text: str, values: Sequence[object], judge: Callable[[Row], None]) -> Row:
        """One statement in one transaction as the session's role; rolled back when `judge` objects to its row.

        Raises:
            RestError: PGRST000, PGRST001, PGRST003, what PostgreSQL said, or what `judge` raised.
        """
        connection = await self._acquire()
        try:
            await self._begin(connection, session)
            found = await connection.fetchrow(text, *values)
            assert found is not None
            row = Row(**found)
            judge(row)
            await connection.execute("commit")
        except BaseException as error:
            if isinstance(error, asyncpg.InternalClientError):
                connection.terminate()
            await _roll_back(connection)
            if isinstance(error, _LOST):
                raise _translated(error, connection, session.role) from error
            raise
        finally:
            await self._release(connection)
        return row

    async def _acquire(self) -> Connection:
        if self._pool is None:
            raise errors.interrupted()
        try:
            return await self._pool.acquire(timeout=self._timeout)
        except TimeoutError:
            raise errors.pool_exhausted() from None
        except _LOST as error:
            raise errors.unreachable(str(error)) from error

    async def _release(self, connection: Connection) -> None:
        if self._pool is not None:
            with suppress(*_LOST):
                await self._pool.release(connection)

    @staticmethod
    async def _begin(connection: Connection, session: Session) -> None:
        await connection.execute(session.begin)
        local = session.local
        calls = ", ".join(f"set_config(${at}, ${at + 1}, true)" for at in range(1, 2 * len(local), 2))
        try:
            await connection.fetchrow(f"select {calls}", *(text for pair in local.items() for text in pair))
        except asyncpg.InvalidParameterValueError as error:
            raise errors.RestError(401, str(error.sqlstate), str(error.message)) from error

    async def _watch(self) -> None:
        while True:
            try:
                await self._listen()
            except (*_LOST, TimeoutError) as error:
                log.debug("no schema cache yet: %s", type(error).__name__)
            self._tried.set()
            await asyncio.sleep(RECONNECT_AFTER)

    async def _listen(self) -> None:
        """Load the schema, and again after every notification, until the connection dies."""
        connection = await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT, server_settings=_SETTINGS)
        changed = asyncio.Event()
        connection.add_termination_listener(lambda _: changed.set())
        try:
            await connection.add_listener("pgrst", lambda *_: changed.set())
            while not connection.is_closed():
                changed.clear()
                self._cache = await cache.load(connection)
                self._tried.set()
                await changed.wait()
        finally:
            connection.terminate()


async def _keep(_: asyncpg.Connection[asyncpg.Record]) -> None:
    """Instead of the pool's RESET ALL round trip: every setting of a request is local to its transaction."""


async def _roll_back(connection: Connection) -> None:
    if not _is_closed(connection):
        with suppress(*_LOST):
            await connection.execute("rollback")


def _is_closed(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has already taken a dead connection back
        return True


def _translated(error: BaseException, connection: Connection, role: str) -> errors.RestError:
    fatal = getattr(error, "severity_en", None) in ("FATAL", "PANIC")
    if _is_closed(connection) or fatal or not isinstance(error, asyncpg.PostgresError | asyncpg.PostgresWarning):
        return errors.interrupted()
    return errors.from_postgres(error, role)
