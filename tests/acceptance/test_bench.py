"""`consumer bench`: figures of everything, nothing left behind, and what is away is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result

from consumer.sysexits import EX_UNAVAILABLE
from tests.commands import consumer, settings_are
from tests.stacks import ThreadedStack


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings_are(monkeypatch, tmp_path, {})


def bench(stack: ThreadedStack, *arguments: str, **more: str) -> Result:
    return consumer("bench", *arguments, env={**stack.stack.env, **more})


def left(stack: ThreadedStack) -> str:
    tables = ("workflow_workers", "workflow_generation_jobs", "workflow_job_events")
    return stack.psql("select " + ", ".join(f"(select count(*) from public.{table})" for table in tables))


def test_everything_is_measured_and_nothing_is_left_behind(stack: ThreadedStack) -> None:
    assert stack.instant is not None
    stack.instant.loaded = {"qwen2.5:7b"}
    done = bench(stack, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    for name, least in (("rpc", 2), ("event", 10)):
        assert found[name]["times"] >= least
        assert 0 < found[name]["median_ms"] <= found[name]["p99_ms"]
    loaded = {name: speed["was_loaded"] for name, speed in found["models"].items()}
    assert loaded == {"mistral:7b": False, "qwen2.5:7b": True}
    for speed in found["models"].values():
        assert (speed["load_ms"] > 0, speed["output_tokens"], speed["tokens_per_second"]) == (True, 2, 2e6)
    assert left(stack) == "0|0|0"
    assert stack.instant.loaded == {"qwen2.5:7b"}


def test_what_is_away_is_named_and_the_rest_is_shown(stack: ThreadedStack) -> None:
    done = bench(stack, OLLAMA_LOCAL_URL="http://127.0.0.1:9")
    assert done.exit_code == EX_UNAVAILABLE
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [["call", "of"], ["heartbeat", "to"]]
    assert [line.split(":")[:2] for line in done.stderr.splitlines()] == [
        ["consumer", " model mistral"], ["consumer", " model qwen2.5"],
    ]  # fmt: skip
    assert "Is it on http://127.0.0.1:9?" in done.stderr


def test_without_events_the_rest_is_shown_and_no_worker_stays(stack: ThreadedStack) -> None:
    stack.psql("alter publication supabase_realtime drop table public.workflow_workers", user="supabase_admin")
    try:
        done = bench(stack, "--json")
    finally:
        stack.psql("alter publication supabase_realtime add table public.workflow_workers", user="supabase_admin")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["event"]) == (EX_UNAVAILABLE, None)
    assert found["rpc"]["times"] >= 2
    assert done.stderr.startswith("consumer: Realtime: ")
    assert left(stack) == "0|0|0"
