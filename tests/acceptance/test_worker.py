"""The worker from outside: real processes, a real PostgreSQL, the real clients; the model is the instant stub."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.acceptance.conftest import hold, release, streaming
from tests.processes import running_worker
from tests.stacks import ThreadedStack
from tests.waiting import eventually

JOBS = "public.workflow_generation_jobs"
EVENTS = "public.workflow_job_events"
WORKERS = "from (select * from public.workflow_workers order by last_seen_at desc limit 1) newest"
STATE, TROUBLE = "info #>> '{model_server,state}'", "info #>> '{model_server,trouble,why}'"


def all_completed(stack: ThreadedStack, how_many: int) -> bool:
    return stack.statuses() == {"completed": how_many}


def test_a_row_in_is_a_workflow_out(stack: ThreadedStack, tmp_path: Path) -> None:
    with running_worker(stack.stack.env, tmp_path) as worker:
        stack.submit("tell me when the form is sent ")
        worker.wait_for("job completed")
        row = stack.psql(
            "select status, progress_percentage, jsonb_array_length(workflow_result->'nodes') > 0, attempt, "
            "retry_count, duration_ms >= 0, observability->>'output_tokens', error_message is null from " + JOBS
        )
        assert row == "completed|100|t|1|0|t|4|t"
        assert worker.stop() == 0
    assert stack.psql("select count(*) from public.workflow_workers") == "0"


def test_two_workers_settle_each_of_200_jobs_once(stack: ThreadedStack, tmp_path: Path) -> None:
    with running_worker(stack.stack.env, tmp_path), running_worker(stack.stack.env, tmp_path):
        ids = stack.submit("job ", 100)
        ids += stack.submit("more ", 100)
        eventually("200 jobs completed", lambda: all_completed(stack, 200), timeout=120)
    claims = stack.psql(f"select count(*), count(distinct job_id) from {EVENTS} where kind = 'claimed'")
    ends = stack.psql(f"select count(*), count(distinct job_id) from {EVENTS} where kind = 'completed'")
    workers = stack.psql(f"select count(distinct worker_id) from {JOBS}")
    assert (claims, ends, workers, len(set(ids))) == ("200|200", "200|200", "2", 200)


def test_sigterm_in_mid_job_hands_it_back_without_burning_an_attempt(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.call(hold(stack))
    with running_worker(stack.stack.env, tmp_path, SHUTDOWN_GRACE="0") as worker:
        stack.submit("held ")
        stack.call(streaming(stack))
        assert worker.stop() == 0
    assert stack.psql(f"select status, retry_count, run_at <= now() from {JOBS}") == "pending|0|t"
    eventually("the model's slot is free", lambda: stack.instant is not None and stack.instant.open_streams == 0)
    stack.call(release(stack))
    with running_worker(stack.stack.env, tmp_path):
        eventually("the next worker finishes it", lambda: all_completed(stack, 1))
    assert stack.psql(f"select attempt, retry_count from {JOBS}") == "2|0"


def test_a_running_job_may_finish_within_the_grace(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.call(hold(stack))
    with running_worker(stack.stack.env, tmp_path) as worker:
        stack.submit("held ")
        stack.call(streaming(stack))
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_for("stopping: no more claims")
        stack.submit("too late ")
        stack.call(release(stack))
        assert worker.wait() == 0
    assert stack.statuses() == {"completed": 1, "pending": 1}


def test_a_second_signal_hands_back_at_once(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.call(hold(stack))
    with running_worker(stack.stack.env, tmp_path, SHUTDOWN_GRACE="600") as worker:
        stack.submit("held ")
        stack.call(streaming(stack))
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_for("stopping: no more claims")
        assert worker.stop(signal.SIGINT) == 0
    assert stack.psql(f"select status, retry_count from {JOBS}") == "pending|0"


def test_a_killed_workers_job_is_claimed_again_when_its_lease_ends(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.call(hold(stack))
    with running_worker(stack.stack.env, tmp_path) as victim:
        stack.submit("held ")
        stack.call(streaming(stack))
        victim.process.kill()
        victim.wait()
    stack.psql(f"update {JOBS} set lease_expires_at = now() - interval '1 s'", user="supabase_admin")
    stack.call(release(stack))
    with running_worker(stack.stack.env, tmp_path):
        eventually("a second attempt finishes it", lambda: all_completed(stack, 1))
    assert stack.psql(f"select attempt, retry_count from {JOBS}") == "2|1"
    assert stack.psql(f"select string_agg(kind, ' ' order by id) from {EVENTS}").endswith("rescued claimed completed")


def test_a_dead_workers_lease_is_a_deadline_for_the_others(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.call(hold(stack))
    with running_worker(stack.stack.env, tmp_path, LEASE_SECONDS="5") as victim:
        stack.submit("held ")
        stack.call(streaming(stack))
        with running_worker(stack.stack.env, tmp_path, HEARTBEAT_SECONDS="300"):
            victim.process.kill()
            victim.wait()
            stack.call(release(stack))
            eventually("the other worker takes it without heartbeat or event", lambda: all_completed(stack, 1))


def test_the_gateway_may_restart_while_jobs_run(stack: ThreadedStack, tmp_path: Path) -> None:
    with running_worker(stack.stack.env, tmp_path, LEASE_SECONDS="5") as worker:
        stack.call(hold(stack))
        stack.submit("before ")
        stack.call(streaming(stack))
        stack.call(stack.stack.gateway.stop())
        stack.submit("unheard ")
        stack.call(release(stack))
        worker.wait_for("trying again")
        stack.call(stack.stack.gateway.start())
        eventually("both jobs are completed", lambda: all_completed(stack, 2))
        stack.submit("after ")
        eventually("the feed works again", lambda: all_completed(stack, 3))


def test_a_cancelled_job_stops_generating_and_is_never_completed(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.call(hold(stack))
    with running_worker(stack.stack.env, tmp_path, LEASE_SECONDS="600") as worker:
        (job_id,) = stack.submit("held ")
        stack.call(streaming(stack))
        stack.psql(f"begin; set local role service_role; select public.cancel_workflow_job('{job_id}'); commit")
        worker.wait_for("job cancelled")
        eventually("the model's slot is free", lambda: stack.instant is not None and stack.instant.open_streams == 0)
        stack.call(release(stack))
    assert stack.psql(f"select status, workflow_result is null from {JOBS}") == "cancelled|t"


def test_a_delayed_job_starts_by_its_own_deadline(stack: ThreadedStack, tmp_path: Path) -> None:
    with running_worker(stack.stack.env, tmp_path, HEARTBEAT_SECONDS="300"):
        stack.psql(f"insert into {JOBS} (prompt, run_at) values ('later', now() + interval '2 s')")
        eventually("it is completed", lambda: all_completed(stack, 1))
    assert stack.psql(f"select started_at >= run_at from {JOBS}") == "t"


def test_a_deaf_feed_is_noticed_and_the_job_is_claimed(stack: ThreadedStack, tmp_path: Path) -> None:
    newest = "select (info->>'missed_events')::int > 0 from public.workflow_workers order by started_at desc limit 1"
    with running_worker(stack.stack.env, tmp_path, HEARTBEAT_SECONDS="1", MISSED_EVENT_GRACE="0.001") as worker:
        stack.stack.realtime.deaf = True
        try:
            stack.submit("unheard ")
            worker.wait_for("rebuilding Realtime session")
            eventually("it is claimed all the same", lambda: all_completed(stack, 1))
            eventually("its row counts the missed event", lambda: stack.psql(newest) == "t")
        finally:
            stack.stack.realtime.deaf = False


def test_rows_from_before_the_worker_are_picked_up_at_its_start(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.submit("early ", 3)
    with running_worker(stack.stack.env, tmp_path, WORKER_CONCURRENCY="3"):
        eventually("all are completed", lambda: all_completed(stack, 3))


def test_no_key_and_no_prompt_is_ever_logged(stack: ThreadedStack, tmp_path: Path) -> None:
    with running_worker(stack.stack.env, tmp_path, LOG_LEVEL="DEBUG") as worker:
        stack.submit("the secret garden ")
        worker.wait_for("job completed")
        worker.stop()
        text = "\n".join(worker.lines)
    assert stack.stack.keys.secret not in text
    assert "eyJ" not in text
    assert "secret garden" not in text


def test_a_model_server_that_is_away_costs_no_attempt_and_the_workers_row_says_why(
    stack: ThreadedStack, tmp_path: Path
) -> None:
    assert stack.instant is not None
    with running_worker(stack.stack.env, tmp_path, MAX_RETRIES="0") as worker:
        stack.call(stack.instant.__aexit__(None, None, None))
        stack.submit("early ")
        worker.wait_for("job released")
        stack.psql(f"update {JOBS} set run_at = now()", user="supabase_admin")
        eventually("the row says so", lambda: "start it or set" in stack.psql(f"select {TROUBLE} {WORKERS}"))
        assert stack.psql(f"select {STATE} {WORKERS}") == "given up"
        stack.submit("late ")
        assert stack.psql(f"select max(attempt), max(status) from {JOBS}") == "1|pending"
        stack.call(stack.instant.__aenter__())
        eventually("both are completed", lambda: all_completed(stack, 2))
        eventually("the row says so", lambda: stack.psql(f"select {STATE} {WORKERS}") == "working")
    assert stack.psql(f"select max(attempt), max(retry_count) from {JOBS}") == "2|0"
