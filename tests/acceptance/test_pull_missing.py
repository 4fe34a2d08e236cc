"""`consumer run --pull-missing`: real processes and the embedded model server, which is to pull a model first."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from devstack.model import Fault, Faults, ModelServer
from tests.notified import manager
from tests.processes import Process, environment, run_consumer, running
from tests.stacks import ThreadedStack, threaded_stack

EX_UNAVAILABLE, EX_CONFIG = 69, 78
MISTRAL, QWEN = "mistral:7b", "qwen2.5:7b"
READY = "ready: waiting for jobs"


@dataclass
class Place:
    """A project, and a model server that has one of the two models and can pull both."""

    stack: ThreadedStack
    model: ModelServer

    @property
    def env(self) -> dict[str, str]:
        return self.stack.stack.env | {"OLLAMA_LOCAL_URL": self.model.url}

    @property
    def served(self) -> set[str]:
        listed = httpx.get(f"{self.model.url}/api/tags").json()["models"]
        return {entry["name"] for entry in listed}


@pytest.fixture(scope="module")
def project() -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True) as stack:
        yield stack


@pytest.fixture
def place(project: ThreadedStack) -> Iterator[Place]:
    model = ModelServer(names=(QWEN,), pullable=(MISTRAL, QWEN), faults=Faults())
    project.call(model.start())
    yield Place(project, model)
    project.call(model.stop())


def one_line(process: Process) -> str:
    """What it says at the end, beside its log."""
    words = [line for line in process.lines if line.strip() and not line.startswith("{")]
    assert len(words) == 1, process.lines
    return words[0]


@pytest.mark.parametrize("how", [("--pull-missing",), ()])
def test_a_missing_model_is_pulled_and_the_worker_starts(place: Place, tmp_path: Path, how: tuple[str, ...]) -> None:
    env = place.env if how else place.env | {"PULL_MISSING": "true"}
    with running("run", *how, env=env, cwd=tmp_path) as worker:
        worker.wait_for(READY)
        assert worker.stop() == 0
    pulls = [str(line["message"]) for line in worker.logs if "pulling" in str(line["message"])]
    assert all(f"pulling '{MISTRAL}'" in line for line in pulls)
    assert "% of 98 MB" in pulls[1]
    assert "done, 98 MB" in pulls[-1]
    assert len(pulls) <= 13
    assert place.served == {MISTRAL, QWEN}


def test_without_the_flag_the_worker_names_both_ways_out(place: Place, tmp_path: Path) -> None:
    done = run_consumer("run", env=place.env, cwd=tmp_path)
    assert done.returncode == EX_CONFIG
    assert f"ollama pull {MISTRAL}" in done.stderr
    assert "--pull-missing" in done.stderr
    assert place.served == {QWEN}


def test_a_pull_that_breaks_off_is_resumed(place: Place, tmp_path: Path) -> None:
    place.model.faults.pulls.extend([Fault("drop", after=12), Fault("error", after=8, text="max retries exceeded")])
    with running("run", "--pull-missing", env=place.env, cwd=tmp_path) as worker:
        worker.wait_for("next try in")
        worker.wait_for("next try in")
        worker.wait_for(READY)
        assert worker.stop() == 0


def test_a_model_that_nobody_has_is_one_line_and_78(place: Place, tmp_path: Path) -> None:
    env = place.env | {"GENERATE_MODEL": "qwen9:1t"}
    with running("run", "--pull-missing", env=env, cwd=tmp_path) as worker:
        assert worker.wait() == EX_CONFIG
    assert "no model 'qwen9:1t'" in one_line(worker)
    assert "GENERATE_MODEL" in one_line(worker)


def test_a_model_server_that_goes_away_in_a_pull_is_one_line_and_69(place: Place, tmp_path: Path) -> None:
    place.model.faults.pulls.append(Fault("stall", after=5))
    with running("run", "--pull-missing", env=place.env, cwd=tmp_path) as worker:
        worker.wait_for(f"pulling '{MISTRAL}': 1")
        place.stack.call(place.model.stop())
        assert worker.wait() == EX_UNAVAILABLE
    assert "OLLAMA_LOCAL_URL" in one_line(worker)
    assert "goes on where it ended" in one_line(worker)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_a_pull_ends_it_with_0_and_leaves_no_row(
    place: Place, tmp_path: Path, number: signal.Signals
) -> None:
    place.model.faults.pulls.append(Fault("stall", after=5))
    with running("run", "--pull-missing", env=place.env | {"WORKER_ID": "puller"}, cwd=tmp_path) as worker:
        worker.wait_for(f"pulling '{MISTRAL}': 1")
        assert worker.stop(number) == 0
    assert "stopped before it had begun" in str(worker.logs[-1]["message"])
    assert not any("Traceback" in line for line in worker.lines)
    assert place.stack.psql("select count(*) from public.workflow_workers where worker_id = 'puller'") == "0"
    assert place.served == {QWEN}


def test_systemd_is_told_to_wait_for_the_pull(place: Place, tmp_path: Path) -> None:
    with manager(tmp_path) as systemd, running(
        "run", "--pull-missing", env=place.env | systemd.env, cwd=tmp_path
    ) as worker:  # fmt: skip
        systemd.wait_for("READY=1")
        assert worker.stop() == 0
    pulls = [words for words in systemd.heard if "STATUS=pulling" in words]
    assert all(words.startswith("EXTEND_TIMEOUT_USEC=720000000\n") for words in pulls)
    assert f"STATUS=pulling {MISTRAL}: " in pulls[0]


def test_on_a_terminal_there_is_a_bar(place: Place, tmp_path: Path) -> None:
    place.model.faults.pull_delay = 0.02
    ours, theirs = pty.openpty()
    env = environment(place.env | {"LOG_FORMAT": "auto", "TERM": "xterm-256color", "COLUMNS": "120"})
    command = [sys.executable, "-m", "consumer", "run", "--pull-missing"]
    worker = subprocess.Popen(command, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        written = read_until(ours, READY)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait()
        os.close(ours)
    assert f"pulling {MISTRAL}" in written
    assert "MB/s" in written
    assert " % of " not in written


def read_until(terminal: int, text: str) -> str:
    written = ""
    while text not in written:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, written
        written += os.read(terminal, 65_536).decode(errors="replace")
    return written
