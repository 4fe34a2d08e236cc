"""May this caller read from, or write to, a private topic? Policies on `realtime.messages` decide.

Used by `joining`, `channel` and `http`.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from devstack.realtime.database import LOST, Connection, Session, act_as
from devstack.realtime.tokens import Identity

_PROBE = "insert into realtime.messages (id, topic, extension, private) values ($1, $2, 'broadcast', true)"
_FIND = "select true from realtime.messages where id = $1 and topic = $2 and extension = 'broadcast'"
_READ_PROBE, _WRITE_PROBE = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"


@dataclass(frozen=True, slots=True)
class Rights:
    """What policies allow on one private topic."""

    read: bool
    write: bool


class _RollBack(Exception):
    """Carries the answer out of the transaction that must leave nothing behind."""


async def rights(session: Session, identity: Identity, topic: str) -> Rights:
    """Try both with probe rows in a transaction that is rolled back, as the real server does. `topic` has no prefix."""
    async with session.use() as connection:
        try:
            async with connection.transaction():
                await connection.execute("set local role service_role")
                await connection.execute(_PROBE, _READ_PROBE, topic)
                read = await _allowed(connection, identity, topic, _FIND, _READ_PROBE)
                write = await _allowed(connection, identity, topic, _PROBE + " returning true", _WRITE_PROBE)
                raise _RollBack(read, write)
        except _RollBack as result:
            return Rights(*result.args)


async def _allowed(connection: Connection, identity: Identity, topic: str, sql: str, probe: str) -> bool:
    try:
        async with connection.transaction():
            await act_as(connection, identity.role, {"request.jwt.claims": identity.claims, "realtime.topic": topic})
            return bool(await connection.fetchval(sql, probe, topic))
    except LOST:
        raise
    except asyncpg.PostgresError:
        return False
