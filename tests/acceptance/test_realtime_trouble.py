"""A real worker while Realtime is away, or deaf on one of its two doorbells: work and cancels still get through."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import hold, release, streaming
from tests.notified import manager
from tests.processes import running_worker
from tests.stacks import ThreadedStack
from tests.waiting import eventually

JOBS, WORKERS = "public.workflow_generation_jobs", "public.workflow_workers"
READY, DEGRADED = "ready: waiting for jobs", "degraded: no Realtime, jobs are found by heartbeat"
SEND = "realtime.send(jsonb, text, text, boolean)"


@pytest.fixture
def realtime(stack: ThreadedStack) -> Iterator[ThreadedStack]:
    """The stack without rows of earlier workers; at the end its Realtime is well."""
    stack.psql(f"delete from {WORKERS}", user="supabase_admin")
    yield stack
    stack.stack.realtime.come_back()
    stack.stack.realtime.deaf = False


def worker_row(stack: ThreadedStack) -> str:
    return stack.psql(f"select realtime, info->>'degraded' from {WORKERS}")


def test_work_flows_by_heartbeats_while_realtime_is_away_and_the_worker_says_degraded(
    realtime: ThreadedStack, tmp_path: Path
) -> None:
    with manager(tmp_path) as systemd:
        env = {**realtime.stack.env, **systemd.env}
        with running_worker(env, tmp_path, HEARTBEAT_SECONDS="1", MISSED_EVENT_GRACE="1") as worker:
            systemd.wait_for("READY=1\nSTATUS=ready, waiting for jobs")
            realtime.call(realtime.stack.realtime.go_away())
            worker.wait_for(DEGRADED)
            assert systemd.next().startswith(f"STATUS={DEGRADED} (HTTP 503")
            eventually("its row says so", lambda: worker_row(realtime).startswith("degraded|HTTP 503"))
            realtime.submit("unheard ", 2)
            eventually("both jobs are completed", lambda: realtime.statuses() == {"completed": 2})
            realtime.stack.realtime.come_back()
            worker.wait_for(READY)
            systemd.wait_for("STATUS=ready, waiting for jobs")
            eventually("its row says so", lambda: worker_row(realtime) == "ready|")
            said = [line["message"] for line in worker.logs if line["message"].startswith((READY, DEGRADED))]
    assert [text.partition(" (")[0] for text in said] == [READY, DEGRADED, READY]


def cancel_in_mid_stream(stack: ThreadedStack, tmp_path: Path, how: str, trouble: Callable[[], object]) -> None:
    """A user's cancel, in `trouble`, of a job whose lease is renewed in minutes only: just the poke can stop it."""
    assert stack.instant is not None
    model = stack.instant
    stack.call(hold(stack))
    user_id, _ = stack.stack.user()
    with running_worker(stack.stack.env, tmp_path, LEASE_SECONDS="3600", HEARTBEAT_SECONDS="300") as worker:
        job_id = stack.psql(f"insert into {JOBS} (prompt, user_id) values ('held', '{user_id}') returning id")
        stack.call(streaming(stack))
        quiet = f"select updated_at < clock_timestamp() - interval '1.5 s' from {JOBS} where write_seq > 0"
        eventually("all progress is written", lambda: stack.psql(quiet) == "t")
        eventually("the canary has flown", lambda: stack.psql(f"select beat > 1 from {WORKERS}") == "t")
        stack.call(stack.stack.realtime.capture.poll())
        trouble()
        as_user = f"""set local role authenticated; set local request.jwt.claims to '{{"sub": "{user_id}"}}'"""
        stack.psql(f"begin; {as_user}; select public.cancel_workflow_job('{job_id}'); commit")
        asked = time.monotonic()
        eventually("the model's slot is free", lambda: model.open_streams == 0, every=0.002)
        sys.stdout.write(f"measured: cancelled by {how}, generation stopped {time.monotonic() - asked:.3f} s later\n")
        worker.wait_for("job cancelled")
        stack.call(release(stack))
        stack.submit("the slot serves the next ")
        eventually("the next is completed", lambda: stack.statuses() == {"cancelled": 1, "completed": 1})
    kinds = f"select string_agg(kind, ' ' order by id) from public.workflow_job_events where job_id = '{job_id}'"
    assert stack.psql(kinds) == "claimed cancel_requested cancelled"
    assert stack.psql(f"select status, workflow_result is null from {JOBS} where id = '{job_id}'") == "cancelled|t"


def test_a_cancel_arrives_by_broadcast_alone(realtime: ThreadedStack, tmp_path: Path) -> None:
    cancel_in_mid_stream(realtime, tmp_path, "broadcast alone", lambda: realtime.stack.realtime.deafen(changes=True))


def test_a_cancel_arrives_by_postgres_changes_alone(realtime: ThreadedStack, tmp_path: Path) -> None:
    gone = f"alter function {SEND} rename to sent"
    try:
        cancel_in_mid_stream(
            realtime, tmp_path, "postgres_changes alone", lambda: realtime.psql(gone, user="supabase_admin")
        )
    finally:
        realtime.psql(f"alter function {SEND.replace('send', 'sent')} rename to send", user="supabase_admin")
