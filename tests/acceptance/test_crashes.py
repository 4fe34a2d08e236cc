"""A worker fails at each named point of a job's life, by a defect or by SIGKILL: the job is done, once, and resumed.

Real processes, real signals, real PostgreSQL. Leases are shortened in the database, whose clock alone counts; nobody
sends a heartbeat in time, so a second attempt can only be started by the lease's own deadline.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from loguru import logger

from consumer.faults import FaultPoint
from tests.crashing import KILLED, QUIET, Fault, Manner, Worker, working
from tests.engine import ANALYZE, JOBS
from tests.held import EVENTS, HeldStack
from tests.waiting import eventually

PROMPT = "the victim of this test"
# A defect at these points is caught inside the attempt, which then ends as a retry.
CAUGHT = (FaultPoint.LOADING, FaultPoint.STREAMING, FaultPoint.CHECKPOINTED)

# Nobody wins a ring without Redis (test_redis.py).
POINTS = [point for point in FaultPoint if point is not FaultPoint.RING_WON]


@pytest.fixture(scope="module")
def two_others(module_held: HeldStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Worker]]:
    folder = tmp_path_factory.mktemp("others")
    env = module_held.env | QUIET
    with working(env, folder) as one, working(env, folder) as other:
        yield [one, other]


@dataclass(frozen=True)
class Crash:
    """One worker's failure at a point, and what it must come to."""

    stack: HeldStack
    point: FaultPoint
    manner: Manner

    @property
    def mid_load(self) -> bool:
        """Killed from outside, once the model server has the load in work: the point itself is a moment before."""
        return self.point is FaultPoint.LOADING and self.manner == "kill"

    @property
    def fault(self) -> Fault | None:
        return None if self.mid_load else Fault(self.point, self.manner, PROMPT)

    @property
    def history(self) -> str:
        """Only a worker that is gone, or has lost sight of the job, leaves it to its lease."""
        if self.point in (FaultPoint.EVENT_HEARD, FaultPoint.AFTER_SETTLE):
            return "claimed completed"
        caught = self.manner == "raise" and self.point in CAUGHT
        return f"claimed {'retry' if caught else 'rescued'} claimed completed"

    def happen(self, victim: Worker) -> tuple[str, str]:
        """Submit a job and wait until the victim has failed with it; returns its id, and when its lease ends."""
        self.stack.hold(load=self.mid_load)
        job_id = self.stack.submit(PROMPT)
        if self.mid_load:
            eventually("the model is loading", lambda: self.stack.model.loads)
            victim.signal(signal.SIGKILL)
        if self.point in (FaultPoint.BEFORE_SETTLE, FaultPoint.AFTER_SETTLE):
            self.stack.checkpointed(job_id)
            self.stack.let_go()
        if self.manner == "kill":
            assert victim.ended() == KILLED
        else:
            victim.wait_for("a defect")
        self.stack.let_go()
        return job_id, self.stack.shorten_lease(job_id)

    def was_survived(self, job_id: str, lease_end: str) -> None:
        """The job was done once, by the deadline's attempt, from the checkpoint."""
        self.stack.completed(job_id)
        assert self.stack.history(job_id) == self.history
        attempts = self.history.count("claimed")
        columns = "attempt, retry_count, workflow_result is not null"
        row = self.stack.sql(f"select {columns} from {JOBS} where id = '{job_id}'")
        assert row == f"{attempts}|{attempts - 1}|t"
        # Before the checkpoint the analysis is lost with the attempt; after it, it is not asked for again.
        assert self.stack.asked(ANALYZE, PROMPT) == (2 if self.point is FaultPoint.STREAMING else 1)
        if attempts == 2:
            self.late_writes_are_refused(job_id)
        assert self.stack.as_worker("public.audit_workflow_jobs()->'violation_count'") == "0"
        if "rescued" in self.history:
            self.waited_for_the_lease(job_id, lease_end)

    def late_writes_are_refused(self, job_id: str) -> None:
        whole = f"select to_jsonb(j) from {JOBS} j where id = '{job_id}'"
        before = self.stack.sql(whole)
        held = self.stack.as_worker(f"public.renew_workflow_job('{job_id}', 1, 99, 60, 99)->'held'")
        settled = self.stack.as_worker(f"public.settle_workflow_job('{job_id}', 1, 'completed', '{{}}')")
        assert (held, settled, self.stack.sql(whole)) == ("false", "f", before)

    def waited_for_the_lease(self, job_id: str, lease_end: str) -> None:
        second = f"job_id = '{job_id}' and kind = 'claimed' and attempt = 2"
        delay = self.stack.sql(f"select at - '{lease_end}' from {EVENTS} where {second}")
        logger.info("second attempt {} after the lease's end", delay)
        assert not delay.startswith("-")


@pytest.mark.parametrize("manner", ["raise", "kill"])
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_alone_fails_anywhere_and_the_job_is_done_once(
    held: HeldStack, tmp_path: Path, point: FaultPoint, manner: Manner
) -> None:
    crash = Crash(held, point, manner)
    with working(held.env | QUIET, tmp_path, crash.fault) as victim:
        failed = crash.happen(victim)
        if manner == "raise":  # it goes on, and with the next job learns the next deadline
            held.completed(held.submit("another job"))
            crash.was_survived(*failed)
            return
    with working(held.env | QUIET, tmp_path):
        crash.was_survived(*failed)


@pytest.mark.parametrize("manner", ["raise", "kill"])
@pytest.mark.parametrize("point", POINTS)
def test_one_of_three_workers_fails_anywhere_and_the_job_is_done_once(
    held: HeldStack, two_others: list[Worker], tmp_path: Path, point: FaultPoint, manner: Manner
) -> None:
    crash = Crash(held, point, manner)
    with working(held.env | QUIET, tmp_path, crash.fault) as victim:
        with paused(two_others):
            failed = crash.happen(victim)
        crash.was_survived(*failed)


@contextmanager
def paused(workers: list[Worker]) -> Iterator[None]:
    """So that another one is the first at the job; they hear of it when they go on."""
    for worker in workers:
        worker.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            worker.signal(signal.SIGCONT)
