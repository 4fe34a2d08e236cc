"""`inspect_workflow_schema`: the database names what is missing, open or wrong in it, and changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from devstack.postgres import Postgres
from tests.integration.sql_db import Database, connect

JOBS, WORKERS = "public.workflow_generation_jobs", "public.workflow_workers"
CLAIM = "public.claim_workflow_jobs(text, integer, integer, text, integer, text, text[], text)"


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def inspected(db: Database, *damages: str) -> dict[str, Any]:
    """What the function says after these damages, all of which are undone."""
    admin = await connect(db.cluster, "supabase_admin")
    undo = admin.transaction()
    await undo.start()
    try:
        for damage in damages:
            await admin.execute(damage)
        found: dict[str, Any] = await admin.fetchval("select public.inspect_workflow_schema()")
        return found
    finally:
        await undo.rollback()
        await admin.close()


async def test_after_all_migrations_nothing_is_wrong(db: Database) -> None:
    found = await db.service.rpc("inspect_workflow_schema")
    lists = {name: value for name, value in found.items() if isinstance(value, list)}
    assert len(lists) == 8
    assert all(value == [] for value in lists.values()), lists
    assert (found["published"], found["logical"], found["broadcasts"], found["bypasses_rls"]) == (True,) * 4
    assert found["read_only"] is False
    assert found["bytes"] > 0
    assert found["now"] == pytest.approx(await db.owner.fetchval("select extract(epoch from now())::float8"), abs=60)


async def test_it_knows_every_part_that_the_migrations_make(db: Database) -> None:
    query = """
        select kind || ' ' || name from workflow_private.schema_found()
        except select kind || ' ' || name from workflow_private.schema_parts()"""
    unknown = [row[0] for row in await db.owner.fetch(query) if not row[0].endswith(("_pkey", "_fkey"))]
    assert unknown == [], "add these to schema_parts() in sql_migrations/24_workflow_doctor.sql"


DAMAGES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "a function of an older version": (
        [f"alter function {CLAIM} rename to gone"],
        {"version": 16, "missing": ["17: function public.claim_workflow_jobs/8"]},
    ),
    "a trigger that is switched off": (
        [f"alter table {JOBS} disable trigger workflow_jobs_ring_the_doorbell"],
        {"version": 14, "missing": ["15: trigger workflow_jobs_ring_the_doorbell"]},
    ),
    "a policy that is gone": (
        [f'drop policy "users see their own jobs" on {JOBS}'],
        {"version": 18, "missing": ["19: policy users see their own jobs"]},
    ),
    "a table that is gone": (
        ["drop table public.workflow_job_events cascade"],
        {"missing": ["14: index public.workflow_events_claims", "14: index public.workflow_events_of_job",
                     "14: index public.workflow_events_one_ending", "14: table public.workflow_job_events"],
         "rights_missing": []},
    ),
    "a table that is not published": (
        [f"alter publication supabase_realtime drop table {JOBS}"], {"unpublished": [JOBS]},
    ),
    "a publication of deletes only": (
        ["alter publication supabase_realtime set (publish = 'delete')"], {"published": False},
    ),
    "a publication that is gone": (
        ["drop publication supabase_realtime"], {"published": False, "unpublished": [JOBS, WORKERS]},
    ),
    "a published table without identity": (
        [f"alter table {WORKERS} replica identity nothing"], {"without_identity": [WORKERS]},
    ),
    "a right that is taken": (
        [f"revoke execute on function {CLAIM} from service_role"],
        {"rights_missing": ["service_role EXECUTE on public.claim_workflow_jobs/8"]},
    ),
    "a table that the service cannot read": (
        [f"revoke select on {JOBS} from service_role"], {"rights_missing": [f"service_role SELECT on {JOBS}"]},
    ),
    "a function that everybody may call": (
        [f"grant execute on function {CLAIM} to public"],
        {"rights_excess": ["anon EXECUTE on public.claim_workflow_jobs/8",
                           "authenticated EXECUTE on public.claim_workflow_jobs/8"]},
    ),
    "a column that users may write": (
        [f"grant update (status) on {JOBS} to authenticated"],
        {"rights_excess": [f"authenticated UPDATE on {JOBS}"]},
    ),
    "a table without row level security": (
        [f"alter table {JOBS} disable row level security"], {"open_tables": [JOBS]},
    ),
    "a policy of somebody else": (
        [f"create policy everybody on {JOBS} for select using (true)"], {"foreign_policies": ["everybody"]},
    ),
    "broadcasts that are not there": (
        ["drop function realtime.send(jsonb, text, text, boolean) cascade"], {"broadcasts": False},
    ),
    "a database that is read only": (["set local default_transaction_read_only = on"], {"read_only": True}),
    "a table that is published with all": (
        ["drop publication supabase_realtime", "create publication supabase_realtime for all tables"],
        {"published": True, "unpublished": []},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
async def test_it_names_the_damage(db: Database, name: str) -> None:
    damages, expected = DAMAGES[name]
    found = await inspected(db, *damages)
    assert {key: found[key] for key in expected} == expected


async def test_an_invalid_index_is_named(db: Database) -> None:
    await db.job("a")
    await db.job("b")
    index = "create unique index concurrently half_made on public.workflow_generation_jobs (prompt)"
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.owner.execute(index)
    try:
        assert (await db.service.rpc("inspect_workflow_schema"))["invalid_indexes"] == ["public.half_made"]
    finally:
        await db.owner.execute("drop index public.half_made")


async def test_it_changes_nothing(db: Database) -> None:
    async with db.owner.transaction(readonly=True):
        assert (await db.owner.fetchval("select public.inspect_workflow_schema()"))["missing"] == []
