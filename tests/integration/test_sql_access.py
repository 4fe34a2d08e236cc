"""Who sees and does what: users own rows and no server-controlled column, anon nothing, the service by functions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from devstack.postgres import Postgres
from tests.integration.sql_db import Caller, Database

RELATIONS = [
    "workflow_generation_jobs", "workflow_job_events", "workflow_workers", "workflow_jobs_at_a_glance",
    "workflow_queue_health", "workflow_model_performance", "workflow_failures_by_code", "workflow_workers_at_a_glance",
]  # fmt: skip
WORKERS_FUNCTIONS = {
    "claim_workflow_jobs", "renew_workflow_job", "settle_workflow_job", "reconcile_workflow_jobs",
    "heartbeat_workflow_worker", "prune_workflow_jobs", "cleanup_old_jobs", "audit_workflow_jobs",
    "pause_workflow_workers", "inspect_workflow_schema", "workflow_page", "workflow_page_job",
}  # fmt: skip
PEOPLES_FUNCTIONS = {"submit_workflow_job", "cancel_workflow_job", "retry_workflow_job"}
OURS = "('public'::regnamespace, 'workflow_private'::regnamespace)"


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def insert(caller: Caller, **columns: object) -> dict[str, Any]:
    row = {"prompt": "Mail me every morning", **columns}
    places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    [found] = await caller.sql(
        f"insert into public.workflow_generation_jobs ({', '.join(row)}) values ({places}) returning *", *row.values()
    )
    return dict(found)


async def test_a_user_inserts_a_job_that_is_the_users_own(db: Database) -> None:
    user = await db.user()
    row = await insert(
        user, id="mine-1", mode="edit", current_workflow={"nodes": []}, execution_history=[], config={"a": 1},
        priority=-1, idempotency_key="k",
    )  # fmt: skip
    assert str(row["user_id"]) == user.user_id
    assert (row["status"], row["attempt"], row["retry_count"], row["max_retries"]) == ("pending", 0, 0, 3)


async def test_a_job_without_an_id_gets_one_of_the_documented_form(db: Database) -> None:
    row = await insert(await db.user())
    kind, seconds, random = row["id"].split("_")
    assert (kind, len(random)) == ("job", 10)
    assert int(seconds) == pytest.approx(row["created_at"].timestamp(), abs=60)
    assert int(random, 16) >= 0


async def test_a_user_sees_only_own_rows(db: Database) -> None:
    alice, bob = await db.user(), await db.user()
    await insert(alice, id="alices")
    await insert(bob, id="bobs")
    await db.job("nobodys")
    for view in ("workflow_generation_jobs", "workflow_jobs_at_a_glance"):
        assert [row["id"] for row in await alice.sql(f"select id from public.{view}")] == ["alices"]
        assert len(await db.service.sql(f"select id from public.{view}")) == 3


FORGERIES: list[tuple[str, object]] = [
    ("user_id", "00000000-0000-0000-0000-000000000001"), ("status", "pending"), ("workflow_result", {"name": "x"}),
    ("error_message", "x"), ("error_details", {}), ("progress_percentage", 5), ("current_phase", "analyze"),
    ("progress_logs", []), ("started_at", None), ("finished_at", None), ("duration_ms", 1), ("worker_id", "w"),
    ("retry_count", 0), ("max_retries", 99), ("observability", {}), ("updated_at", None), ("attempt", 7),
    ("lease_expires_at", None), ("checkpoint", {}), ("cancel_requested_at", None), ("preview", {}),
    ("traceparent", "x"), ("fair_rank", -9), ("write_seq", 9), ("claim_key", "k"), ("created_at", None),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value"), FORGERIES)
async def test_a_user_cannot_set_what_the_server_controls(db: Database, column: str, value: object) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for table"):
        await insert(await db.user(), **{column: value})


async def test_every_column_is_either_the_users_or_the_servers(db: Database) -> None:
    query = "select attname from pg_attribute where attrelid = 'workflow_generation_jobs'::regclass and attnum > 0"
    columns = {row["attname"] for row in await db.owner.fetch(query)}
    users = {"id", "prompt", "mode", "current_workflow", "execution_history", "config", "priority", "run_at",
             "idempotency_key"}  # fmt: skip
    assert columns == users | {column for column, _ in FORGERIES}


async def test_a_user_cannot_jump_the_queue(db: Database) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await insert(await db.user(), priority=1)


@pytest.mark.parametrize("change", ["update public.workflow_generation_jobs set prompt = 'x'",
                                    "delete from public.workflow_generation_jobs",
                                    "truncate public.workflow_generation_jobs"])  # fmt: skip
async def test_nobody_updates_or_deletes_rows_not_even_the_service(db: Database, change: str) -> None:
    for caller in (await db.user(), db.service, db.anon):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await caller.sql(change)


async def test_a_token_without_a_user_inserts_nothing(db: Database) -> None:
    nobody = Caller(db.service.connection, "authenticated")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await insert(nobody)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="signed-in user"):
        await nobody.rpc("submit_workflow_job", prompt="p")


@pytest.mark.parametrize("relation", RELATIONS)
async def test_anon_reads_nothing(db: Database, relation: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.anon.sql(f"select * from public.{relation}")


@pytest.mark.parametrize("relation", sorted(set(RELATIONS) - {"workflow_generation_jobs", "workflow_jobs_at_a_glance"}))
async def test_users_do_not_read_what_is_for_operators(db: Database, relation: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await (await db.user()).sql(f"select * from public.{relation}")
    assert isinstance(await db.service.sql(f"select * from public.{relation}"), list)


async def functions_of(db: Database, role: str) -> set[str]:
    rows = await db.owner.fetch(
        f"select proname from pg_proc where pronamespace in {OURS} and has_function_privilege($1, oid, 'execute')", role
    )
    return {row["proname"] for row in rows}


async def test_each_role_may_call_only_what_is_meant_for_it(db: Database) -> None:
    inner = {"new_job_id", "submit_job", "cancel_job", "retry_job"}
    assert await functions_of(db, "anon") == set()
    assert await functions_of(db, "authenticated") == PEOPLES_FUNCTIONS | inner
    assert await functions_of(db, "service_role") == PEOPLES_FUNCTIONS | inner | WORKERS_FUNCTIONS


async def test_every_function_has_an_empty_search_path(db: Database) -> None:
    loose = f"""select proname from pg_proc where pronamespace in {OURS}
        and not 'search_path=""' = any (coalesce(proconfig, '{{}}'))"""
    assert await db.owner.fetch(loose) == []


async def test_every_table_has_row_level_security(db: Database) -> None:
    bare = f"select relname from pg_class where relkind = 'r' and relnamespace in {OURS} and not relrowsecurity"
    assert await db.owner.fetch(bare) == []


async def test_nothing_that_a_user_may_call_over_http_runs_as_the_owner(db: Database) -> None:
    definers = await db.owner.fetch("""select proname from pg_proc where pronamespace = 'public'::regnamespace
        and prosecdef and has_function_privilege('authenticated', oid, 'execute')""")
    assert definers == []


async def test_jobs_and_workers_are_published_and_nothing_else(db: Database) -> None:
    rows = await db.owner.fetch("select tablename from pg_publication_tables where pubname = 'supabase_realtime'")
    assert {row["tablename"] for row in rows} == {"workflow_generation_jobs", "workflow_workers"}


async def test_a_deleted_user_takes_jobs_and_history_along(db: Database) -> None:
    user = await db.user()
    await insert(user, id="mine")
    await db.claim()
    await db.owner.execute("delete from auth.users where id = $1", user.user_id)
    assert await db.events("mine") == []
    assert await db.row("mine") is None


BAD_INPUTS: list[tuple[str, dict[str, object]]] = [
    ("prompt_size", {"prompt": ""}), ("prompt_size", {"prompt": " \n\t"}), ("prompt_size", {"prompt": "x" * 20001}),
    ("mode_known", {"mode": "destroy"}), ("edit_has_workflow", {"mode": "edit"}),
    ("json_types", {"config": []}), ("json_types", {"config": "text"}), ("json_types", {"execution_history": {}}),
    ("json_types", {"mode": "edit", "current_workflow": [1]}), ("input_sizes", {"config": {"k": "x" * 300_000}}),
    ("id_charset", {"id": "no spaces"}), ("id_charset", {"id": "x" * 65}), ("id_charset", {"id": ""}),
    ("idempotency_key_size", {"idempotency_key": ""}), ("priority_range", {"priority": -101}),
]  # fmt: skip


@pytest.mark.parametrize(("constraint", "columns"), BAD_INPUTS)
async def test_a_bad_input_is_refused_by_a_named_rule(
    db: Database, constraint: str, columns: dict[str, object]
) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match=f"workflow_job_{constraint}"):
        await insert(await db.user(), **columns)


@pytest.mark.parametrize("moment", ["infinity", "2300-01-01", "-infinity"])
async def test_an_absurd_start_time_breaks_no_deadline(db: Database, moment: str) -> None:
    user = await db.user()
    query = f"insert into public.workflow_generation_jobs (prompt, run_at) values ('p', '{moment}'::timestamptz)"
    if moment.startswith("-"):
        await user.sql(query)
    else:
        with pytest.raises(asyncpg.CheckViolationError, match="run_at_range"):
            await user.sql(query)
    assert (await db.service.rpc("heartbeat_workflow_worker", worker="w1"))["next_due_in"] is None


async def test_a_start_time_in_the_past_means_now(db: Database) -> None:
    row = await insert(await db.user())
    assert row["run_at"] == row["created_at"]
    user = await db.user()
    [old] = await user.sql(
        "insert into workflow_generation_jobs (prompt, run_at) values ('p', '2001-01-01') returning run_at, created_at"
    )
    assert old["run_at"] == old["created_at"]


BROKEN_STATES = [
    ("terminal_is_finished", "status = 'failed'"), ("terminal_is_finished", "finished_at = now()"),
    ("processing_has_lease", "lease_expires_at = now()"),
    ("processing_has_worker", "status = 'processing', lease_expires_at = now()"),
    ("completed_has_result", "status = 'completed', finished_at = now()"), ("status_known", "status = 'lost'"),
    ("completed_has_result", "workflow_result = '{}'"), ("progress_range", "progress_percentage = 101"),
    ("phase_known", "current_phase = 'dreaming'"), ("counts", "max_retries = -1"),
]  # fmt: skip


@pytest.mark.parametrize(("constraint", "change"), BROKEN_STATES)
async def test_not_even_the_owner_can_break_the_state_machine(db: Database, constraint: str, change: str) -> None:
    await db.job()
    with pytest.raises(asyncpg.CheckViolationError, match=f"workflow_job_{constraint}"):
        await db.owner.execute(f"update public.workflow_generation_jobs set {change}")


@pytest.mark.parametrize("poison", ['{"n": 1e5000}', '{"n": [-1e400]}', '{"a":' * 1200 + "1" + "}" * 1200])
@pytest.mark.parametrize("column", ["config", "current_workflow"])
async def test_json_that_no_worker_could_read_is_refused_at_the_door(db: Database, column: str, poison: str) -> None:
    user = await db.user()
    with pytest.raises(asyncpg.CheckViolationError, match="nested deeper than 63 levels or holds a number"):
        await user.sql(
            f"insert into public.workflow_generation_jobs (prompt, {column}) values ('p', '{poison}'::jsonb)"
        )
    await insert(user, config={"n": 1e300, "deep": {"a": {"b": {"c": [1, 2, {"d": None}]}}}})
