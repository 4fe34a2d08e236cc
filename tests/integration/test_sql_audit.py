"""The audit: clean after any history that the functions can make, and naming the very rule that is broken otherwise."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from devstack.postgres import ADMIN, Postgres
from tests.conftest import MIGRATIONS
from tests.integration.sql_db import Caller, Database, connect

JOBS, EVENTS = "public.workflow_generation_jobs", "public.workflow_job_events"
WORKERS = ("w1", "w2", "w3", "w4")


@pytest.fixture
async def db(cluster: Postgres) -> AsyncIterator[Database]:
    async with Database.open(cluster) as database:
        yield database


async def audit(db: Database, **params: object) -> dict[str, Any]:
    found: dict[str, Any] = await db.service.rpc("audit_workflow_jobs", **params)
    return found


async def every_kind_of_job(db: Database) -> None:
    """One job per situation, named after it."""
    for job_id in ("done", "failed", "waiting", "dropped", "again", "running", "asked", "fresh"):
        await db.job(job_id)
    for job_id, outcome in [("done", "released"), ("failed", "failed"), ("waiting", "released"), ("again", "failed")]:
        await db.claim("w1", job=job_id)
        await db.settle(1, outcome, job_id=job_id, error_details={"code": "INTERNAL"})
    await db.claim("w2", job="done")
    await db.settle(2, "completed", job_id="done")
    await db.service.rpc("cancel_workflow_job", job="dropped")
    await db.service.rpc("retry_workflow_job", job="again")
    for job_id in ("running", "asked"):
        await db.claim("w1", job=job_id)
    await db.service.rpc("cancel_workflow_job", job="asked")


async def test_nothing_at_all_is_clean(db: Database) -> None:
    assert await audit(db) == {
        "jobs": 0, "attempts": 0, "events": 0, "violation_count": 0, "offending_jobs": 0, "violations": [],
    }  # fmt: skip


async def test_every_kind_of_job_is_clean(db: Database) -> None:
    await every_kind_of_job(db)
    found = await audit(db)
    assert (found["jobs"], found["attempts"], found["events"], found["violations"]) == (8, 7, 15, [])


def event(job: str, kind: str, attempt: str = "1", worker: str = "'w1'", more: str = "") -> str:
    columns = "job_id, kind, attempt, worker_id" + (", at, detail" if more else "")
    return f"insert into {EVENTS} ({columns}) select '{job}', '{kind}', {attempt}, {worker} {more}"


def row(job: str, assignment: str) -> str:
    return f"update {JOBS} set {assignment} where id = '{job}'"


def unchecked(constraint: str) -> str:
    return f"alter table {JOBS} drop constraint workflow_job_{constraint}"


NO_INDEX = "drop index public.workflow_events_one_ending"
RUNNING = "status = 'processing', lease_expires_at = now(), started_at = now(), finished_at = null, worker_id = 'w1'"
COPY_OF_FAILED = f", at, detail from {EVENTS} where job_id = 'failed' and kind = 'failed'"

CORRUPTIONS: list[tuple[str, str, list[str]]] = [
    ("one_owner_per_attempt", "running", [event("running", "claimed")]),
    ("one_owner_per_attempt", "waiting", [event("waiting", "claimed"), row("waiting", RUNNING)]),
    ("attempts_never_overlap", "done", [f"delete from {EVENTS} where job_id = 'done' and kind = 'released'"]),
    ("attempts_are_consecutive", "running", [
        f"update {EVENTS} set attempt = 2 where job_id = 'running'", row("running", "attempt = 2")]),
    ("attempts_are_consecutive", "running", [f"update {EVENTS} set attempt = null where job_id = 'running'",
                                             unchecked("processing_has_worker"), row("running", "attempt = 0")]),
    ("one_ending_per_attempt", "failed", [NO_INDEX, event("failed", "failed", more=COPY_OF_FAILED)]),
    ("one_ending_per_attempt", "waiting", [NO_INDEX, event("waiting", "released")]),
    ("only_the_owner_ends", "waiting", [event("waiting", "released", attempt="7")]),
    ("only_the_owner_ends", "waiting", [event("waiting", "released", attempt="null")]),
    ("only_the_owner_ends", "fresh", [event("fresh", "released")]),
    ("only_the_owner_ends", "done", [f"update {EVENTS} set worker_id = 'w9' where job_id = 'done' and attempt = 2 "
                                     "and kind = 'completed'"]),
    ("only_the_owner_ends", "running", [
        event("running", "cancelled", attempt="null"),
        row("running", "status = 'cancelled', lease_expires_at = null, error_message = 'x', "
            f"finished_at = (select max(at) from {EVENTS} where job_id = 'running'), "
            """error_details = '{"code": "CANCELLED"}'""")]),
    ("terminal_is_final", "failed", [event("failed", "claimed", "2"), row("failed", f"{RUNNING}, attempt = 2")]),
    ("terminal_is_final", "failed", [event("failed", "cancel_requested")]),
    ("terminal_is_final", "dropped", [event("dropped", "released", "null"),
                                      row("dropped", "status = 'pending', finished_at = null")]),
    ("terminal_is_final", "done", [event("done", "retried", "null"),
                                   row("done", "status = 'pending', finished_at = null, workflow_result = null")]),
    ("retry_follows_an_end", "fresh", [event("fresh", "retried", "null", "null")]),
    ("retry_follows_an_end", "waiting", [event("waiting", "retried", "null", "null")]),
    ("cancel_asks_the_owner", "waiting", [event("waiting", "cancel_requested")]),
    ("cancel_asks_the_owner", "running", [event("running", "cancel_requested", "null", "null")]),
    ("status_follows_history", "waiting", [row("waiting", RUNNING)]),
    ("status_follows_history", "fresh", [row("fresh", "status = 'cancelled', finished_at = now()")]),
    ("status_follows_history", "failed", [row("failed", "status = 'completed', workflow_result = '{}'")]),
    ("status_follows_history", "running", [row("running", "status = 'pending', lease_expires_at = null")]),
    ("status_follows_history", "done", [f"delete from {EVENTS} where job_id = 'done' and kind = 'completed'"]),
    ("status_follows_history", "fresh", [unchecked("status_known"), row("fresh", "status = 'lost'")]),
    ("attempt_follows_history", "failed", [row("failed", "attempt = 9")]),
    ("attempt_follows_history", "fresh", [row("fresh", "attempt = 1")]),
    ("worker_follows_history", "running", [row("running", "worker_id = 'w9'")]),
    ("worker_follows_history", "fresh", [row("fresh", "worker_id = 'w9'")]),
    ("retries_follow_history", "failed", [row("failed", "retry_count = 1")]),
    ("retries_follow_history", "again", [row("again", "retry_count = 1")]),
    ("lease_fits_status", "running", [row("running", "lease_expires_at = now() + interval '2 hours'")]),
    ("lease_fits_status", "running", [row("running", "lease_expires_at = 'infinity'")]),
    ("lease_fits_status", "running", [unchecked("processing_has_lease"), row("running", "lease_expires_at = null")]),
    ("lease_fits_status", "failed", [unchecked("processing_has_lease"), row("failed", "lease_expires_at = now()")]),
    ("lease_fits_status", "fresh", [unchecked("processing_has_lease"), row("fresh", "lease_expires_at = now()")]),
    ("lease_fits_status", "running", [unchecked("processing_has_worker"), row("running", "started_at = null")]),
    ("pending_is_claimable", "fresh", [unchecked("run_at_range"), row("fresh", "run_at = 'infinity'")]),
    ("finished_at_is_the_ending", "failed", [row("failed", "finished_at = finished_at + interval '1 ms'")]),
    ("finished_at_is_the_ending", "failed", [unchecked("terminal_is_finished"), row("failed", "finished_at = null")]),
    ("finished_at_is_the_ending", "fresh", [unchecked("terminal_is_finished"), row("fresh", "finished_at = now()")]),
    ("result_is_the_settled_one", "done", [row("done", """workflow_result = '{"name": "another"}'""")]),
    ("result_is_the_settled_one", "done", [unchecked("completed_has_result"), row("done", "workflow_result = null")]),
    ("result_is_the_settled_one", "failed", [unchecked("completed_has_result"),
                                             row("failed", "workflow_result = '{}'")]),
    ("error_is_the_settled_one", "failed", [row("failed", """error_details = '{"code": "CANCELLED"}'""")]),
    ("error_is_the_settled_one", "failed", [row("failed", "error_message = null")]),
    ("error_is_the_settled_one", "dropped", [row("dropped", "error_details = null")]),
    ("error_is_the_settled_one", "done", [row("done", "error_message = 'It failed.'")]),
    ("no_job_is_lost", "failed", ["set local session_replication_role = replica",
                                  f"delete from {JOBS} where id = 'failed'"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def audited(cluster: Postgres) -> str:
    """Name of a database with one job of every kind; the tests undo what they do to it."""

    async def fill() -> None:
        async with Database.open(cluster) as database:
            await every_kind_of_job(database)

    asyncio.run(fill())
    cluster.psql("create database audited template postgres", user=ADMIN)
    return "audited"


@pytest.mark.parametrize(("rule", "job", "changes"), CORRUPTIONS, ids=[f"{rule}-{job}" for rule, job, _ in CORRUPTIONS])
async def test_a_corrupted_job_is_named_with_the_rule_it_breaks(
    cluster: Postgres, audited: str, rule: str, job: str, changes: list[str]
) -> None:
    admin = await connect(cluster, ADMIN, audited)
    undo = admin.transaction()
    await undo.start()
    try:
        clean = await admin.fetchval("select public.audit_workflow_jobs()")
        for change in changes:
            await admin.execute(change)
        found = await admin.fetchval("select public.audit_workflow_jobs()")
    finally:
        await undo.rollback()
        await admin.close()
    assert clean["violations"] == []
    assert [(violation["job_id"], violation["rule"]) for violation in found["violations"]] == [(job, rule)]
    assert (found["violation_count"], found["offending_jobs"]) == (1, 1)
    assert re.fullmatch(r"[A-Z][^\n]+[^ .]\.", found["violations"][0]["message"])


def test_every_rule_of_the_audit_is_seen_broken_above() -> None:
    [audit] = [script for script in MIGRATIONS if script.name.endswith("_audit.sql")]
    rules = set(re.findall(r"^    when '(\w+)' then", audit.read_text(), re.MULTILINE))
    assert len(rules) > 10
    assert rules == {rule for rule, _, _ in CORRUPTIONS}


async def busy(caller: Caller, worker: str, dice: random.Random, turns: int) -> None:
    """One worker and its users: claims, losses, late and repeated writes, cancels, retries, in any order."""
    held: list[tuple[str, int]] = []
    outcomes = ("completed", "failed", "retry", "released", "cancelled")
    for _ in range(turns):
        answer = await caller.rpc("claim_workflow_jobs", worker=worker, how_many=dice.randint(0, 2))
        held += [(job["id"], job["attempt"]) for job in answer["jobs"]]
        for job_id, attempt in dice.sample(held, min(len(held), 2)):
            await caller.rpc("renew_workflow_job", job=job_id, attempt=attempt, write=dice.randint(1, 9))
            await caller.rpc(
                "settle_workflow_job", job=job_id, attempt=attempt, outcome=dice.choice(outcomes), result={"by": worker}
            )
        job_id = f"job-{dice.randrange(30):02}"
        await caller.rpc(dice.choice(("cancel_workflow_job", "retry_workflow_job")), job=job_id)
        await caller.rpc("reconcile_workflow_jobs")


async def test_a_busy_history_is_clean_and_so_is_every_look_into_the_middle_of_it(db: Database) -> None:
    for number in range(30):
        await db.job(f"job-{number:02}", max_retries=number % 3)
    connections = [await connect(db.cluster, "authenticator") for _ in WORKERS]
    looks = []
    async with asyncio.TaskGroup() as group:
        work = [
            group.create_task(busy(Caller(connection, "service_role"), worker, random.Random(worker), 40))
            for worker, connection in zip(WORKERS, connections, strict=True)
        ]
        while not all(task.done() for task in work):
            await db.owner.execute(f"update {JOBS} set lease_expires_at = now() where status = 'processing' "
                                   "and id like '%7'")  # fmt: skip
            looks.append(await audit(db))
    for connection in connections:
        await connection.close()
    looks.append(await audit(db))
    assert [look["violations"] for look in looks] == [[]] * len(looks)
    kinds = {found["kind"] for found in await db.owner.fetch(f"select distinct kind from {EVENTS}")}
    assert kinds > {"completed", "failed", "retry", "released", "cancelled", "rescued", "retried"}
    counted = "select count(*) as events, count(*) filter (where kind = 'claimed') as attempts from " + EVENTS
    counts = await db.owner.fetchrow(counted)
    assert {name: looks[-1][name] for name in ("jobs", "events", "attempts")} == {"jobs": 30, **dict(counts or {})}


async def ten_thousand_finished_jobs(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.execute(f"""
        insert into {JOBS} (id, prompt, status, attempt, worker_id, started_at, finished_at, workflow_result)
        select 'job-' || n, 'p', 'completed', 1, 'w', now(), now(), '{{}}' from generate_series(1, 10000) n;
        insert into {EVENTS} (job_id, attempt, worker_id, kind) select id, 1, 'w', 'claimed' from {JOBS};
        insert into {EVENTS} (job_id, attempt, worker_id, kind, at, detail)
        select id, 1, 'w', 'completed', finished_at,
          jsonb_build_object('result_sha256', workflow_private.digest('{{}}')) from {JOBS}""")


async def test_ten_thousand_jobs_without_statistics_are_audited_in_the_rest_layers_time(db: Database) -> None:
    await db.owner.execute(f"analyze {JOBS}, {EVENTS}")
    await ten_thousand_finished_jobs(db.owner)
    await db.service.connection.execute("set statement_timeout = '60s'")
    found = await audit(db)
    assert (found["jobs"], found["attempts"], found["events"]) == (10_000, 10_000, 20_000)
    assert found["violations"] == []
    await db.owner.execute(f"update {JOBS} set workflow_result = '{{\"forged\": 1}}' where id like 'job-1%'")
    for limit, listed in [({}, 100), ({"limit": 5000}, 1000), ({"limit": 0}, 0)]:
        found = await audit(db, **limit)
        assert (found["violation_count"], found["offending_jobs"], len(found["violations"])) == (1112, 1112, listed)


async def test_a_span_of_time_takes_only_what_changed_in_it_but_with_its_whole_history(db: Database) -> None:
    await every_kind_of_job(db)
    await db.owner.execute(f"update {EVENTS} set at = at - interval '2 days' where kind <> 'completed'")
    await db.owner.execute(
        f"update {JOBS} set updated_at = now() - interval '2 days', finished_at = case when status = 'completed' "
        "then finished_at else finished_at - interval '2 days' end where id <> 'fresh'"
    )
    yesterday = await db.owner.fetchval("select now() - interval '1 day'")
    spans: list[dict[str, object]] = [{"since": yesterday}, {"within": timedelta(days=1)}]
    for params in [*spans, {**spans[0], "within": timedelta(days=9)}]:
        found = await audit(db, **params)
        assert (found["jobs"], found["attempts"], found["events"]) == (2, 2, 4)
    await db.owner.execute(row("running", "worker_id = 'w9'"))
    assert (await audit(db, since=yesterday))["violation_count"] == 0
    assert [violation["job_id"] for violation in (await audit(db))["violations"]] == ["running"]
