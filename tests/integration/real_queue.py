"""The real queue for synchronous code, its answers without their times. For `test_queue_state_machine.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from devstack.postgres import Postgres
from tests.integration.sql_db import TABLES, Caller, Database
from tests.queue_model import VISIBLE

T = TypeVar("T")
Row = dict[str, Any]
ALICE = "a11ce000-0000-4000-8000-000000000000"
LONG = 3600  # no lease or delay ends by itself, however slow the machine
SNAPSHOT = """select jsonb_build_object(
  'jobs', (select coalesce(jsonb_agg(to_jsonb(j) order by j.id), '[]') from public.workflow_generation_jobs j),
  'events', (select coalesce(jsonb_agg(to_jsonb(e) order by e.id), '[]') from public.workflow_job_events e))"""


def seen(row: Row) -> Row:
    """A row as the model shows it."""
    return {name: row[name] for name in VISIBLE} | {
        "finished": row["finished_at"] is not None,
        "leased": row["lease_expires_at"] is not None,
        "code": (row["error_details"] or {}).get("code"),
        "cancel_wanted": row["cancel_requested_at"] is not None,
        "started": row["started_at"] is not None,
        "timed": row["duration_ms"] is not None,
    }


class Service(Caller):
    """A session with its role set once, so that a call is one round trip."""

    async def sql(self, query: str, *args: object) -> list[asyncpg.Record]:
        return await self.connection.fetch(query, *args)


@dataclass(frozen=True)
class RealQueue:
    """One event loop, one session for the calls, and a second one for what happens at the same time."""

    loop: asyncio.AbstractEventLoop
    db: Database
    service: Service
    rival: Service

    @classmethod
    @contextmanager
    def open(cls, cluster: Postgres) -> Iterator[RealQueue]:
        async def sessions() -> tuple[Database, Service, Service]:
            db = await stack.enter_async_context(Database.open(cluster))
            second = await stack.enter_async_context(db.second_service())
            for connection in (db.service.connection, second.connection):
                # no call may wait for a claim that is under way
                await connection.execute("set role service_role; set lock_timeout = '500ms'")
            return db, Service(db.service.connection, "service_role"), Service(second.connection, "service_role")

        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            yield cls(runner.get_loop(), *runner.run(sessions()))
            runner.run(stack.aclose())

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    def call(self, function: str, **params: object) -> Any:
        return self.run(self.service.rpc(function, **params))

    def empty(self) -> None:
        self.run(self.db.owner.execute(f"truncate {TABLES} cascade; insert into auth.users (id) values ('{ALICE}')"))

    def snapshot(self) -> dict[str, list[Row]]:
        """All rows of the jobs and of their history."""
        found: dict[str, list[Row]] = self.run(self.db.owner.fetchval(SNAPSHOT))
        return found

    @contextmanager
    def held_open(self) -> Iterator[Service]:
        """The second session, in a transaction that is committed at the end of the block."""
        transaction = self.rival.connection.transaction()
        self.run(transaction.start())
        try:
            yield self.rival
        except BaseException:
            self.run(transaction.rollback())
            raise
        self.run(transaction.commit())

    def claim(self, worker: str, key: str, by: Service | None = None, **params: object) -> Row:
        params |= {"worker": worker, "claim_key": key, "lease_seconds": LONG}
        answer = self.run((by or self.service).rpc("claim_workflow_jobs", **params))
        return {"jobs": [seen(row) for row in answer["jobs"]], "more": answer["more"]}

    def reconcile(self, *, dry_run: bool) -> Row:
        answer: Row = self.call("reconcile_workflow_jobs", dry_run=dry_run)
        del answer["oldest_claimable_seconds"], answer["next_due_in"]
        return answer | {"job_ids": sorted(answer["job_ids"])}

    @contextmanager
    def with_a_defect(self, function: str, old: str, new: str) -> Iterator[None]:
        """The database function has one text replaced for as long as the block lasts."""
        real = self._source(function)
        assert real.count(old) == 1
        self.run(self.db.owner.execute(real.replace(old, new)))
        try:
            yield
        finally:
            self.run(self.db.owner.execute(real))
            assert self._source(function) == real

    def _source(self, function: str) -> str:
        found: str = self.run(self.db.owner.fetchval("select pg_get_functiondef($1::text::regproc)", function))
        return found
