"""The log of a busy worker: one line says all about an attempt, and nothing that is somebody's is in any line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.engine import ScriptedModel
from tests.processes import Process, running
from tests.stacks import ThreadedStack, threaded_stack
from tests.waiting import eventually

JOBS = "public.workflow_generation_jobs"
# What users and operators hand over, each in a place of its own; none of it may be in a log.
PRIVATE = {
    "prompt": "Zinnober-prompt",
    "config key": "zinnoberWebhookUrl",
    "config": "https://hooks.example/zinnober-config",
    "workflow": "Zinnober-node",
    "history": "zinnober-history",
    "answer": "Zinnober-answer",
    "token": "zinnober-token-0123456789",
    "redis": "redis-zinnober",
}
# Answers, one per attempt: refused by the validator, no JSON, too long without an end, and then what the stub makes.
ANSWERS = ['{"nodes": [{"type": "Zinnober-answer"}]}', "Zinnober-answer is no JSON", "Zinnober-answer " * 500]


@pytest.fixture(scope="module")
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture(scope="module")
def busy(model: ScriptedModel) -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True, model=model) as stack:
        yield stack


def submit_all(stack: ThreadedStack) -> int:
    """A job of each kind: one that is created, one that is edited, and one that cannot be read."""
    config = json.dumps({PRIVATE["config key"]: PRIVATE["config"]})
    node = {"id": "a", "type": "webhook", "label": PRIVATE["workflow"], "config": {}, "position": {"x": 0, "y": 0}}
    workflow = json.dumps({"name": "x", "nodes": [node], "edges": []})
    history = json.dumps([{"id": "1", "status": "failed", "error": PRIVATE["history"], "logs": []}])
    prompt = PRIVATE["prompt"]
    stack.psql(f"insert into {JOBS} (prompt, config) select '{prompt} ' || n, '{config}' from generate_series(1, 3) n")
    stack.psql(
        f"insert into {JOBS} (prompt, mode, config, current_workflow, execution_history)"
        f" values ('{prompt}', 'edit', '{config}', '{workflow}', '{history}')"
    )
    unreadable = json.dumps({"nodes": [PRIVATE["workflow"]], "edges": "none"})
    stack.psql(f"insert into {JOBS} (prompt, mode, current_workflow) values ('{prompt}', 'edit', '{unreadable}')")
    return 5


def work_through(stack: ThreadedStack, model: ScriptedModel, folder: Path, level: str) -> Process:
    """A worker that has done a job of each kind, with failures, requests to its HTTP face and a feed that broke."""
    stack.clear()
    for name in model.names:
        model.texts[name] = list(ANSWERS)
    more = {"LOG_LEVEL": level, "WORKER_ID": "busy", "WORKER_API_TOKEN": PRIVATE["token"], "RETRY_DELAY_BASE": "0.05",
            "MAX_RETRIES": "1", "REDIS_URL": f"redis://:{PRIVATE['redis']}@127.0.0.1:9/0"}  # fmt: skip
    with running("run", "--http", "127.0.0.1:0", env={**stack.stack.env, **more}, cwd=folder) as worker:
        url = worker.address()
        worker.wait_for("ready: waiting for jobs")
        known = {"Authorization": f"Bearer {PRIVATE['token']}"}
        for path in ("/health", "/metrics", f"/none?apikey={PRIVATE['token']}"):
            httpx.get(url + path, headers=known, trust_env=False)
        httpx.get(url + "/health", headers={"Authorization": f"Bearer x{PRIVATE['token']}"}, trust_env=False)
        count = submit_all(stack)
        eventually("all jobs are over", lambda: over(stack) == count)
        stack.call(stack.stack.realtime.go_away())
        worker.wait_for("next try in")
        stack.stack.realtime.come_back()
        assert worker.stop() == 0
    return worker


def over(stack: ThreadedStack) -> int:
    return sum(count for status, count in stack.statuses().items() if status in ("completed", "failed"))


@dataclass(frozen=True)
class Run:
    """What a busy worker wrote; `attempts` are those that the database knows, `rows` how each job ended."""

    worker: Process
    attempts: list[str]
    rows: dict[str, str]


@pytest.fixture(scope="module", params=["INFO", "DEBUG"])
def run(
    request: pytest.FixtureRequest, busy: ThreadedStack, model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    worker = work_through(busy, model, tmp_path_factory.mktemp("busy"), request.param)
    attempts = busy.psql("select job_id, attempt from public.workflow_job_events where kind = 'claimed'").splitlines()
    return Run(
        worker, attempts, dict(row.split("|") for row in busy.psql(f"select id, status from {JOBS}").splitlines())
    )


def test_nothing_that_is_somebodys_is_in_the_log(busy: ThreadedStack, run: Run) -> None:
    assert set(run.rows.values()) == {"completed", "failed"}
    text = "\n".join(run.worker.lines).lower()
    keys = busy.stack.keys
    secrets = {"secret key": keys.secret, "anon": keys.anon, "role": keys.service_role, "signature": keys.jwt_secret}
    found = [name for name, value in {**PRIVATE, **secrets}.items() if value.lower() in text]
    assert found == []
    assert "eyj" not in text  # how every JWT begins


def test_every_line_is_json_with_its_worker_and_none_is_a_librarys_chatter(run: Run) -> None:
    assert all(line.startswith("{") for line in run.worker.lines)
    assert {line["worker"] for line in run.worker.logs} == {"busy"}
    of_libraries = [line for line in run.worker.logs if "logger" in line]
    assert [line for line in of_libraries if line["level"] in ("DEBUG", "INFO")] == []


def test_one_line_says_all_about_an_attempt(run: Run) -> None:
    lines = [line for line in run.worker.logs if "outcome" in line]
    assert sorted(f"{line['job']}|{line['attempt']}" for line in lines) == sorted(run.attempts)
    assert {line["job"]: line["outcome"] for line in lines} == run.rows
    (first, *_) = [line for line in lines if line["outcome"] == "completed"]
    assert {"worker", "mode", "retry", "max_retries", "attempt_ms", "model", "input_tokens", "output_tokens",
            "tokens_per_second", "total_time_ms", "doorbell", "repairs"} <= set(first)  # fmt: skip
    assert set(first["phases_ms"]) >= {"analyze", "generate"}
    failed = [line for line in lines if line["outcome"] in ("retry", "failed")]
    assert all(line["code"] for line in failed)
    assert all(line["again_in_s"] > 0 for line in failed if line["outcome"] == "retry")
