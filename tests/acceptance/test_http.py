"""The worker's HTTP face from outside: a real process that was asked to listen, asked by a real client."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import hold, release, streaming
from tests.processes import Process, run_consumer, running, running_worker
from tests.stacks import ThreadedStack
from tests.waiting import eventually

EX_CONFIG = 78
TOKEN = "not-a-secret-0123456789"
JOBS = "public.workflow_generation_jobs"
PATHS = ("/healthz", "/readyz", "/health", "/metrics")


@contextmanager
def listening(
    stack: ThreadedStack, tmp_path: Path, *options: str, **more: str
) -> Iterator[tuple[Process, httpx.Client]]:
    """A worker that has said that it is ready, and a client of its HTTP face."""
    with running("run", *(options or ("--http", "127.0.0.1:0")), env={**stack.stack.env, **more}, cwd=tmp_path) as it:
        url = it.address()
        it.wait_for("ready: waiting for jobs")
        with httpx.Client(base_url=url, trust_env=False) as client:
            eventually("it is healthy", lambda: client.get("/readyz").status_code == 200)
            yield it, client


class Figures:
    """What /metrics says: `of` gives a sample by its name, without the prefix, and its labels."""

    def __init__(self, client: httpx.Client) -> None:
        answer = client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = text_string_to_metric_families(answer.text)
        self.samples = [sample for family in families for sample in family.samples]
        assert all(sample.name.startswith(("workflow_consumer_", "process_")) for sample in self.samples)

    def of(self, name: str, **labels: str) -> float:
        (value,) = [
            sample.value
            for sample in self.samples
            if sample.name == f"workflow_consumer_{name}" and sample.labels == labels
        ]
        return value


@contextmanager
def model_server_away(stack: ThreadedStack) -> Iterator[None]:
    """Stopped; started again on the same port."""
    assert stack.instant is not None
    stack.call(stack.instant.__aexit__(None, None, None))
    try:
        yield
    finally:
        stack.call(stack.instant.__aenter__())


@contextmanager
def gateway_away(stack: ThreadedStack) -> Iterator[None]:
    """The same for the way to the database."""
    stack.call(stack.stack.gateway.stop())
    try:
        yield
    finally:
        stack.call(stack.stack.gateway.start())


def test_a_worker_that_works_says_so(stack: ThreadedStack, tmp_path: Path) -> None:
    with listening(stack, tmp_path, WORKER_ID="it-1") as (_, client):
        answer = client.get("/health")
        said = answer.json()
        assert answer.status_code == 200
        assert (said["status"], said["worker_id"], said["ollama_url"], said["redis_available"]) == (
            "healthy", "it-1", stack.stack.env["OLLAMA_LOCAL_URL"], False,
        )  # fmt: skip
        assert (said["reasons"], said["warnings"], said["draining"]) == ([], [], False)
        assert all(said[part]["ok"] for part in ("database", "realtime", "model_server"))
        assert (said["slots"], set(said["models"])) == (
            {"concurrency": 1, "in_work": 0},
            {"mistral:7b", "qwen2.5:7b"},
        )
        assert client.get("/healthz").json() == {"status": "alive"}
        assert client.head("/health").status_code == 200
        assert stack.stack.keys.secret not in answer.text


def test_a_finished_jobs_figures_are_those_of_its_row(stack: ThreadedStack, tmp_path: Path) -> None:
    with listening(stack, tmp_path) as (worker, client):
        stack.submit("tell me when the form is sent ")
        worker.wait_for("job completed")
        eventually("it is counted", lambda: "jobs_settled_total{" in client.get("/metrics").text)
        found = Figures(client)
        row = json.loads(stack.psql(f"select observability from {JOBS}"))
    for step, of_step in row["phases"].items():
        call = {"model": of_step["model"], "step": step}
        for name in ("load", "queue", "prompt", "inference"):
            of_row = of_step["model_load_time_ms" if name == "load" else f"{name}_time_ms"]
            assert found.of(f"model_{name}_seconds_count", **call) == 1
            assert found.of(f"model_{name}_seconds_sum", **call) == pytest.approx(of_row / 1000)
        first_token = found.of("model_first_token_seconds_sum", **call)
        assert first_token == pytest.approx(of_step["time_to_first_token_ms"] / 1000)
        for name in ("input_tokens", "output_tokens"):
            assert found.of(f"{name}_total", **call) == of_step[name] > 0
        assert found.of("lane_turns_total", model=of_step["model"]) == 1
    assert len(row["phases"]) == 2
    assert found.of("jobs_settled_total", outcome="completed", code="") == 1
    assert found.of("model_changes_total") == 1
    assert (found.of("jobs_in_work"), found.of("circuit_open"), found.of("realtime_ready")) == (0, 0, 1)


def test_a_model_server_that_is_away_is_named_with_what_to_do_until_it_is_back(
    stack: ThreadedStack, tmp_path: Path
) -> None:
    with listening(stack, tmp_path) as (worker, client):
        with model_server_away(stack):
            stack.submit("early ")
            worker.wait_for("circuit open")
            answer = client.get("/health")
            said = answer.json()
            (reason,) = said["reasons"]
            assert (answer.status_code, said["status"], said["model_server"]["state"]) == (503, "degraded", "given up")
            assert "'mistral:7b'" in reason
            assert "start it or set OLLAMA_LOCAL_URL" in reason
            assert said["model_server"]["trouble"]["model"] == "mistral:7b"
            assert client.get("/readyz").json() == {"status": "not ready", "reason": "model server"}
            found = Figures(client)
            failure = {"model": "mistral:7b", "step": "analyze", "code": "MODEL_UNAVAILABLE", "clock": ""}
            assert (found.of("circuit_open"), found.of("model_call_failures_total", **failure)) == (1, 1)
        eventually("it is healthy again", lambda: client.get("/health").json()["status"] == "healthy")
        eventually("the job is done", lambda: stack.statuses() == {"completed": 1})
        after = Figures(client)
        assert (after.of("circuit_open"), after.of("jobs_settled_total", outcome="released", code="")) == (0, 1)


def test_a_database_that_is_away_is_unhealthy_and_so_is_the_feed_named(stack: ThreadedStack, tmp_path: Path) -> None:
    with listening(stack, tmp_path, HEARTBEAT_SECONDS="1") as (worker, client):
        with gateway_away(stack):
            worker.wait_for("degraded: no Realtime")
            eventually("the heartbeat has failed", lambda: client.get("/health").json()["status"] == "unhealthy")
            said = client.get("/health").json()
            assert (said["database"]["ok"], said["realtime"]["ok"], len(said["reasons"])) == (False, False, 2)
            assert stack.stack.url in said["reasons"][0]
            assert client.get("/readyz").json()["reason"] == "database"
        eventually("it is healthy again", lambda: client.get("/health").status_code == 200)


def test_draining_is_visible_until_the_end(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.call(hold(stack))
    with listening(stack, tmp_path) as (worker, client):
        stack.submit("held ")
        stack.call(streaming(stack))
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_for("stopping: no more claims")
        assert client.get("/readyz").json() == {"status": "not ready", "reason": "stopping"}
        said = client.get("/health").json()
        assert (said["draining"], said["slots"]["in_work"]) == (True, 1)
        stack.call(release(stack))
        assert worker.wait() == 0
        with pytest.raises(httpx.ConnectError):
            client.get("/healthz")


def test_with_a_token_only_who_knows_it_sees_more_than_alive_and_ready(stack: ThreadedStack, tmp_path: Path) -> None:
    with listening(stack, tmp_path, "--http", "0.0.0.0:0", WORKER_API_TOKEN=TOKEN) as (worker, client):
        client.base_url = f"http://127.0.0.1:{client.base_url.port}"
        for path in (*PATHS[2:], "/nonsense", "/docs"):
            for given in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"}):
                answer = client.get(path, headers=given)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
                assert "WORKER_API_TOKEN" in answer.json()["error"]
        assert [client.get(path).status_code for path in PATHS[:2]] == [200, 200]
        known = {"Authorization": f"Bearer {TOKEN}"}
        assert [client.get(path, headers=known).status_code for path in PATHS] == [200] * 4
        assert client.get("/nonsense", headers=known).json() == {"error": "Not Found"}
        assert worker.stop() == 0
        assert TOKEN not in "\n".join(worker.lines)


def test_a_name_that_only_points_here_is_refused_on_loopback(stack: ThreadedStack, tmp_path: Path) -> None:
    with listening(stack, tmp_path) as (_, client):
        port = client.base_url.port
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", "worker.localhost", "[::1]:1"):
            assert client.get("/health", headers={"Host": host}).status_code == 200
        for host in ("evil.example", f"127.0.0.1.evil.example:{port}", "localhost.evil.example", "0.0.0.0", ""):
            assert [client.get(path, headers={"Host": host}).status_code for path in PATHS] == [403] * 4


def test_a_request_with_a_body_without_end_is_answered_and_left(stack: ThreadedStack, tmp_path: Path) -> None:
    with listening(stack, tmp_path) as (_, client):
        address = (client.base_url.host, client.base_url.port or 0)
        with socket.create_connection(address, timeout=30) as raw:
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\nx")
            answer = b""
            while data := raw.recv(65_536):
                answer += data
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert client.post("/healthz", content=b"x").status_code == 405


def test_off_by_default_no_port_is_open_and_nothing_of_it_is_loaded(stack: ThreadedStack, tmp_path: Path) -> None:
    with running_worker(stack.stack.env, tmp_path) as worker:
        it = psutil.Process(worker.process.pid)
        assert [each for each in it.net_connections() if each.status == psutil.CONN_LISTEN] == []
    code = "import sys, consumer.app, consumer.cli; print({'fastapi', 'uvicorn', 'prometheus_client'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_without_its_packages_the_way_to_them_is_named(stack: ThreadedStack, tmp_path: Path) -> None:
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError(\"No module named 'fastapi'\")")
    env = {**stack.stack.env, "PYTHONPATH": str(tmp_path)}
    done = run_consumer("run", "--http", "127.0.0.1:0", env=env, cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, 'pip install "workflow-consumer[http]"' in line) == (EX_CONFIG, True), line
    with running_worker(env, tmp_path) as worker:
        assert worker.stop() == 0
