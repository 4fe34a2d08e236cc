"""The migrated database as its callers see it: owner, service, signed-in users, nobody. For the `test_sql_*` files."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from devstack.postgres import Postgres

TABLES = "public.workflow_generation_jobs, public.workflow_workers, workflow_private.claim_keys, auth.users"


@dataclass(frozen=True, slots=True)
class Caller:
    """One role's session, as PostgREST makes it: a transaction per call, role and claims set inside."""

    connection: asyncpg.Connection[asyncpg.Record]
    role: str
    user_id: str | None = None

    async def sql(self, query: str, *args: object) -> list[asyncpg.Record]:
        claims = {"role": self.role} | ({"sub": self.user_id} if self.user_id else {})
        async with self.connection.transaction():
            await self.connection.execute(f"set local role {self.role}")
            await self.connection.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(claims))
            return await self.connection.fetch(query, *args)

    async def rpc(self, function: str, **params: object) -> Any:
        names = ", ".join(f"p_{name} => ${place}" for place, name in enumerate(params, 1))
        rows = await self.sql(f"select public.{function}({names}) as answer", *params.values())
        return rows[0]["answer"]


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database with empty tables."""

    cluster: Postgres
    owner: asyncpg.Connection[asyncpg.Record]
    service: Caller
    anon: Caller

    @classmethod
    @asynccontextmanager
    async def open(cls, cluster: Postgres) -> AsyncIterator[Database]:
        owner, calls = await connect(cluster, "postgres"), await connect(cluster, "authenticator")
        try:
            await owner.execute(f"truncate {TABLES} cascade")
            yield cls(cluster, owner, Caller(calls, "service_role"), Caller(calls, "anon"))
        finally:
            await owner.close()
            await calls.close()

    async def user(self) -> Caller:
        user_id = str(uuid.uuid4())
        await self.owner.execute("insert into auth.users (id) values ($1)", user_id)
        return Caller(self.service.connection, "authenticated", user_id)

    @asynccontextmanager
    async def second_service(self) -> AsyncIterator[Caller]:
        connection = await connect(self.cluster, "authenticator")
        try:
            yield Caller(connection, "service_role")
        finally:
            await connection.close()

    async def job(self, job_id: str = "job-1", **columns: object) -> str:
        row = {"id": job_id, "prompt": "Mail me every morning", **columns}
        places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
        await self.owner.execute(
            f"insert into public.workflow_generation_jobs ({', '.join(row)}) values ({places})", *row.values()
        )
        return job_id

    async def row(self, job_id: str = "job-1") -> dict[str, Any]:
        query = "select to_jsonb(j) from public.workflow_generation_jobs j where id = $1"
        found: dict[str, Any] = await self.owner.fetchval(query, job_id)
        return found

    async def events(self, job_id: str = "job-1") -> list[tuple[str, int | None]]:
        query = "select kind, attempt from public.workflow_job_events where job_id = $1 order by id"
        return [(kind, attempt) for kind, attempt in await self.owner.fetch(query, job_id)]

    async def claim(self, worker: str = "w1", **params: object) -> list[dict[str, Any]]:
        answer = await self.service.rpc("claim_workflow_jobs", worker=worker, **params)
        jobs: list[dict[str, Any]] = answer["jobs"]
        return jobs

    async def renew(self, attempt: int, write: int, job_id: str = "job-1", **params: object) -> dict[str, bool]:
        answer: dict[str, bool] = await self.service.rpc(
            "renew_workflow_job", job=job_id, attempt=attempt, write=write, **params
        )
        return answer

    async def settle(self, attempt: int, outcome: str, job_id: str = "job-1", **params: object) -> bool:
        if outcome == "completed":
            params.setdefault("result", {"name": "Daily mail", "nodes": []})
        done: bool = await self.service.rpc(
            "settle_workflow_job", job=job_id, attempt=attempt, outcome=outcome, **params
        )
        return done

    async def expire_lease(self, job_id: str = "job-1") -> None:
        await self._backdate("lease_expires_at = now() - interval '1 second'", job_id)

    async def make_due(self, job_id: str = "job-1") -> None:
        await self._backdate("run_at = now()", job_id)

    async def _backdate(self, assignment: str, job_id: str) -> None:
        await self.owner.execute(f"update public.workflow_generation_jobs set {assignment} where id = $1", job_id)


async def connect(cluster: Postgres, user: str, database: str = "postgres") -> asyncpg.Connection[asyncpg.Record]:
    """A session that reads and writes jsonb as Python values."""
    connection = await asyncpg.connect(cluster.url(user, database))
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    return connection
