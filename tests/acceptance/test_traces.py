"""Traces from outside: a real worker sends them to a real OTLP receiver, or to nobody."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from tests.acceptance.conftest import hold, release, streaming
from tests.collector import Collector, Seen, collector
from tests.commands import consumer, settings_are
from tests.engine import GENERATE, ScriptedModel
from tests.processes import Process, run_consumer, running_worker
from tests.stacks import ThreadedStack, threaded_stack
from tests.waiting import eventually

EX_CONFIG = 78
JOBS = "public.workflow_generation_jobs"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SECRET_WORDS = ("SECRETPROMPT", "SECRETCONFIG")
ANALYSIS = ["attempt", "claim", "analyze", "chat mistral:7b"]
ATTEMPT = [*ANALYSIS, "workflow_generation", "chat qwen2.5:7b", "validation", "settle"]
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


@pytest.fixture(scope="module")
def module_model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture(scope="module")
def instant_stack(module_model: ScriptedModel) -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True, model=module_model) as stack:
        yield stack


@contextmanager
def traced(stack: ThreadedStack, tmp_path: Path, **more: str) -> Iterator[tuple[Process, Collector]]:
    with collector() as kept:
        env = {**stack.stack.env, "OTEL_EXPORTER_OTLP_ENDPOINT": kept.url, **QUICK, **more}
        with running_worker(env, tmp_path) as worker:
            yield worker, kept


def inserted(stack: ThreadedStack, **columns: str) -> str:
    row = {"prompt": f"log it {SECRET_WORDS[0]}", "config": json.dumps({"url": SECRET_WORDS[1]}), **columns}
    values = ", ".join(f"'{value}'" for value in row.values())
    return stack.psql(f"insert into {JOBS} ({', '.join(row)}) values ({values}) returning id").splitlines()[0]


def named(spans: list[Seen], name: str) -> Seen:
    (found,) = [span for span in spans if span.name == name]
    return found


def assert_current(names: set[str]) -> None:
    """They are names of the installed semantic conventions, and none that was replaced."""
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    replaced = {"gen_ai.system", "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"}
    assert len(names) >= 10
    assert names <= known - replaced


def test_a_job_is_one_trace_from_its_traceparent_with_the_figures_of_its_row(
    stack: ThreadedStack, tmp_path: Path
) -> None:
    with traced(stack, tmp_path, WORKER_ID="tracer-1", OTEL_SERVICE_NAME="workflows") as (worker, kept):
        job_id = inserted(stack, traceparent=TRACEPARENT)
        spans = kept.of(job_id)
        lines = [line for line in worker.logs if line.get("job") == job_id]
        row = json.loads(stack.psql(f"select to_jsonb(j) from {JOBS} j"))
        assert worker.stop() == 0
    assert sorted(span.name for span in spans) == sorted(ATTEMPT)
    by_id = {span.span_id: span for span in spans}
    attempt = named(spans, "attempt")
    assert (attempt.trace_id, attempt.parent_id, attempt.error) == (TRACE, PARENT, None)
    under = {span.name: by_id[span.parent_id].name for span in spans if span is not attempt}
    assert under == dict.fromkeys(ATTEMPT[1:], "attempt") | {
        "chat mistral:7b": "analyze", "chat qwen2.5:7b": "workflow_generation",
    }  # fmt: skip
    for span in spans:
        assert attempt.start <= span.start <= span.end <= attempt.end
    assert "renewed" in attempt.events
    assert attempt.attributes["workflow_consumer.outcome"] == "completed"
    claim = named(spans, "claim").attributes
    assert claim["workflow_consumer.doorbell"] == row["observability"]["doorbell"]
    assert claim["workflow_consumer.pickup_seconds"] >= 0
    for step, figures in row["observability"]["phases"].items():
        call = named(spans, f"chat {figures['model']}").attributes
        assert call["workflow_consumer.step"] == step
        assert (call["gen_ai.operation.name"], call["gen_ai.provider.name"]) == ("chat", "ollama")
        assert (call["gen_ai.request.model"], call["gen_ai.response.model"]) == (figures["model"], figures["model"])
        assert call["gen_ai.usage.input_tokens"] == figures["input_tokens"]
        assert call["gen_ai.usage.output_tokens"] == figures["output_tokens"] > 0
        assert call["gen_ai.response.finish_reasons"] == ["stop"]
        assert call["gen_ai.response.time_to_first_chunk"] == pytest.approx(figures["time_to_first_token_ms"] / 1000)
    assert_current({key for span in spans for key in span.attributes if key.startswith("gen_ai.")})
    assert {line["trace_id"] for line in lines} == {TRACE}
    (resource, *_) = kept.resources
    assert (resource["service.name"], resource["service.instance.id"]) == ("workflows", "tracer-1")
    sent = b"".join(kept.bodies)
    assert [word for word in (*SECRET_WORDS, stack.stack.keys.secret) if word.encode() in sent] == []


def test_all_attempts_of_a_job_without_a_traceparent_are_in_one_trace_and_failures_are_named(
    stack: ThreadedStack, module_model: ScriptedModel, tmp_path: Path
) -> None:
    module_model.texts[GENERATE] = ["no json at all"]
    with traced(stack, tmp_path, RETRY_DELAY_BASE="0.01") as (_, kept):
        job_id = inserted(stack)
        spans = kept.of(job_id, attempts=2)
        eventually("it is completed", lambda: stack.statuses() == {"completed": 1})
    attempts = [span for span in spans if span.name == "attempt"]
    assert [span.error for span in attempts] == ["OUTPUT_NOT_JSON", None]
    assert [span.attributes["workflow_consumer.attempt"] for span in attempts] == [1, 2]
    assert {span.parent_id for span in attempts} == {""}
    assert len({span.trace_id for span in spans}) == 1
    failed = [span for span in spans if span.error]
    assert {span.attributes["error.type"] for span in failed} == {"OUTPUT_NOT_JSON"}
    assert "settle" in {span.name for span in failed}
    unusable = [span.name for span in spans if "answer is unusable" in span.events]
    assert unusable == ["workflow_generation"]


def test_an_invalid_traceparent_is_ignored_and_one_that_samples_nothing_obeyed(
    stack: ThreadedStack, tmp_path: Path
) -> None:
    with traced(stack, tmp_path) as (worker, kept):
        unsampled = inserted(stack, traceparent=f"00-{TRACE}-{PARENT}-00")
        for invalid in (f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01"):
            attempt = named(kept.of(inserted(stack, traceparent=invalid)), "attempt")
            assert attempt.parent_id == ""
            assert attempt.trace_id not in (TRACE, "0" * 32)
        assert worker.stop() == 0
    assert stack.statuses() == {"completed": 4}
    assert [span for span in kept.spans if span.trace_id == TRACE] == []
    assert [line for line in worker.logs if line.get("job") == unsampled and "trace_id" in line] == []


def test_a_job_in_the_middle_of_a_call_is_sent_whole_when_the_worker_stops(
    stack: ThreadedStack, tmp_path: Path
) -> None:
    stack.call(hold(stack))
    with traced(stack, tmp_path, SHUTDOWN_GRACE="0", OTEL_BSP_SCHEDULE_DELAY="3600000") as (worker, kept):
        job_id = inserted(stack)
        stack.call(streaming(stack))
        assert worker.stop() == 0
        spans = kept.of(job_id)
        stack.call(release(stack))
    assert sorted(span.name for span in spans) == sorted([*ANALYSIS, "settle"])
    assert named(spans, "attempt").attributes["workflow_consumer.outcome"] == "released"


def test_an_attempt_that_lost_its_lease_is_sent_whole_and_named_so(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.call(hold(stack))
    with traced(stack, tmp_path) as (_, kept):
        job_id = inserted(stack)
        stack.call(streaming(stack))
        stack.psql(f"update {JOBS} set attempt = attempt + 1", user="supabase_admin")
        spans = kept.of(job_id)
        stack.call(release(stack))
    assert sorted(span.name for span in spans) == sorted(ANALYSIS)
    attempt = named(spans, "attempt")
    assert (attempt.error, attempt.attributes["error.type"]) == ("LEASE_LOST", "LEASE_LOST")


def test_a_receiver_that_is_away_costs_one_warning_and_no_job(stack: ThreadedStack, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # accepts, and never answers
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        more = {"OTEL_EXPORTER_OTLP_TIMEOUT": "0.2", **QUICK, "OTEL_EXPORTER_OTLP_ENDPOINT": url}
        with running_worker({**stack.stack.env, **more}, tmp_path) as worker:
            stack.submit("one ", 3)
            worker.wait_for("traces are lost")
            stack.submit("two ", 3)
            eventually("all are completed", lambda: stack.statuses() == {"completed": 6})
            assert worker.stop() == 0
    said = [line for line in worker.logs if line["level"] in ("WARNING", "ERROR")]
    assert [line["message"] for line in said] == [
        f"traces are lost: {url}/v1/traces does not take them. Is a collector for OTLP over HTTP there?"
    ]


def test_off_by_default_nothing_of_it_is_loaded() -> None:
    code = "import sys, consumer.app, consumer.cli; print([m for m in sys.modules if 'opentelemetry' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, ["OTEL_…", "max_queue_size must be", "Correct or remove it"]),
        ({"PYTHONPATH": "blocked"}, ['pip install "workflow-consumer[otel]"']),
    ],
    ids=["no room", "not installed"],
)
def test_what_is_wrong_with_its_settings_is_named_in_one_line(
    stack: ThreadedStack, tmp_path: Path, variables: dict[str, str], words: list[str]
) -> None:
    (tmp_path / "blocked" / "opentelemetry").mkdir(parents=True)
    (tmp_path / "blocked" / "opentelemetry" / "__init__.py").write_text("raise ImportError('No module')")
    env = {**stack.stack.env, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **variables}
    if "PYTHONPATH" in env:
        env["PYTHONPATH"] = str(tmp_path / env["PYTHONPATH"])
    done = run_consumer("run", env=env, cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == EX_CONFIG, line
    assert [word for word in words if word not in line] == [], line


@pytest.mark.parametrize(
    ("given", "stored"), [(TRACEPARENT, TRACEPARENT), ("nonsense", None)], ids=["valid", "invalid"]
)
def test_submit_hands_on_the_trace_that_it_is_part_of(
    stack: ThreadedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, stored: str | None
) -> None:
    settings_are(monkeypatch, tmp_path, stack.stack.env)
    done = consumer("submit", "log it", env={"TRACEPARENT": given})
    assert re.fullmatch(r"job_\w+\n", done.stdout), done.stderr
    assert stack.psql(f"select traceparent from {JOBS}") == (stored or "")
