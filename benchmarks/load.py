"""Jobs for the benchmarks: inserted and awaited over one open connection, so that measuring costs next to nothing."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import asyncpg

JOBS = "public.workflow_generation_jobs"


class Load:
    """Use as `async with Load(dsn)`; `dsn` is that of role `postgres`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __aenter__(self) -> Self:
        self._connection = await asyncpg.connect(self._dsn)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._connection.close()

    async def insert(self, how_many: int = 1) -> None:
        """Insert jobs in one statement, as a backend does."""
        await self._connection.execute(
            f"insert into {JOBS} (prompt) select 'measure ' || n from generate_series(1, $1) n", how_many
        )

    async def complete(self, how_many: int = 1) -> None:
        """Insert jobs and wait until all there are have been completed."""
        await self.insert(how_many)
        unfinished = f"select exists (select from {JOBS} where status <> 'completed')"
        while await self._connection.fetchval(unfinished):  # noqa: ASYNC110  # a look is cheaper than a listener here
            await asyncio.sleep(0.01)

    async def clear(self) -> None:
        """Forget all jobs."""
        await self._connection.execute(f"delete from {JOBS}")

    async def columns(self, expression: str) -> list[float]:
        """One number per job."""
        rows = await self._connection.fetch(f"select ({expression})::float8 as figure from {JOBS}")
        return [row["figure"] for row in rows]

    async def newest(self) -> float:
        """When the newest job was inserted: seconds since the epoch, by the database's clock."""
        return float(await self._connection.fetchval(f"select extract(epoch from max(created_at)) from {JOBS}"))
