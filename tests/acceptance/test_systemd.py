"""The worker as a service of systemd, from systemd's side: a real socket, real processes, the words in their order.

Without Realtime: test_realtime_trouble.py; while models are pulled: test_pull_missing.py.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from consumer.faults import FaultPoint
from tests.acceptance.conftest import hold, release, streaming
from tests.conftest import ROOT
from tests.crashing import QUIET, Fault, started
from tests.debian import program
from tests.jailed import UNABLE
from tests.notified import Manager, manager
from tests.processes import environment, running
from tests.stacks import ThreadedStack
from tests.waiting import eventually

# Microseconds; a third of it lies between two words.
WATCHDOG = {"WATCHDOG_USEC": "300000"}
# Seconds, many times that third.
SILENCE = 1.5


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Manager]:
    with manager(tmp_path) as listening:
        yield listening


def news(systemd: Manager) -> str:
    """The next datagram that is more than a request for time, which a slow machine makes come more often."""
    while systemd.next().startswith("EXTEND_TIMEOUT_USEC="):
        pass
    return systemd.heard[-1]


def test_a_whole_life_is_told_in_order(stack: ThreadedStack, systemd: Manager, tmp_path: Path) -> None:
    stack.call(hold(stack))
    with running("run", env={**stack.stack.env, **systemd.env}, cwd=tmp_path) as worker:
        assert news(systemd) == "STATUS=starting: checking the database and the models"
        assert news(systemd).startswith("STATUS=starting: waiting for Realtime\nEXTEND_TIMEOUT_USEC=")
        assert news(systemd) == "READY=1\nSTATUS=ready, waiting for jobs"
        stack.submit("held ")
        assert news(systemd) == "STATUS=ready, 1 job(s) in work"
        stack.call(streaming(stack))
        worker.process.send_signal(signal.SIGTERM)
        assert news(systemd) == "STOPPING=1"
        assert news(systemd) == "STATUS=stopping, 1 job(s) in work"
        stack.call(release(stack))
        assert news(systemd) == "STATUS=stopping, 0 job(s) in work"
        assert worker.wait() == 0


def test_a_drain_asks_for_more_time_as_long_as_it_lasts(stack: ThreadedStack, systemd: Manager, tmp_path: Path) -> None:
    stack.call(hold(stack))
    env = {**stack.stack.env, **systemd.env, **WATCHDOG, "SHUTDOWN_GRACE": "600"}
    with running("run", env=env, cwd=tmp_path) as worker:
        systemd.wait_for("READY=1")
        stack.submit("held ")
        stack.call(streaming(stack))
        assert systemd.wait_for("WATCHDOG=1") == "WATCHDOG=1"
        worker.process.send_signal(signal.SIGTERM)
        systemd.wait_for("STOPPING=1")
        asked = [systemd.wait_for("EXTEND_TIMEOUT_USEC=") for _ in range(3)]
        assert all("WATCHDOG=1" in words for words in asked)
        (seconds,) = {int(found[1]) / 1e6 for words in asked if (found := re.search(r"USEC=(\d+)", words))}
        assert seconds > 20  # the last writes and the last words take so long at most (consumer/worker.py)
        stack.call(release(stack))
        assert worker.wait() == 0


def test_a_stopped_process_feeds_no_watchdog(stack: ThreadedStack, systemd: Manager, tmp_path: Path) -> None:
    with running("run", env={**stack.stack.env, **systemd.env, **WATCHDOG}, cwd=tmp_path) as worker:
        systemd.wait_for("READY=1")
        for _ in range(3):
            systemd.wait_for("WATCHDOG=1")
        worker.process.send_signal(signal.SIGSTOP)
        assert systemd.is_silent(SILENCE)
        worker.process.send_signal(signal.SIGCONT)
        systemd.wait_for("WATCHDOG=1")
        assert worker.stop() == 0


def test_a_blocked_event_loop_feeds_no_watchdog(stack: ThreadedStack, systemd: Manager, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    fault = Fault(FaultPoint.CLAIMED, "block", gate=gate)
    with started({**stack.stack.env, **QUIET, **systemd.env, **WATCHDOG}, tmp_path, fault) as worker:
        systemd.wait_for("READY=1")
        systemd.wait_for("WATCHDOG=1")
        stack.submit("blocks ")
        worker.wait_for("springs")
        assert systemd.is_silent(SILENCE)
        gate.touch()
        systemd.wait_for("WATCHDOG=1")
        eventually("the job is done all the same", lambda: stack.statuses() == {"completed": 1})


def test_without_a_watchdog_a_ready_worker_says_nothing_but_news(
    stack: ThreadedStack, systemd: Manager, tmp_path: Path
) -> None:
    env = {**stack.stack.env, **systemd.env, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}
    with running("run", env=env, cwd=tmp_path) as worker:
        systemd.wait_for("READY=1")
        assert systemd.is_silent(SILENCE)
        assert worker.stop() == 0


def test_it_works_within_what_the_unit_allows(stack: ThreadedStack, tmp_path: Path) -> None:
    program("systemd-analyze")
    unit = ROOT / "deploy" / "workflow-consumer.service"
    worker = [sys.executable, "-m", "consumer", "run", "--http", "127.0.0.1:0"]
    command = [sys.executable, "-m", "tests.jailed", str(unit), *worker]
    said = tmp_path / "said"
    with said.open("wb") as file, subprocess.Popen(command, env=environment(stack.stack.env), stderr=file) as jailed:
        try:
            eventually(
                "it is ready", lambda: "ready: waiting for jobs" in said.read_text() or jailed.poll() is not None
            )
            if jailed.returncode == UNABLE:
                pytest.skip("this kernel or its headers cannot lock a process up as systemd does")
            stack.submit("locked up ")
            eventually("the job is done", lambda: stack.statuses() == {"completed": 1})
            (port,) = re.findall(r"answering on (http://[^\"]+)", said.read_text())
            assert [httpx.get(port + path, trust_env=False).status_code for path in ("/health", "/metrics")] == [
                200
            ] * 2
            jailed.terminate()
            assert jailed.wait(60) == 0, said.read_text()
        finally:
            jailed.kill()
