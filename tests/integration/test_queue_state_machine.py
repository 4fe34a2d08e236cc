"""Any order of calls, repeats and lost leases: PostgreSQL answers as the model does, and its mutants are found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from devstack.postgres import Postgres
from tests.integration.real_queue import ALICE, LONG, RealQueue, Row, seen
from tests.queue_model import Queue

T = TypeVar("T")
Step = TypeVar("Step", bound=Callable[..., None])
OWNERS = {"job-0": None, "job-1": None, "job-2": ALICE, "job-3": ALICE}
SETTINGS = settings(
    derandomize=True, database=None, deadline=None, print_blob=False, report_multiple_bugs=False,
    max_examples=60, stateful_step_count=25,
    # a loaded machine is slow at drawing, too
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip

jobs = st.sampled_from(("job-0", "job-2", "job-0", "job-2", "job-1", "job-3"))
workers = st.sampled_from(("w1", "w2"))
# a place among all attempts so far, see `attempts`: mostly those that hold their job
places = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 4, 5, 6))
losses = st.sampled_from((None, "rescued", "released", "retry"))
retries = st.sampled_from((None, None, 0, 1))
named = st.one_of(st.none(), st.none(), jobs)
# how many claims ago; 0 is a new one
backs = st.sampled_from((0, 0, 0, 0, 1, 2, 3))
preferred = st.sampled_from((None, None, "analyze", "generate", "generate"))
ANALYSED: Row = {"analyze": {"value": {}}}
checkpoints = st.sampled_from((None, ANALYSED, ANALYSED, {"analyze": None}))
outcomes = st.sampled_from(("completed", "completed", "failed", "retry", "released", "cancelled"))


STEPS: dict[str, Callable[..., None]] = {}
ARGUMENTS: dict[str, st.SearchStrategy[tuple[str, dict[str, Any]]]] = {}
WEIGHTED: list[str] = []


def step(weight: int, **arguments: st.SearchStrategy[Any]) -> Callable[[Step], Step]:
    """Marks what the machine may do, how often, and with which arguments."""

    def register(method: Step) -> Step:
        name = method.__name__
        STEPS[name] = method
        ARGUMENTS[name] = st.tuples(st.just(name), st.fixed_dictionaries(arguments))
        WEIGHTED.extend([name] * weight)
        return method

    return register


def calls() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.sampled_from(WEIGHTED).flatmap(ARGUMENTS.__getitem__)


class QueueMachine(RuleBasedStateMachine):
    """Calls the real queue and the model side by side; each call is made twice, as after a lost reply."""

    def __init__(self, real: RealQueue) -> None:
        super().__init__()
        self.real, self.model = real, Queue()
        self.claims: list[Row] = []
        self.last_seen: list[dict[str, Any]] | None = None
        real.empty()

    def twice(self, call: Callable[[], T], extends_lease: bool = False) -> T:
        """The answer of a call. Made again it gives the same one and changes nothing more."""
        answer, after = call(), self.real.snapshot()
        assert call() == answer
        again = self.real.snapshot()
        self.last_seen = [seen(row) for row in again["jobs"]]
        for row in (*after["jobs"], *again["jobs"]) if extends_lease else ():
            del row["lease_expires_at"], row["updated_at"]
        assert again == after
        return answer

    def new_claim(self, worker: str) -> Row:
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
            lambda: self.real.call("settle_workflow_job", job=job, attempt=attempt, outcome=outcome, **params)
        )
        assert answer is self.model.settle(job, attempt, outcome, code, result, due=due)

    def write(self, job: str, attempt: int, write: int, progress: int, checkpoint: Row | None) -> None:
        written: Row = {"write": write, "progress": progress, "checkpoint": checkpoint}
        params: Row = {"job": job, "attempt": attempt, "lease_seconds": LONG, "logs": [{"message": "On it."}]}
        answer = self.twice(lambda: self.real.call("renew_workflow_job", **params, **written), extends_lease=True)
        assert answer == self.model.renew(job, attempt, **written)

    def pass_time(self, job: str) -> None:
        in_work = self.model.jobs[job].status == "processing"
        self.real.run(self.real.db.expire_lease(job) if in_work else self.real.db.make_due(job))
        self.model.pass_time(job)

    @initialize(
        losses=st.tuples(losses, losses), max_retries=retries, unwanted=named,
        done=st.tuples(checkpoints, checkpoints), waiting=st.sampled_from((False, False, True)),
    )  # fmt: skip
    def two_attempts(
        self, losses: tuple[str | None, str | None], max_retries: int | None, unwanted: str | None,
        done: tuple[Row | None, Row | None], waiting: bool,
    ) -> None:  # fmt: skip
        """Something to work with in every run: two jobs that are held or, when lost, `waiting` for a second attempt."""
        for job, loss, checkpoint in zip(("job-0", "job-2"), losses, done, strict=True):
            self.submit(job, 0)
            self.claim("w1", job, 1, max_retries, 0)
            self.write(job, 1, 1, 0, checkpoint)
            if loss == "rescued":
                self.pass_time(job)
            elif loss:
                self.end(job, 1, loss, due=True)
            if loss and not waiting:
                self.claim("w2", None, 1, None, 0)
        if unwanted:
            self.somebody_asks(unwanted, "cancel")

    @step(1, job=jobs, priority=st.sampled_from((0, 0, 1)))
    def submit(self, job: str, priority: int) -> None:
        params = {"prompt": "Mail me", "id": job, "user_id": OWNERS[job], "priority": priority}
        for _ in range(2):
            answer = self.real.call("submit_workflow_job", **params)
            assert answer == self.model.submit(job, OWNERS[job], priority)

    @step(
        4, worker=workers, job=named, how_many=st.sampled_from((1, 1, 2)), max_retries=retries, back=backs,
        prefer=preferred,
    )  # fmt: skip
    def claim(
        self, worker: str, job: str | None, how_many: int, max_retries: int | None, back: int,
        prefer: str | None = None,
    ) -> None:  # fmt: skip
        """The best jobs or the named one; with `back`, a call of before comes again."""
        call = self.claims[-back] if 0 < back <= len(self.claims) else self.new_claim(worker)
        params: Row = call | {"how_many": how_many, "max_retries": max_retries, "job": job, "prefer": prefer}
        assert self.twice(lambda: self.real.claim(**params)) == self.model.claim(**params)

    @step(2, how_many=st.sampled_from((1, 2)), prefer=preferred)
    def two_claims_meet(self, how_many: int, prefer: str | None) -> None:
        """The second comes while the first's transaction is open: it waits for nothing and takes other jobs."""
        if any(job.expired for job in self.model.jobs.values()):
            # what the first one rescues, the second cannot see yet
            self.reconcile(dry_run=False)
        first, second = self.new_claim("w1"), self.new_claim("w2")
        with self.real.held_open() as rival:
            taken = self.real.claim(**first, by=rival, how_many=how_many, prefer=prefer)["jobs"]
            others = self.real.claim(**second, how_many=how_many, prefer=prefer)["jobs"]
        free = self.model.in_turn(prefer)[how_many:]
        assert taken == self.model.claim(**first, how_many=how_many, prefer=prefer)["jobs"]
        assert others == self.model.claim(**second, how_many=how_many, free=free)["jobs"]

    @step(3, place=places, write=st.integers(1, 3), progress=st.integers(0, 99), checkpoint=checkpoints)
    def renew(self, place: int, write: int, progress: int, checkpoint: Row | None) -> None:
        self.write(*self.attempt(place), write, progress, checkpoint)

    @step(5, place=places, outcome=outcomes, due=st.sampled_from((True, False, False)))
    def settle(self, place: int, outcome: str, due: bool) -> None:
        self.end(*self.attempt(place), outcome, due=due)

    @step(3, place=st.integers(0, 3))
    def time_passes(self, place: int) -> None:
        """For one job: its lease runs out, or it becomes due."""
        if found := self.model.waiting_for_time():
            self.pass_time(found[place % len(found)])

    @step(1, dry_run=st.booleans())
    def reconcile(self, dry_run: bool) -> None:
        for _ in range(2):
            assert self.real.reconcile(dry_run=dry_run) == self.model.reconcile(dry_run=dry_run)

    @step(3, job=jobs, what=st.sampled_from(("retry", "cancel")))
    def somebody_asks(self, job: str, what: str) -> None:
        expected = {"retry": self.model.retry, "cancel": self.model.cancel}[what]
        assert self.twice(lambda: self.real.call(f"{what}_workflow_job", job=job)) == expected(job)

    @rule(call=calls())
    def call(self, call: tuple[str, dict[str, Any]]) -> None:
        """One of the steps. A rule for each would not do: Hypothesis leaves out half of the rules in every run."""
        name, arguments = call
        STEPS[name](self, **arguments)

    @invariant()
    def the_rows_are_as_in_the_model(self) -> None:
        rows = self.last_seen or [seen(row) for row in self.real.snapshot()["jobs"]]
        assert rows == self.model.rows()
        self.last_seen = None

    def teardown(self) -> None:
        assert self.real.call("audit_workflow_jobs")["violations"] == []


