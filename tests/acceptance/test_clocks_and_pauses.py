"""A worker whose wall clock is wrong, that was stopped, or whose event loop hung: the database's clock decides."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from consumer.faults import FaultPoint
from tests.crashing import QUIET, Fault, Manner, Worker, working
from tests.engine import JOBS
from tests.held import EVENTS, HeldStack
from tests.processes import running_worker
from tests.waiting import eventually
from tests.wall_clock import HERE, shifted

TWO_LEASES = 2 * float(QUIET["LEASE_SECONDS"])
PROMPT = "the sleeper of this test"


def is_stopped(worker: Worker) -> bool:
    return psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED


@pytest.mark.skipif(HERE != ("Linux", "x86_64"), reason="libfaketime's wheel holds a library for that alone")
@pytest.mark.parametrize("by", ["+7h", "-7h"])
def test_a_worker_whose_clock_is_hours_off_goes_by_the_databases(held: HeldStack, tmp_path: Path, by: str) -> None:
    with running_worker(held.env | QUIET | shifted(by), tmp_path) as worker:
        off = datetime.fromisoformat(worker.logs[-1]["time"]) - datetime.now(UTC)
        assert abs(off) > timedelta(hours=6)
        delayed = held.sql(f"insert into {JOBS} (prompt, run_at) values ('later', now() + interval '1 s') returning id")
        held.completed(delayed)
        held.hold()
        in_work = held.submit("in work ")
        held.checkpointed(in_work)
        with working(held.env | QUIET, tmp_path):  # its clock is right, and it finds no lease that has run out
            lease = held.sql(f"select extract(epoch from lease_expires_at - now()) from {JOBS} where id = '{in_work}'")
            assert 0 < float(lease) <= float(QUIET["LEASE_SECONDS"])
            held.let_go()
            held.completed(in_work)
    assert (held.history(delayed), held.history(in_work)) == ("claimed completed", "claimed completed")
    assert held.sql(f"select bool_and(started_at >= run_at) from {JOBS}") == "t"
    line = "(l ->> 'timestamp')::timestamptz between started_at and finished_at + interval '1 s'"
    assert held.sql(f"select bool_and({line}) from {JOBS}, jsonb_array_elements(progress_logs) l") == "t"


@pytest.mark.parametrize("manner", ["stop", "block"])
@pytest.mark.parametrize("point", [FaultPoint.STREAMING, FaultPoint.CHECKPOINTED, FaultPoint.BEFORE_SETTLE])
def test_who_comes_back_after_its_lease_is_refused_and_goes_on_with_the_next_job(
    held: HeldStack, tmp_path: Path, point: FaultPoint, manner: Manner
) -> None:
    gate = tmp_path / "gate"
    with working(held.env | QUIET, tmp_path, Fault(point, manner, PROMPT, gate)) as sleeper:
        job_id = held.submit(PROMPT)
        sleeper.wait_for(f"the trap '{point}' springs")
        held.hold()
        held.shorten_lease(job_id, -TWO_LEASES)
        with working(held.env | QUIET, tmp_path) as other:
            taken_over = f"select attempt from {JOBS} where id = '{job_id}'"
            eventually("the job is taken over", lambda: held.sql(taken_over) == "2")
            if manner == "stop":
                eventually("the sleeper sleeps", lambda: is_stopped(sleeper))
                sleeper.signal(signal.SIGCONT)
            gate.touch()
            sleeper.wait_for("attempt ends unsettled", "job refused")
            held.let_go()
            held.completed(job_id)
            other.signal(signal.SIGKILL)
            other.ended()
        assert held.history(job_id) == "claimed rescued claimed completed"
        result = f"select worker_id from {EVENTS} where job_id = '{job_id}' and kind = 'completed'"
        assert held.sql(f"select worker_id = ({result}) from {JOBS} where id = '{job_id}'") == "t"
        next_id = held.submit("the next job ")
        held.completed(next_id)
        assert held.history(next_id) == "claimed completed"
