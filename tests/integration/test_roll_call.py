"""`consumer health`: each worker as its own `/health` would say it, by its address or by its row."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result

from tests.commands import consumer, settings_are
from tests.processes import running
from tests.stacks import ThreadedStack, threaded_stack
from tests.waiting import eventually

EX_UNAVAILABLE, EX_CONFIG = 69, 78
WORKERS = "public.workflow_workers"
TOKEN = "not-a-secret-0123456789"
WELL = {"health": {"status": "healthy", "reasons": [], "warnings": []}, "heartbeat_seconds": 30}


@pytest.fixture(scope="module")
def project() -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True) as stack:
        yield stack


@pytest.fixture(autouse=True)
def settings(project: ThreadedStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The project's, and no worker."""
    settings_are(monkeypatch, tmp_path, project.stack.env)
    project.psql(f"delete from {WORKERS}", user="supabase_admin")


def health(*options: str) -> Result:
    return consumer("health", *options)


def row(project: ThreadedStack, name: str, info: dict[str, object], seen: str = "0 s") -> None:
    project.psql(
        f"insert into {WORKERS} (worker_id, version, last_seen_at, info) "
        f"values ('{name}', '0.0.9', now() - interval '{seen}', '{json.dumps(info)}')"
    )


def test_without_a_worker_the_way_to_one_is_named() -> None:
    done = health()
    assert (done.exit_code, done.stdout) == (EX_UNAVAILABLE, "")
    assert done.stderr == "consumer: health: no worker is running. Start one: consumer run\n"
    assert json.loads(health("--json").stdout) == {"workers": []}


def test_each_worker_is_told_by_its_row_and_one_that_is_not_well_by_its_reasons(project: ThreadedStack) -> None:
    row(project, "well", WELL)
    assert (health().exit_code, health().stdout) == (0, "healthy    well\n")
    row(project, "sick", {"health": {"status": "degraded", "reasons": ["realtime: gone. Mend it"], "warnings": ["hm"]}})
    row(project, "old", {})
    row(project, "gone", WELL, "91 s")
    row(project, "slow", {**WELL, "heartbeat_seconds": 300}, "800 s")
    row(project, "doctor", {})
    project.psql(f"update {WORKERS} set realtime = 'doctor' where worker_id = 'doctor'", user="supabase_admin")
    done = health()
    assert done.exit_code == EX_UNAVAILABLE
    assert "not healthy: gone, old, sick." in done.stderr
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines if not line.startswith(" ")] == [
        ["unhealthy", "gone"], ["degraded", "old"], ["degraded", "sick"], ["healthy", "slow"], ["healthy", "well"],
    ]  # fmt: skip
    assert "  reason   not seen for 9" in done.stdout
    assert "  reason   version 0.0.9 does not say how it is. Upgrade it" in lines
    assert lines[lines.index("degraded   sick") + 1 :][:2] == ["  reason   realtime: gone. Mend it", "  warning  hm"]


@contextmanager
def listening(project: ThreadedStack, tmp_path: Path) -> Iterator[str]:
    env = {**project.stack.env, "WORKER_ID": "it-1", "WORKER_API_TOKEN": TOKEN, "HEARTBEAT_SECONDS": "1"}
    with running("run", "--http", "127.0.0.1:0", env=env, cwd=tmp_path) as process:
        url = process.address()
        process.wait_for("ready: waiting for jobs")
        yield url


def test_a_running_worker_says_the_same_by_its_address_and_by_its_row(
    project: ThreadedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    well = {"worker_id": "it-1", "status": "healthy", "reasons": [], "warnings": []}
    with listening(project, tmp_path) as url:
        refused = health("--url", url)
        assert refused.exit_code == EX_CONFIG
        assert refused.stderr.startswith("consumer: WORKER_API_TOKEN: the worker at http")
        monkeypatch.setenv("WORKER_API_TOKEN", TOKEN)
        eventually("it is well", lambda: health("--url", url).exit_code == 0)
        assert json.loads(health("--json", "--url", url).stdout) == {"workers": [well]}
        eventually("its row says so", lambda: health().exit_code == 0)
        assert json.loads(health("--json").stdout) == {"workers": [well]}
        project.stack.realtime.come_back()
        project.call(project.stack.realtime.go_away())
        try:
            eventually("it is not well", lambda: health("--url", url).exit_code == EX_UNAVAILABLE)
            eventually("its row says so", lambda: health().exit_code == EX_UNAVAILABLE)
            by_address, by_row = health("--json", "--url", url), health("--json")
        finally:
            project.stack.realtime.come_back()
    assert json.loads(by_address.stdout) == json.loads(by_row.stdout)
    assert "HTTP 503" in json.loads(by_row.stdout)["workers"][0]["reasons"][0]


def test_where_nobody_listens_the_rows_are_looked_at(project: ThreadedStack, monkeypatch: pytest.MonkeyPatch) -> None:
    row(project, "well", WELL)
    monkeypatch.setenv("HTTP_LISTEN", "127.0.0.1:9")
    done = health()
    assert (done.exit_code, done.stdout) == (0, "healthy    well\n")
    assert done.stderr == "consumer: no worker answers at 127.0.0.1:9; looking at their rows\n"


def test_an_address_without_a_worker_is_named(project: ThreadedStack) -> None:
    for url, words in (
        ("http://127.0.0.1:9", "no worker answers at http://127.0.0.1:9"),
        ("nonsense", "no worker answers at nonsense"),
        (project.stack.ollama_url, "is no worker. Give the address of its --http"),
    ):
        done = health("--url", url)
        assert done.exit_code == EX_UNAVAILABLE
        (line,) = done.stderr.splitlines()
        assert words in line


async def test_one_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.roll_call.SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        done = await asyncio.to_thread(health, "--url", f"http://127.0.0.1:{mute.getsockname()[1]}")
    assert done.exit_code == EX_UNAVAILABLE
    assert "no worker answers" in done.stderr
