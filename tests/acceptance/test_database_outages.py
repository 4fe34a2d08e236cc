"""PostgreSQL goes away under a busy run and comes back: work resumes with no help, nothing is lost or done twice.

Real workers, a real PostgreSQL that is really stopped. `OUTAGE_SECONDS` makes the long outage longer.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.conftest import hold, release
from tests.processes import Process, running_worker
from tests.stacks import ThreadedStack
from tests.waiting import eventually

JOBS = "public.workflow_generation_jobs"
EVENTS = "public.workflow_job_events"
UNWRITTEN = "the outcome could not be written, trying again"
SHORTEST_LEASE, LONG_LEASE = 5, 600


@pytest.fixture
def stack(stack: ThreadedStack) -> Iterator[ThreadedStack]:
    """A model that takes a moment, so that an outage finds jobs at every point of their work."""
    assert stack.instant is not None
    stack.instant.pause = 0.1
    yield stack
    stack.instant.pause = 0


def halt(stack: ThreadedStack, mode: str = "fast") -> None:
    """Stop the server, from the thread that had started it (see devstack/postgres.py)."""

    async def stopping() -> None:
        stack.stack.postgres.halt(mode)  # type: ignore[arg-type]  # the three modes of pg_ctl

    stack.call(stopping())


def start(stack: ThreadedStack) -> None:
    async def starting() -> None:
        stack.stack.postgres.start()

    stack.call(starting())


def crash(stack: ThreadedStack) -> None:
    halt(stack, "immediate")


def refuse_logins(stack: ThreadedStack) -> None:
    """The connection limit is reached: the gateway loses its sessions and gets no new ones."""
    stack.psql("alter role authenticator connection limit 0", user="supabase_admin")
    stack.psql(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'authenticator'", user="supabase_admin"
    )


def allow_logins(stack: ThreadedStack) -> None:
    stack.psql("alter role authenticator connection limit -1", user="supabase_admin")


@contextmanager
def two_workers(stack: ThreadedStack, cwd: Path, lease: int) -> Iterator[list[Process]]:
    more = {"LEASE_SECONDS": str(lease), "WORKER_CONCURRENCY": "2"}
    with running_worker(stack.stack.env, cwd, **more) as one, running_worker(stack.stack.env, cwd, **more) as two:
        yield [one, two]


def busy(stack: ThreadedStack, how_many: int) -> None:
    """Submit jobs and wait until some more are done and some in work."""
    before = stack.statuses().get("completed", 0)
    stack.submit("job ", how_many)

    def under_way() -> bool:
        found = stack.statuses()
        return found.get("completed", 0) > before and found.get("processing", 0) > 1

    eventually("some jobs are done and some in work", under_way)


def noticing(workers: list[Process]) -> Callable[[], bool]:
    """Whether each worker has met an outage that begins now."""
    before = [len(worker.lines) for worker in workers]
    return lambda: all(
        any("trying again" in line for line in worker.lines[seen:])
        for worker, seen in zip(workers, before, strict=True)
    )


def completed_once(stack: ThreadedStack, how_many: int) -> None:
    """Every job ends completed, and its history holds one end and no failure."""
    eventually(f"{how_many} jobs are completed", lambda: stack.statuses() == {"completed": how_many}, timeout=120)
    ends = stack.psql(
        f"select kind, count(*), count(distinct job_id) from {EVENTS} e join {JOBS} j on j.id = e.job_id "
        "where kind in ('completed', 'failed', 'cancelled') group by 1"
    )
    assert ends == f"completed|{how_many}|{how_many}"
    torn = stack.psql(f"select count(*) from {JOBS} where workflow_result is null or progress_percentage <> 100")
    assert torn == "0"


def hears_again(stack: ThreadedStack) -> None:
    """A job that is submitted now is soon claimed because of its event, with no heartbeat due."""

    def heard() -> bool:
        (job_id,) = stack.submit("after the outage ")
        row = f"from {JOBS} where id = '{job_id}'"
        eventually("a job after the outage is completed", lambda: stack.psql(f"select status {row}") == "completed")
        doorbell = stack.psql(f"select observability->>'doorbell' {row}")
        return doorbell in ("postgres_changes", "broadcast")

    eventually("a job is claimed by its event", heard)


def test_outages_within_the_lease_cost_no_attempt(stack: ThreadedStack, tmp_path: Path) -> None:
    with two_workers(stack, tmp_path, LONG_LEASE) as workers:
        for away, back in ((crash, start), (halt, start), (refuse_logins, allow_logins)):
            busy(stack, 12)
            met = noticing(workers)
            away(stack)
            eventually("each worker has met the outage", met)
            back(stack)
        completed_once(stack, 36)
        assert stack.psql(f"select max(attempt), max(retry_count) from {JOBS}") == "1|0"
        hears_again(stack)
        assert [worker.stop() for worker in workers] == [0, 0]


def test_an_outage_longer_than_the_lease_ends_with_every_job_completed_once(
    stack: ThreadedStack, tmp_path: Path
) -> None:
    with two_workers(stack, tmp_path, SHORTEST_LEASE) as workers:
        busy(stack, 16)
        met = noticing(workers)
        halt(stack)
        eventually("each worker has met the outage", met)
        time.sleep(float(os.environ.get("OUTAGE_SECONDS", SHORTEST_LEASE + 1)))
        start(stack)
        completed_once(stack, 16)
        hears_again(stack)
        assert [worker.stop() for worker in workers] == [0, 0]


def finished_but_unwritten(stack: ThreadedStack, *workers: Process) -> None:
    """Each worker holds a finished workflow, and the database is away."""
    stack.call(hold(stack))
    stack.submit("held ", len(workers))
    eventually("they all stream", lambda: stack.instant is not None and stack.instant.open_streams == len(workers))
    halt(stack)
    stack.call(release(stack))
    for worker in workers:
        worker.wait_for(UNWRITTEN)


def history(stack: ThreadedStack) -> str:
    return stack.psql(f"select string_agg(kind, ' ' order by id) from {EVENTS} where job_id in (select id from {JOBS})")


def test_a_finished_workflow_is_kept_and_written_by_its_own_attempt(stack: ThreadedStack, tmp_path: Path) -> None:
    with running_worker(stack.stack.env, tmp_path, LEASE_SECONDS=str(LONG_LEASE)) as worker:
        finished_but_unwritten(stack, worker)
        start(stack)
        worker.wait_for("job completed")
    assert history(stack) == "claimed completed"


def test_a_kept_workflow_is_refused_when_another_attempt_took_over_meanwhile(
    stack: ThreadedStack, tmp_path: Path
) -> None:
    with running_worker(stack.stack.env, tmp_path, LEASE_SECONDS=str(LONG_LEASE)) as late:
        finished_but_unwritten(stack, late)
        late.process.send_signal(signal.SIGSTOP)
        start(stack)
        stack.psql(f"update {JOBS} set lease_expires_at = now()", user="supabase_admin")
        with running_worker(stack.stack.env, tmp_path):
            completed_once(stack, 1)
        settled = stack.psql(f"select to_jsonb(j) from {JOBS} j")
        late.process.send_signal(signal.SIGCONT)
        late.wait_for("job refused")
        assert stack.psql(f"select to_jsonb(j) from {JOBS} j") == settled
        assert late.stop() == 0
    assert history(stack) == "claimed rescued claimed completed"


def test_a_stop_during_the_outage_still_writes_what_the_grace_allows(stack: ThreadedStack, tmp_path: Path) -> None:
    with running_worker(stack.stack.env, tmp_path, LEASE_SECONDS=str(LONG_LEASE)) as worker:
        finished_but_unwritten(stack, worker)
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_for("stopping: no more claims")
        start(stack)
        assert worker.wait() == 0
    assert history(stack) == "claimed completed"


def test_a_stop_that_cannot_write_a_workflow_says_so_and_its_lease_brings_the_job_back(
    stack: ThreadedStack, tmp_path: Path
) -> None:
    with (
        running_worker(stack.stack.env, tmp_path, SHUTDOWN_GRACE="0") as spent,
        running_worker(stack.stack.env, tmp_path, SHUTDOWN_GRACE="3600") as hurried,
    ):
        finished_but_unwritten(stack, spent, hurried)
        for worker in (spent, hurried):
            worker.process.send_signal(signal.SIGTERM)
        hurried.wait_for("stopping: no more claims")
        assert [hurried.stop(), spent.stop()] == [0, 0]
        for worker in (spent, hurried):
            assert len([line for line in worker.lines if "its lease will bring the job back" in line]) == 1
            assert "Traceback" not in "".join(worker.lines)
    start(stack)
    stack.psql(f"update {JOBS} set lease_expires_at = now()", user="supabase_admin")
    with running_worker(stack.stack.env, tmp_path):
        completed_once(stack, 2)
