"""Any order of calls, repeats and lost leases: PostgreSQL answers as the model does, and its mutants are found out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from devstack.postgres import Postgres
from tests.integration.sql_db import TABLES, Caller, Database
from tests.queue_model import VISIBLE, Queue

T = TypeVar("T")
ALICE = "a11ce000-0000-4000-8000-000000000000"
OWNERS = {"job-0": None, "job-1": None, "job-2": ALICE, "job-3": ALICE}
LONG = 3600  # no lease or delay ends by itself, however slow the machine
SNAPSHOT = """select jsonb_build_object(
  'jobs', (select coalesce(jsonb_agg(to_jsonb(j) order by j.id), '[]') from public.workflow_generation_jobs j),
  'events', (select coalesce(jsonb_agg(to_jsonb(e) order by e.id), '[]') from public.workflow_job_events e))"""

SETTINGS = settings(
    derandomize=True, database=None, deadline=None, print_blob=False, report_multiple_bugs=False,
    max_examples=60, stateful_step_count=25,
    # a loaded machine is slow at drawing, too
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip

# A mutant only has to be found, not explained.
HUNT = settings(SETTINGS, max_examples=500, phases=(Phase.generate,))

jobs = st.sampled_from(sorted(OWNERS))
workers = st.sampled_from(("w1", "w2"))
# a place among all attempts so far, see `attempts`: mostly those that hold their job
places = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 4, 5, 6))
losses = st.sampled_from((None, "rescued", "released", "retry"))
retries = st.sampled_from((None, None, 0, 1))
named = st.one_of(st.none(), st.none(), jobs)
# how many claims ago; 0 is a new one
backs = st.sampled_from((0, 0, 0, 0, 1, 2, 3))
outcomes = st.sampled_from(("completed", "failed", "retry", "released", "cancelled"))


class Service(Caller):
    """A session with its role set once, so that a call is one round trip."""

    async def sql(self, query: str, *args: object) -> list[asyncpg.Record]:
        return await self.connection.fetch(query, *args)


@dataclass(frozen=True)
class Sql:
    """The real queue for synchronous code: one event loop, and a second session for what happens at the same time."""

    loop: asyncio.AbstractEventLoop
    db: Database
    service: Service
    rival: Service

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(call)

    def call(self, function: str, **params: object) -> Any:
        return self.run(self.service.rpc(function, **params))

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = self.run(self.db.owner.fetchval(SNAPSHOT))
        return found

    @contextmanager
    def held_open(self) -> Iterator[Caller]:
        """The second session in a transaction that is committed at the end of the block."""
        transaction = self.rival.connection.transaction()
        self.run(transaction.start())
        try:
            yield self.rival
        except BaseException:
            self.run(transaction.rollback())
            raise
        self.run(transaction.commit())

    def empty(self) -> None:
        self.run(self.db.owner.execute(f"truncate {TABLES} cascade; insert into auth.users (id) values ('{ALICE}')"))


@pytest.fixture(scope="module")
def sql(cluster: Postgres) -> Iterator[Sql]:
    async def open_all() -> Sql:
        db = await stack.enter_async_context(Database.open(cluster))
        second = await stack.enter_async_context(db.second_service())
        for connection in (db.service.connection, second.connection):
            # nothing may wait for a claim that is under way
            await connection.execute("set role service_role; set lock_timeout = '500ms'")
        service, rival = (Service(caller.connection, caller.role) for caller in (db.service, second))
        return Sql(runner.get_loop(), db, service, rival)

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        yield runner.run(open_all())
        runner.run(stack.aclose())


def seen(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the model shows it."""
    return {name: row[name] for name in VISIBLE} | {
        "finished": row["finished_at"] is not None,
        "leased": row["lease_expires_at"] is not None,
        "code": (row["error_details"] or {}).get("code"),
        "cancel_wanted": row["cancel_requested_at"] is not None,
    }


def claim(
    sql: Sql,
    caller: Caller,
    call: dict[str, str],
    how_many: int,
    max_retries: int | None = None,
    job: str | None = None,
) -> dict[str, Any]:
    """A real claim, answered as the model answers."""
    params = {"worker": call["worker"], "claim_key": call["key"], "lease_seconds": LONG, "how_many": how_many,
              "max_retries": max_retries, "job": job}  # fmt: skip
    answer = sql.run(caller.rpc("claim_workflow_jobs", **params))
    return {"jobs": [seen(row) for row in answer["jobs"]], "more": answer["more"]}


