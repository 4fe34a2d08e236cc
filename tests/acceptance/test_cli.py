"""The commands against the stack: data on stdout, one line per mistake on stderr, the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.commands import consumer as run
from tests.commands import settings_are
from tests.processes import running_worker
from tests.stacks import ThreadedStack
from tests.waiting import eventually

EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE = 65, 66, 69
JOBS = "public.workflow_generation_jobs"


class Consumer:
    """`consumer …` with the stack's settings; each call must succeed unless an exit code is named."""

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        done = run(*arguments, stdin=stdin)
        said = "" if arguments[0] in ("validate", "audit") else done.stderr.strip()
        assert (done.exit_code, said) == (0, ""), done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def fails(self, code: int, *arguments: str) -> str:
        done = run(*arguments)
        assert done.exit_code == code, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("consumer: ")
        return line


@pytest.fixture
def consumer(stack: ThreadedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Consumer:
    settings_are(monkeypatch, tmp_path, stack.stack.env)
    return Consumer()


def test_a_submitted_job_is_worked_on_and_its_result_is_valid(
    stack: ThreadedStack, consumer: Consumer, tmp_path: Path
) -> None:
    job_id = consumer("submit", "Log a line for every web request").strip()
    waiting = consumer.json("status", job_id)
    assert (waiting["id"], waiting["status"], waiting["attempt"]) == (job_id, "pending", 0)
    with running_worker(stack.stack.env, tmp_path):
        eventually("it is completed", lambda: stack.statuses() == {"completed": 1})
    done = consumer.json("status", job_id)
    assert (done["status"], done["progress_percentage"], done["error_message"]) == ("completed", 100, None)
    assert consumer("validate", "-", "--json", stdin=json.dumps(done["workflow_result"])).strip() == "[]"
    shown = dict(line.split(maxsplit=1) for line in consumer("status", job_id).splitlines())
    assert (shown["id"], shown["status"], shown["attempt"]) == (job_id, "completed", "1")
    assert "workflow_result" not in shown
    assert consumer("audit") == ""
    found = consumer.json("audit", "--since", "1h")
    assert (found["jobs"], found["attempts"], found["events"], found["violations"]) == (1, 1, 2, [])


def test_submitting_again_with_the_same_key_gives_the_same_job(stack: ThreadedStack, consumer: Consumer) -> None:
    first = consumer.json("submit", "Once only", "--idempotency-key", "k1")
    again = consumer.json("submit", "Once only", "--idempotency-key", "k1")
    assert (first["created"], again["created"]) == (True, False)
    assert first["job_id"] == again["job_id"]
    assert stack.statuses() == {"pending": 1}


def test_an_edit_is_submitted_with_its_workflow_and_config(stack: ThreadedStack, consumer: Consumer) -> None:
    workflow = {"name": "w", "nodes": [{"id": "a", "type": "webhook", "config": {}}], "edges": []}
    Path("w.json").write_text(json.dumps(workflow))
    user_id, _ = stack.stack.user()
    answer = consumer.json(
        "submit", "Add a log line", "--mode", "edit", "--current-workflow", "w.json",
        "--config", '{"sheetId": "s1"}', "--user-id", user_id,
    )  # fmt: skip
    row = consumer.json("status", answer["job_id"])
    assert (row["mode"], row["current_workflow"], row["config"]) == ("edit", workflow, {"sheetId": "s1"})
    assert row["user_id"] == user_id


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["submit", "   "], "prompt"),
        (["submit", "x", "--mode", "edit"], "workflow"),
        (["submit", "x" * 20_001], "prompt"),
        (["submit", "x", "--user-id", "nobody"], "uuid"),
        (["submit", "x", "--user-id", str(uuid.UUID(int=7))], "user"),
    ],
    ids=["blank", "edit without a workflow", "too long", "no uuid", "unknown user"],
)
def test_a_job_that_the_database_refuses_is_one_line(consumer: Consumer, arguments: list[str], word: str) -> None:
    line = consumer.fails(EX_DATAERR, *arguments)
    assert word in line.lower()
    assert "xxxxxxxx" not in line


def test_an_unknown_job_is_named(consumer: Consumer) -> None:
    assert "job_0_none" in consumer.fails(EX_NOINPUT, "status", "job_0_none")


def test_reconcile_looks_first_and_then_takes_dead_jobs_back(stack: ThreadedStack, consumer: Consumer) -> None:
    dead, _ = stack.submit("dead "), stack.submit("waiting ")
    stack.psql(
        f"update {JOBS} set status = 'processing', attempt = 1, worker_id = 'gone', started_at = now(), "
        f"lease_expires_at = now() - interval '1 s' where id = '{dead[0]}'",
        user="supabase_admin",
    )
    looked = consumer.json("reconcile", "--dry-run")
    assert (looked["dry_run"], looked["found"], looked["rescued"], looked["job_ids"]) == (True, 1, 1, dead)
    assert (looked["claimable"], looked["processing"], looked["expired"]) == (1, 1, 1)
    text = consumer("reconcile", "--dry-run").splitlines()
    assert text[:2] == [f"found       1 lease(s) that ran out: {dead[0]}", "rescued     1 (would be)"]
    assert "processing  1, 1 with a lease that ran out" in text
    assert stack.statuses() == {"pending": 1, "processing": 1}
    done = consumer.json("reconcile")
    assert (done["dry_run"], done["found"], done["rescued"], done["job_ids"]) == (False, 1, 1, dead)
    assert (done["claimable"], done["processing"], done["expired"]) == (2, 0, 0)


