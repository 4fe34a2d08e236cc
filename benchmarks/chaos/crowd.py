"""The users of a chaos run: they insert in bursts, cancel now and then, and some start a cancelled job again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import asyncpg

from devstack.postgres import Postgres
from devstack.realtime.database import FAILED

JOBS = "public.workflow_generation_jobs"
INSERT = f"insert into {JOBS} (id, prompt, user_id) select 'chaos-' || n, 'Log request ' || n, $3 "
INSERT += "from generate_series($1::int, $2::int) n on conflict (id) do nothing"
# So many may wait before the crowd pauses: bursts and idle times take turns.
FULL, EMPTY = 200, 20
CANCELLED, AGAIN = 0.3, 0.5
T = TypeVar("T")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Database:
    """The database as people reach it directly; what fails because it is away is asked again until it answers."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._connection: Connection | None = None

    async def do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` on a connection, as often as it takes; it must be repeatable."""
        while True:
            try:
                if self._connection is None:
                    self._connection = await asyncpg.connect(self._postgres.url("supabase_admin"), timeout=5)
                return await work(self._connection)
            except FAILED:
                self.close()
                await asyncio.sleep(0.2)

    async def value(self, sql: str, *arguments: object) -> object:
        """One value."""
        return await self.do(lambda connection: connection.fetchval(sql, *arguments, timeout=30))

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


class Crowd:
    """Inserts `jobs` jobs for several users in all. `acts` counts what it did."""

    def __init__(self, rng: random.Random, jobs: int, users: list[str], database: Database) -> None:
        self._rng = rng
        self._jobs = jobs
        self._users = users
        self._database = database
        self.acts: Counter[str] = Counter()

    async def run(self) -> None:
        """Until every job has been inserted."""
        done = 0
        while done < self._jobs:
            last = min(done + self._rng.choice((1, 1, 1, 5, 20, 60)), self._jobs)
            await self._database.value(INSERT, done + 1, last, self._rng.choice(self._users))
            self.acts["inserts"] += 1
            done = last
            await self._change_a_mind(done)
            await self._rest()

    async def _change_a_mind(self, newest: int) -> None:
        if self._rng.random() >= CANCELLED:
            return
        job = f"chaos-{self._rng.randint(max(1, newest - 50), newest)}"
        await self._database.value("select public.cancel_workflow_job($1)", job)
        self.acts["cancels"] += 1
        if self._rng.random() < AGAIN:
            await self._database.value("select public.retry_workflow_job($1)", job)
            self.acts["retries"] += 1

    async def _rest(self) -> None:
        """A breath; and when too many wait, until next to none does."""
        await asyncio.sleep(self._rng.uniform(0, 0.2))
        if await self._waiting() > FULL:
            while await self._waiting() > EMPTY:  # noqa: ASYNC110  # a look is cheaper than a listener here
                await asyncio.sleep(0.5)

    async def _waiting(self) -> int:
        return int(str(await self._database.value(f"select count(*) from {JOBS} where status = 'pending'")))