@pytest.fixture(scope="module")
def real(cluster: Postgres) -> Iterator[RealQueue]:
    with RealQueue.open(cluster) as queue:
        yield queue


def explore(real: RealQueue, how: settings) -> None:
    run_state_machine_as_test(lambda: QueueMachine(real), settings=how)  # type: ignore[arg-type]  # any factory will do


def test_any_order_of_calls_is_answered_as_the_model_does(real: RealQueue) -> None:
    explore(real, SETTINGS)


RENEW, SETTLE, CLAIM = "public.renew_workflow_job", "public.settle_workflow_job", "public.claim_workflow_jobs"
NEXT, IN_TURN, NAMED = "workflow_private.lock_next", "workflow_private.in_turn", "workflow_private.lock_named"
PLAIN, PREFERRING = "for update skip locked;\nend", "for update skip locked;\n    if found"
NOT_HELD = "v_job.status is distinct from 'processing' or v_job.attempt is distinct from p_attempt"

# what is wrong, in which function, and the text that is replaced there
MUTANTS = [
    ("renew_without_fencing", RENEW, "and j.attempt = p_attempt", ""),
    ("renew_does_not_tell_of_a_cancel", RENEW, "j.cancel_requested_at is not null into", "false into"),
    ("a_repeated_renew_is_written_again", RENEW, "> j.write_seq", ">= j.write_seq"),
    ("settle_without_fencing", SETTLE, NOT_HELD, "v_job.status is distinct from 'processing'"),
    ("late_settle_accepted", SETTLE, NOT_HELD, "v_job.id is null or v_job.attempt is distinct from p_attempt"),
    ("a_repeated_settle_is_refused", SETTLE, "return exists (", "return false and exists ("),
    ("claim_without_skip_locked", NEXT, PLAIN, "for update;\nend"),
    ("claim_without_a_lock", NEXT, PLAIN, ";\nend"),
    ("claim_without_status_check", NEXT, "j.status = 'pending' and", ""),
    ("preferring_claim_without_skip_locked", NEXT, PREFERRING, "for update;\n    if found"),
    ("preferring_claim_without_a_lock", NEXT, PREFERRING, ";\n    if found"),
    ("preference_ignored", IN_TURN, "b.first desc, ", ""),
    ("claim_by_name_without_status_check", NAMED, "j.id = p_job and j.status = 'pending'", "j.id = p_job"),
    ("claim_before_it_is_due", NEXT, "'pending' and j.run_at <= p_now", "'pending'"),
    ("a_repeated_claim_takes_more", CLAIM, "not workflow_private.use_claim_key(p_worker, p_claim_key)", "false"),
    ("attempt_not_raised", "workflow_private.take", "attempt = j.attempt + 1", "attempt = greatest(j.attempt, 1)"),
    ("retry_count_not_raised", "workflow_private.end_attempt", "(v_ending in ('retry', 'rescued'))::integer", "0"),
    ("a_release_burns_a_retry", "workflow_private.end_attempt", "(v_ending in ('retry', 'rescued'))", "v_again"),
    ("spent_retries_forgotten", "workflow_private.ending_of", "p_job.retry_count >= p_job.max_retries", "false"),
    ("cancel_forgotten", "workflow_private.ending_of", "p_job.cancel_requested_at is not null", "false"),
    ("a_suspect_is_not_alone", "workflow_private.is_suspect", "= 'LEASE_LOST'", "= ''"),
    ("expiry_not_rescued", "workflow_private.rescue_expired", "j.lease_expires_at <= clock_timestamp()", "false"),
    ("a_completed_job_starts_again", "workflow_private.retry_job", "('failed', 'cancelled')",
     "('failed', 'cancelled', 'completed')"),
]  # fmt: skip

# the model disagrees, a constraint holds, or a claim waits for another one
CAUGHT = (AssertionError, asyncpg.IntegrityConstraintViolationError, asyncpg.LockNotAvailableError)


@pytest.mark.parametrize(("function", "old", "new"), [how for _, *how in MUTANTS], ids=[name for name, *_ in MUTANTS])
def test_a_mutant_of_the_queue_is_caught(real: RealQueue, function: str, old: str, new: str) -> None:
    # looks for as long as it takes, and not for the shortest way
    how = settings(SETTINGS, phases=(Phase.generate,), max_examples=400)
    with real.with_a_defect(function, old, new), pytest.raises(CAUGHT):
        explore(real, how)
