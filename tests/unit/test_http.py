"""The HTTP face over a worker that is built but does not run: what it answers, and what its defects cost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx
import pytest
from loguru import logger

from consumer import http_server
from consumer.app import build_ollama, connected
from consumer.errors import ConfigurationError, ModelTimeout
from consumer.hosts import Place
from consumer.http import Face
from consumer.lanes import Lanes
from consumer.prometheus import Exporter
from consumer.settings import load_settings
from consumer.status import Status
from consumer.worker import Worker
from devstack.keys import Keys
from schemas.catalog import Catalog

HERE = Place("127.0.0.1", 0)
MODEL = "mistral:7b"


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Worker]:
    """With a database and a feed that have answered."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings(supabase_url="http://127.0.0.1:9", supabase_service_role_key=Keys.fresh().secret)
    ollama = build_ollama(settings)
    async with connected(settings) as store:
        built = Worker(settings, store, ollama, {}, Catalog.load(), Exporter())
        built.heartbeat.healthy = built.announcer.started = True
        yield built
    await ollama.aclose()


@asynccontextmanager
async def asked(worker: Worker, status: Status | None = None) -> AsyncIterator[httpx.AsyncClient]:
    face = Face(HERE, None)
    serving = face.serving(status or worker.status, worker._store, Catalog.load())
    async with serving, httpx.AsyncClient(base_url=f"http://{face.place}", trust_env=False) as client:
        yield client


async def test_a_slow_model_is_a_warning_in_a_healthy_answer(worker: Worker) -> None:
    for tokens_per_second in (30.0, 30.0, 1.5, 1.5):
        worker.speeds[MODEL].saw(100, tokens_per_second)
    async with asked(worker) as client:
        answer = await client.get("/health")
        metrics = (await client.get("/metrics")).text
    (warning,) = answer.json()["warnings"]
    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    assert warning.startswith("'mistral:7b' writes 1.5 tokens/s, usual are 30.0: has the server lost its GPU?")
    assert f'workflow_consumer_model_slow{{model="{MODEL}"}} 1.0' in metrics
    assert 'workflow_consumer_model_slow{model="qwen2.5:7b"} 0.0' in metrics


async def test_a_model_server_that_is_looked_into_is_a_warning_until_the_verdict(worker: Worker) -> None:
    worker.recovery.report(MODEL, ModelTimeout("first_token", 60))
    found = worker.status.health()
    assert (found.status, found.as_json()["model_server"]["state"]) == ("healthy", "suspect")
    assert found.warnings == ("looking into the model server: the model call passed its first-token clock of 60 s",)


async def test_until_the_worker_has_said_how_it_is_it_is_not_ready(worker: Worker) -> None:
    worker.announcer.started = False
    async with asked(worker) as client:
        answer, health = await client.get("/readyz"), await client.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "not ready", "reason": "starting"})
    assert (health.status_code, health.json()["status"]) == (503, "degraded")


async def test_without_realtime_the_worker_is_degraded_but_takes_jobs(worker: Worker) -> None:
    worker.announcer.degraded = "the server answered HTTP 503"
    async with asked(worker) as client:
        health, ready = await client.get("/health"), await client.get("/readyz")
    assert (health.status_code, health.json()["status"], ready.status_code) == (503, "degraded", 200)
    (reason,) = health.json()["reasons"]
    assert reason.startswith("realtime: jobs are found by heartbeat only (the server answered HTTP 503). ")
    assert "consumer doctor" in reason


async def test_a_defect_is_logged_and_never_told(worker: Worker) -> None:
    said: list[str] = []
    sink = logger.add(lambda line: said.append(str(line)), diagnose=False)
    async with asked(worker, replace(worker.status, lanes=cast(Lanes, "broken"))) as client:
        answers = [await client.get(path) for path in ("/health", "/metrics")]
        assert (await client.get("/readyz")).status_code == 200
    logger.remove(sink)
    assert [(answer.status_code, answer.text) for answer in answers] == [
        (500, '{"error":"A defect of the worker. See its log."}')
    ] * 2
    assert sum("a defect of the HTTP face" in line for line in said) == 2


async def test_the_worker_goes_on_when_its_http_face_breaks(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: object) -> None:
        raise RuntimeError

    said: list[str] = []
    sink = logger.add(lambda line: said.append(str(line)))
    monkeypatch.setattr(http_server.Server, "main_loop", broken)
    async with Face(HERE, None).serving(worker.status, worker._store, Catalog.load()):
        pass
    logger.remove(sink)
    assert any("the worker goes on without it" in line for line in said)


async def test_a_client_that_never_ends_its_request_loses_its_connection(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "LONGEST_CONNECTION", 0.1)
    async with asked(worker) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: local")
        with pytest.raises(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
            raise ConnectionResetError  # closed without an answer: as good
        writer.close()


async def test_every_answer_ends_its_connection_and_is_kept_by_nobody(worker: Worker) -> None:
    async with asked(worker) as client:
        for path in ("/healthz", "/nonsense"):
            headers = (await client.get(path)).headers
            assert (headers["connection"], headers["cache-control"]) == ("close", "no-store")
            assert headers.get_list("date")[1:] == []
            assert "server" not in headers


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_that_others_reach_is_not_taken_without_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^WORKER_API_TOKEN: is not set, but other machines can reach"):
        Face(Place(host, 0), None)


def test_it_is_the_address_that_counts_and_not_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: elsewhere)
    with pytest.raises(ConfigurationError, match="other machines can reach"):
        Face(Place("localhost", 0), None)


def test_a_name_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConfigurationError, match=r"worker.example:1 \(Name or service not known\)\. Choose an address"):
        Face(Place("worker.example", 1), None)
