"""The commands as processes against the stack: data on stdout, one line per mistake on stderr, the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run_consumer, running_worker
from tests.stacks import ThreadedStack, threaded_stack
from tests.waiting import eventually

EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE = 65, 66, 69
JOBS = "public.workflow_generation_jobs"


@pytest.fixture(scope="module")
def module_stack() -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True) as stack:
        yield stack


@pytest.fixture
def stack(module_stack: ThreadedStack) -> ThreadedStack:
    module_stack.clear()
    return module_stack


class Consumer:
    """`consumer …` with the stack's settings; each call must succeed unless an exit code is named."""

    def __init__(self, stack: ThreadedStack, cwd: Path) -> None:
        self._env = stack.stack.env
        self.cwd = cwd

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        done = run_consumer(*arguments, env=self._env, cwd=self.cwd, stdin=stdin)
        assert (done.returncode, done.stderr.strip() if arguments[0] != "validate" else "") == (0, ""), done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def fails(self, code: int, *arguments: str) -> str:
        done: subprocess.CompletedProcess[str] = run_consumer(*arguments, env=self._env, cwd=self.cwd)
        assert done.returncode == code, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("consumer: ")
        return line


@pytest.fixture
def consumer(stack: ThreadedStack, tmp_path: Path) -> Consumer:
    return Consumer(stack, tmp_path)


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


def test_submitting_again_with_the_same_key_gives_the_same_job(stack: ThreadedStack, consumer: Consumer) -> None:
    first = consumer.json("submit", "Once only", "--idempotency-key", "k1")
    again = consumer.json("submit", "Once only", "--idempotency-key", "k1")
    assert (first["created"], again["created"]) == (True, False)
    assert first["job_id"] == again["job_id"]
    assert stack.statuses() == {"pending": 1}


def test_an_edit_is_submitted_with_its_workflow_and_config(stack: ThreadedStack, consumer: Consumer) -> None:
    workflow = {"name": "w", "nodes": [{"id": "a", "type": "webhook", "config": {}}], "edges": []}
    (consumer.cwd / "w.json").write_text(json.dumps(workflow))
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
    assert (looked["rescued"], looked["claimable"], looked["processing"]) == (1, 1, 1)
    assert stack.statuses() == {"pending": 1, "processing": 1}
    assert "(would be)" in consumer("reconcile", "--dry-run")
    done = consumer.json("reconcile")
    assert (done["rescued"], done["job_ids"], done["claimable"], done["processing"]) == (1, dead, 2, 0)
    text = consumer("reconcile")
    assert text.splitlines()[0].split() == ["rescued", "0"]
    assert "claimable   2, the oldest for" in text


@pytest.mark.parametrize("arguments", [["submit", "x"], ["reconcile"]])
def test_a_project_that_is_away_is_one_line(tmp_path: Path, stack: ThreadedStack, arguments: list[str]) -> None:
    env = stack.stack.env | {"SUPABASE_URL": "http://127.0.0.1:9"}
    done = run_consumer(*arguments, env=env, cwd=tmp_path)
    assert done.returncode == EX_UNAVAILABLE
    assert len(done.stderr.splitlines()) == 1
    assert "http://127.0.0.1:9" in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(consumer: Consumer, stack: ThreadedStack, tmp_path: Path) -> None:
    (job_id,) = stack.submit("x" * 19_000)
    command = f'consumer="$0 -m consumer"; $consumer status {job_id} --json | head -c 10'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, **stack.stack.env}, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