class QueueMachine(RuleBasedStateMachine):
    """Calls the real queue and the model side by side; each call is made twice, as after a lost reply."""

    sql: Sql

    def __init__(self) -> None:
        super().__init__()
        self.model = Queue()
        self.claims: list[dict[str, str]] = []
        self.last_seen: list[dict[str, Any]] | None = None
        self.sql.empty()

    def twice(self, call: Callable[[], T], extends_lease: bool = False) -> T:
        """The answer of a call. Made again it gives the same one and changes nothing more."""
        answer, after = call(), self.sql.snapshot()
        assert call() == answer
        again = self.sql.snapshot()
        self.last_seen = [seen(row) for row in again["jobs"]]
        for row in (*after["jobs"], *again["jobs"]) if extends_lease else ():
            del row["lease_expires_at"], row["updated_at"]
        assert again == after
        return answer

    def new_claim(self, worker: str) -> dict[str, str]:
        self.claims.append({"worker": worker, "key": f"{worker}-{len(self.claims)}"})
        return self.claims[-1]

    def attempts(self) -> list[tuple[str, int]]:
        """Every attempt there ever was: those that hold their job first, then the newest of each job."""
        jobs = sorted(self.model.jobs.values(), key=lambda job: (job.status != "processing", -job.attempt, job.id))
        ages = range(max(job.attempt for job in jobs))
        return [(job.id, job.attempt - age) for age in ages for job in jobs if job.attempt > age]

    def attempt(self, place: int) -> tuple[str, int]:
        found = self.attempts() or [("job-0", 1)]
        return found[place % len(found)]

    def end(self, job: str, attempt: int, outcome: str, *, due: bool) -> None:
        code, result = "MODEL_TIMEOUT", {"by": f"attempt {attempt}"}
        params = {"error_details": {"code": code}, "result": result, "retry_in": 0.0 if due else float(LONG)}
        answer = self.twice(
            lambda: self.sql.call("settle_workflow_job", job=job, attempt=attempt, outcome=outcome, **params)
        )
        assert answer is self.model.settle(job, attempt, outcome, code, result, due=due)

    def pass_time(self, job: str) -> None:
        in_work = self.model.jobs[job].status == "processing"
        self.sql.run(self.sql.db.expire_lease(job) if in_work else self.sql.db.make_due(job))
        self.model.pass_time(job)

    @initialize(losses=st.tuples(losses, losses), max_retries=retries)
    def two_attempts(self, losses: tuple[str | None, str | None], max_retries: int | None) -> None:
        """Something to work with in every run: two jobs that are held, by a first or a second attempt."""
        for job, loss in zip(("job-0", "job-2"), losses, strict=True):
            self.submit(job, 0)
            self.claim("w1", None, 1, max_retries, 0)
            if loss == "rescued":
                self.pass_time(job)
            elif loss:
                self.end(job, 1, loss, due=True)
            if loss:
                self.claim("w2", None, 1, None, 0)

    @precondition(lambda self: len(self.model.jobs) < len(OWNERS))
    @rule(job=jobs, priority=st.sampled_from((0, 0, 1)))
    def submit(self, job: str, priority: int) -> None:
        params = {"prompt": "Mail me", "id": job, "user_id": OWNERS[job], "priority": priority}
        for _ in range(2):
            answer = self.sql.call("submit_workflow_job", **params)
            assert answer == self.model.submit(job, OWNERS[job], priority)

    @rule(worker=workers, job=named, how_many=st.sampled_from((1, 1, 2)), max_retries=retries, back=backs)
    def claim(self, worker: str, job: str | None, how_many: int, max_retries: int | None, back: int) -> None:
        """The best jobs or the named one; with `back`, a call of before comes again."""
        call = self.claims[-back] if 0 < back <= len(self.claims) else self.new_claim(worker)
        answer = self.twice(lambda: claim(self.sql, self.sql.service, call, how_many, max_retries, job))
        assert answer == self.model.claim(**call, how_many=how_many, max_retries=max_retries, job_id=job)

    @precondition(lambda self: not any(job.expired for job in self.model.jobs.values()))
    @rule(how_many=st.sampled_from((1, 2)))
    def two_claims_meet(self, how_many: int) -> None:
        """The second comes while the first's transaction is open: it waits for nothing and takes other jobs."""
        first, second = self.new_claim("w1"), self.new_claim("w2")
        with self.sql.held_open() as rival:
            answers = [claim(self.sql, rival, first, how_many), claim(self.sql, self.sql.service, second, how_many)]
        locked = self.model.best(how_many)
        expected = [
            self.model.claim(call["worker"], call["key"], how_many, locked=taken)
            for call, taken in ((first, ()), (second, locked))
        ]
        assert [answer["jobs"] for answer in answers] == [answer["jobs"] for answer in expected]

    @rule(place=places, write=st.integers(1, 3), progress=st.integers(0, 99))
    def renew(self, place: int, write: int, progress: int) -> None:
        job, attempt = self.attempt(place)
        params: dict[str, Any] = {"attempt": attempt, "write": write, "progress": progress}
        more = {"lease_seconds": LONG, "logs": [{"message": "On it."}]}
        answer = self.twice(
            lambda: self.sql.call("renew_workflow_job", job=job, **params, **more), extends_lease=True
        )  # fmt: skip
        assert answer == self.model.renew(job, **params)

    @rule(place=places, outcome=outcomes, due=st.booleans())
    def settle(self, place: int, outcome: str, due: bool) -> None:
        self.end(*self.attempt(place), outcome, due=due)

    @precondition(lambda self: self.model.waiting_for_time())
    @rule(place=st.integers(0, 3))
    def time_passes(self, place: int) -> None:
        """For one job: its lease runs out, or it becomes due."""
        found = self.model.waiting_for_time()
        self.pass_time(found[place % len(found)])

    @rule(dry_run=st.booleans())
    def reconcile(self, dry_run: bool) -> None:
        for _ in range(2):
            answer = self.sql.call("reconcile_workflow_jobs", dry_run=dry_run)
            del answer["oldest_claimable_seconds"], answer["next_due_in"]
            assert answer | {"job_ids": sorted(answer["job_ids"])} == self.model.reconcile(dry_run=dry_run)

    @rule(job=jobs, what=st.sampled_from(("retry", "retry", "cancel")))
    def somebody_asks(self, job: str, what: str) -> None:
        expected = {"retry": self.model.retry, "cancel": self.model.cancel}[what]
        assert self.twice(lambda: self.sql.call(f"{what}_workflow_job", job=job)) == expected(job)

    @invariant()
    def the_rows_are_as_in_the_model(self) -> None:
        rows = self.last_seen or [seen(row) for row in self.sql.snapshot()["jobs"]]
        assert rows == self.model.rows()
        self.last_seen = None

    def teardown(self) -> None:
        assert self.sql.call("audit_workflow_jobs")["violations"] == []