def test_reconcile_says_what_it_found_what_it_did_and_what_remains(stack: ThreadedStack, consumer: Consumer) -> None:
    (lost,), (spent,), (unwanted,), (held,) = (
        stack.submit(f"{name} ") for name in ("lost", "spent", "unwanted", "held")
    )
    stack.psql("select public.claim_workflow_jobs('gone', 4)")
    stack.psql(f"select public.cancel_workflow_job('{unwanted}')")
    stack.psql(f"update {JOBS} set max_retries = 0 where id = '{spent}'")
    stack.psql(f"update {JOBS} set lease_expires_at = now() - interval '1 s' where id <> '{held}'")
    stack.submit("later ")
    stack.psql(f"update {JOBS} set run_at = now() + interval '1 hour' where status = 'pending'")
    found, rescued, failed, cancelled, claimable, delayed, processing, due = consumer("reconcile").splitlines()
    assert found.startswith("found       3 lease(s) that ran out: ")
    assert set(found.partition(": ")[2].split(", ")) == {lost, spent, unwanted}
    assert (rescued, failed) == ("rescued     1", "failed      1 with all retries spent")
    assert (cancelled, delayed) == ("cancelled   1 as their users had asked", "delayed     1")
    assert claimable.startswith("claimable   1, the oldest for ")
    assert processing == "processing  1"
    assert due.startswith("next due in ")
    assert consumer("reconcile").splitlines()[0] == "found       0 lease(s) that ran out"


def test_what_one_reconcile_cannot_do_is_said_to_remain(stack: ThreadedStack, consumer: Consumer) -> None:
    stack.submit("dead ", 1001)
    stack.psql(
        f"update {JOBS} set status = 'processing', attempt = 1, worker_id = 'gone', started_at = now(), "
        "lease_expires_at = now() - interval '1 s'"
    )
    lines = consumer("reconcile").splitlines()
    assert lines[0].endswith(" and 900 more")
    assert "claimable   1000 or more, the oldest" in lines[4]
    assert lines[6] == "processing  1, 1 with a lease that ran out: reconcile again"


def test_a_pending_job_is_cancelled_and_started_again(stack: ThreadedStack, consumer: Consumer) -> None:
    (job_id,) = stack.submit("unwanted ")
    assert consumer("cancel", job_id) == f"{job_id} cancelled\n"
    assert consumer.json("cancel", job_id) == {
        "job_id": job_id, "found": True, "accepted": True, "status": "cancelled",
    }  # fmt: skip
    assert stack.statuses() == {"cancelled": 1}
    assert consumer("retry", job_id) == f"{job_id} pending\n"
    assert stack.statuses() == {"pending": 1}


def test_the_worker_of_a_running_job_is_asked_to_stop(stack: ThreadedStack, consumer: Consumer) -> None:
    (job_id,) = stack.submit("unwanted ")
    stack.psql("select public.claim_workflow_jobs('somebody')")
    assert consumer("cancel", job_id) == f"{job_id} processing, asked to stop\n"
    assert consumer.json("status", job_id)["cancel_requested_at"] is not None
    assert f"{job_id} is processing: only a job that failed" in consumer.fails(EX_DATAERR, "retry", job_id)


def test_a_job_in_the_wrong_state_or_unknown_is_one_line(stack: ThreadedStack, consumer: Consumer) -> None:
    (job_id,) = stack.submit("failing ")
    stack.psql("select public.claim_workflow_jobs('w')")
    stack.psql(f"select public.settle_workflow_job('{job_id}', 1, 'failed')")
    assert f"job {job_id} is failed: only a job" in consumer.fails(EX_DATAERR, "cancel", job_id)
    assert "'job_0_none'" in consumer.fails(EX_NOINPUT, "retry", "job_0_none")


def test_an_audit_lists_the_offending_jobs_and_fails(stack: ThreadedStack, consumer: Consumer) -> None:
    (job_id,) = stack.submit("doubled ")
    stack.psql("select public.claim_workflow_jobs('w')")
    stack.psql(f"select public.settle_workflow_job('{job_id}', 1, 'completed', '{{}}')")
    stack.psql(f"""update {JOBS} set workflow_result = '{{"another": "attempt"}}'""")
    for arguments in (["audit", "--since", "1h"], ["audit", "--json"]):
        done = run(*arguments)
        assert done.exit_code == EX_DATAERR
        assert done.stderr == "consumer: audit: 1 violation(s), in 1 of 1 job(s), 1 attempt(s), 2 event(s)\n"
        if "--json" in arguments:
            assert [found["job_id"] for found in json.loads(done.stdout)["violations"]] == [job_id]
        else:
            (line,) = done.stdout.splitlines()
            assert line == f"result_is_the_settled_one  {job_id}  The workflow is not what the ending attempt wrote."


def test_an_audit_that_the_database_has_no_time_for_says_how_to_ask_for_less(
    stack: ThreadedStack, consumer: Consumer
) -> None:
    stack.submit("many ", 3000)
    audit = "alter function public.audit_workflow_jobs"
    stack.psql(f"{audit} set statement_timeout = '1ms'; notify pgrst, 'reload schema'")
    try:
        eventually("the limit is known", lambda: "--since" in run("audit").stderr)
        assert "Narrow it: 24h" in consumer.fails(EX_UNAVAILABLE, "audit")
    finally:
        stack.psql(f"{audit} reset statement_timeout; notify pgrst, 'reload schema'")


@pytest.mark.parametrize("arguments", [["submit", "x"], ["reconcile"], ["audit"]])
def test_a_project_that_is_away_is_one_line(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in consumer.fails(EX_UNAVAILABLE, *arguments)


def test_a_reader_that_goes_away_is_no_traceback(stack: ThreadedStack, tmp_path: Path) -> None:
    (job_id,) = stack.submit("x" * 19_000)
    command = f'consumer="$0 -m consumer"; $consumer status {job_id} --json | head -c 10'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, **stack.stack.env}, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
