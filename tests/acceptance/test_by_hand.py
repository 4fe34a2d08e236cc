"""An operator at work: one job or all that waits in the foreground, and workers that are paused and resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.acceptance.conftest import hold, release, streaming
from tests.commands import consumer, settings_are
from tests.integration.sql_db import connect
from tests.processes import running, running_worker
from tests.stacks import ThreadedStack
from tests.waiting import eventually

EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, EX_TEMPFAIL = 65, 66, 69, 75
JOBS, WORKERS = "public.workflow_generation_jobs", "public.workflow_workers"


@pytest.fixture
def stack(stack: ThreadedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ThreadedStack]:
    """The settings are its own; without rows of workers that were paused when they stopped."""
    settings_are(monkeypatch, tmp_path, stack.stack.env)
    yield stack
    stack.psql(f"delete from {WORKERS}", user="supabase_admin")


def test_process_does_that_very_job_and_leaves_the_others(stack: ThreadedStack) -> None:
    first, later = stack.submit("job ", how_many=2)
    stack.psql(f"update {JOBS} set run_at = now() + interval '1 hour' where id = '{later}'")
    done = consumer("process", later, "--json", env={"WORKER_ID": "gpu-1", "HTTP_LISTEN": "127.0.0.1:0"})
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (done.exit_code, told["job_id"], told["status"], told["attempt"]) == (0, later, "completed", 1)
    assert told["workflow_result"]["nodes"]
    assert stack.psql(f"select status from {JOBS} where id = '{first}'") == "pending"
    assert stack.psql(f"select worker_id from {JOBS} where id = '{later}'").startswith("once-")
    assert stack.psql(f"select count(*) from {WORKERS}") == "0"


def test_process_says_why_it_did_not_and_its_exit_code_too(stack: ThreadedStack) -> None:
    (job_id,) = stack.submit("job ")
    assert consumer("process", "job_nobodys").exit_code == EX_NOINPUT
    assert consumer("process", job_id).exit_code == 0
    again = consumer("process", job_id)
    assert again.exit_code == EX_DATAERR
    assert f"job {job_id} is completed: only a pending job can be processed." in again.stderr


def test_a_job_that_somebody_holds_for_a_moment_is_to_be_tried_again(stack: ThreadedStack) -> None:
    async def locked() -> asyncpg.Connection[asyncpg.Record]:
        connection = await connect(stack.stack.postgres, "supabase_admin")
        await connection.execute(f"begin; select from {JOBS} for update")
        return connection

    (job_id,) = stack.submit("job ")
    holder = stack.call(locked())
    done = consumer("process", job_id)
    stack.call(holder.close())
    assert (done.exit_code, done.stdout) == (EX_TEMPFAIL, "")
    assert f"job {job_id} was held by another worker or call at that moment: try again." in done.stderr
    assert stack.statuses() == {"pending": 1}


def test_a_job_that_fails_exits_65_and_one_that_is_to_be_retried_75(stack: ThreadedStack) -> None:
    (job_id,) = stack.submit("job ")
    env = {"MAX_RETRIES": "1", "JOB_TIMEOUT": "0.001"}
    back = consumer("process", job_id, env=env)
    assert (back.exit_code, back.stdout.split()) == (EX_TEMPFAIL, [job_id, "pending"])
    assert "It is back in the queue" in back.stderr
    stack.psql(f"update {JOBS} set run_at = now()")
    failed = consumer("poll", "--json", env=env)
    assert failed.exit_code == EX_DATAERR
    (told,) = json.loads(failed.stdout)["jobs"]
    assert (told["status"], told["error_details"]["code"]) == ("failed", "MODEL_TIMEOUT")


def test_poll_does_all_that_is_claimable_with_the_slots_it_has_and_ends(stack: ThreadedStack) -> None:
    nothing = consumer("poll", "--json")
    assert (nothing.exit_code, json.loads(nothing.stdout)) == (0, {"count": 0, "jobs": []})
    stack.submit("job ", how_many=5)
    done = consumer("poll", env={"WORKER_CONCURRENCY": "2"})
    assert done.exit_code == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["completed"] * 5
    assert stack.statuses() == {"completed": 5}


def test_poll_takes_a_job_ahead_while_an_analysis_lasts_and_goes_on(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.call(hold(stack))
    stack.submit("held ", how_many=3)
    with running("poll", env=stack.stack.env, cwd=tmp_path) as it:
        stack.call(streaming(stack))
        eventually("one more is taken, for the batch", lambda: stack.statuses() == {"processing": 2, "pending": 1})
        stack.call(release(stack))
        assert it.wait() == 0
    assert stack.statuses() == {"completed": 3}


def test_a_stop_of_a_one_shot_worker_hands_the_job_back_once_the_grace_is_over(
    stack: ThreadedStack, tmp_path: Path
) -> None:
    stack.call(hold(stack))
    (job_id,) = stack.submit("held ")
    env = {**stack.stack.env, "SHUTDOWN_GRACE": "0"}
    with running("process", job_id, env=env, cwd=tmp_path) as it:
        stack.call(streaming(stack))
        assert it.stop() == EX_TEMPFAIL
    assert stack.psql(f"select status, retry_count from {JOBS}") == "pending|0"


def listed() -> dict[str, str]:
    done = consumer("workers", "--json")
    assert done.exit_code == 0, done.stderr
    return {row["worker_id"]: row["state"] for row in json.loads(done.stdout)}


def test_a_paused_worker_finishes_its_job_takes_no_other_and_says_so_until_it_is_resumed(
    stack: ThreadedStack, tmp_path: Path
) -> None:
    stack.call(hold(stack))
    env = {**stack.stack.env, "WORKER_ID": "gpu-1", "HEARTBEAT_SECONDS": "300"}
    with running_worker(env, tmp_path) as worker:
        stack.submit("held ")
        stack.call(streaming(stack))
        assert consumer("pause", "gpu-1").stdout == "gpu-1 paused\n"
        worker.wait_for("paused: no job is taken")
        eventually("its row says so", lambda: stack.psql(f"select info -> 'paused' from {WORKERS}") == "true")
        assert listed() == {"gpu-1": "pausing"}
        stack.call(release(stack))
        worker.wait_for("job completed")
        stack.submit("waits ")
        eventually("it is idle", lambda: listed() == {"gpu-1": "paused"})
        assert stack.statuses() == {"completed": 1, "pending": 1}
        done = consumer("resume", "--all", "--json")
        assert json.loads(done.stdout) == {"paused": False, "workers": ["gpu-1"]}
        worker.wait_for("job completed")
        assert worker.stop() == 0
    assert stack.statuses() == {"completed": 2}


def test_a_pause_lasts_over_a_restart_of_the_worker_that_has_its_name(stack: ThreadedStack, tmp_path: Path) -> None:
    env = {**stack.stack.env, "WORKER_ID": "gpu-1"}
    with running_worker(env, tmp_path) as worker:
        assert consumer("pause", "gpu-1").exit_code == 0
        worker.wait_for("paused: no job is taken")
        assert worker.stop() == 0
    assert listed() == {"gpu-1": "away"}
    with running_worker(env, tmp_path) as worker:
        stack.submit("waits ")
        assert consumer("resume", "gpu-1").exit_code == 0
        worker.wait_for("job completed")
        assert [line for line in worker.lines if "paused: no job is taken" in line]


def test_an_unknown_worker_and_a_call_without_one_are_named(stack: ThreadedStack) -> None:
    for name in ("nobody", "no/body"):
        unknown = consumer("pause", name)
        assert (unknown.exit_code, "consumer workers" in unknown.stderr) == (EX_NOINPUT, True)
    for arguments in (("pause",), ("resume", "gpu-1", "--all")):
        wrong = consumer(*arguments)
        assert (wrong.exit_code, "Name one WORKER_ID, or --all." in wrong.stderr) == (2, True)
    none = consumer("workers")
    assert (none.exit_code, none.stdout) == (0, "")