def explore(sql: Sql, how: settings) -> None:
    run_state_machine_as_test(type("QueueMachineThere", (QueueMachine,), {"sql": sql}), settings=how)


def test_any_order_of_calls_is_answered_as_the_model_does(sql: Sql) -> None:
    explore(sql, SETTINGS)


RENEW, SETTLE, CLAIM = "public.renew_workflow_job", "public.settle_workflow_job", "public.claim_workflow_jobs"
NOT_HELD = "v_job.status is distinct from 'processing' or v_job.attempt is distinct from p_attempt"

# what is wrong, in which function, and the text that is replaced there
MUTANTS = [
    ("renew_without_fencing", RENEW, "and j.attempt = p_attempt", ""),
    ("renew_does_not_tell_of_a_cancel", RENEW, "j.cancel_requested_at is not null into", "false into"),
    ("a_repeated_renew_is_written_again", RENEW, "> j.write_seq", ">= j.write_seq"),
    ("settle_without_fencing", SETTLE, NOT_HELD, "v_job.status is distinct from 'processing'"),
    ("late_settle_accepted", SETTLE, NOT_HELD, "v_job.id is null or v_job.attempt is distinct from p_attempt"),
    ("a_repeated_settle_is_refused", SETTLE, "return exists (", "return false and exists ("),
    ("claim_without_skip_locked", "workflow_private.lock_best", "for update skip locked", "for update"),
    ("claim_without_a_lock", "workflow_private.lock_best", "for update skip locked", ""),
    ("claim_without_status_check", "workflow_private.lock_best", "j.status = 'pending' and", ""),
    ("claim_by_name_without_status_check", CLAIM, "j.id = p_job and j.status = 'pending'", "j.id = p_job"),
    ("a_repeated_claim_takes_more", CLAIM, "not workflow_private.use_claim_key(p_worker, p_claim_key)", "false"),
    ("attempt_not_raised", "workflow_private.take", "attempt = j.attempt + 1", "attempt = greatest(j.attempt, 1)"),
    ("retry_count_not_raised", "workflow_private.end_attempt", "(v_ending in ('retry', 'rescued'))::integer", "0"),
    ("a_release_burns_a_retry", "workflow_private.end_attempt", "(v_ending in ('retry', 'rescued'))", "v_again"),
    ("spent_retries_forgotten", "workflow_private.ending_of", "p_job.retry_count >= p_job.max_retries", "false"),
    ("cancel_forgotten", "workflow_private.ending_of", "p_job.cancel_requested_at is not null", "false"),
    ("a_suspect_is_not_alone", "workflow_private.is_suspect", "= 'LEASE_LOST'", "= ''"),
    ("expiry_not_rescued", "workflow_private.rescue_expired", "j.lease_expires_at <= clock_timestamp()", "false"),
]  # fmt: skip

# the model disagrees, a constraint holds, or a claim waits for another one
CAUGHT = (AssertionError, asyncpg.IntegrityConstraintViolationError, asyncpg.LockNotAvailableError)


@contextmanager
def mutated(sql: Sql, function: str, old: str, new: str) -> Iterator[None]:
    """The function with one text replaced, for as long as the block lasts."""

    def source() -> str:
        found: str = sql.run(sql.db.owner.fetchval("select pg_get_functiondef($1::text::regproc)", function))
        return found

    real = source()
    assert real.count(old) == 1
    sql.run(sql.db.owner.execute(real.replace(old, new)))
    try:
        yield
    finally:
        sql.run(sql.db.owner.execute(real))
        assert source() == real


@pytest.mark.parametrize(("function", "old", "new"), [how for _, *how in MUTANTS], ids=[name for name, *_ in MUTANTS])
def test_a_mutant_of_the_queue_is_caught(sql: Sql, function: str, old: str, new: str) -> None:
    with mutated(sql, function, old, new), pytest.raises(CAUGHT):
        explore(sql, HUNT)
