"""Stops and deploys: a drain keeps what it holds and waits for nobody who is away; the exit code is 0 (README).

A stop with everything in reach is in test_worker.py, one with a result that the database cannot take in
test_database_outages.py.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.instant_model import InstantModel
from tests.acceptance.conftest import hold, release
from tests.processes import running, running_worker
from tests.stacks import ThreadedStack, threaded_stack
from tests.waiting import eventually

JOBS = "public.workflow_generation_jobs"
WORKERS = "public.workflow_workers"
# The driver takes more blanks in a row for a loop (consumer/watchdog.py).
MOST_BLANKS = 60


class MurmuringModel(InstantModel):
    """While it is held it goes on writing, a blank now and then: progress that renews a lease, but no end."""

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        async with aclosing(super()._stream(body)) as lines:  # type: ignore[type-var]  # it is a generator
            first = await anext(lines)
            blank = json.loads(first) | {"message": {"role": "assistant", "content": " "}}
            for _ in range(MOST_BLANKS):
                if self.hold is None or self.hold.is_set():
                    break
                yield json.dumps(blank).encode() + b"\n"
                await asyncio.sleep(0.2)
            yield first
            async for line in lines:
                yield line


@pytest.fixture(scope="module")
def instant_stack() -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True, model=MurmuringModel()) as stack:
        yield stack


def held(stack: ThreadedStack) -> None:
    """One job is in the middle of its generation."""
    stack.call(hold(stack))
    stack.submit("held ")
    eventually("it streams", lambda: stack.instant is not None and stack.instant.open_streams == 1)


@contextmanager
def silence(stack: ThreadedStack) -> Iterator[None]:
    """Database, Realtime and model server keep their sockets open and answer nothing: their loop stands still."""
    begun, over = threading.Event(), threading.Event()

    async def stand_still() -> None:
        begun.set()
        over.wait()

    blocker = threading.Thread(target=stack.call, args=(stand_still(),))
    blocker.start()
    begun.wait()
    try:
        yield
    finally:
        over.set()
        blocker.join()


@contextmanager
def silent_server() -> Iterator[str]:
    """The URL of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_drain_that_outlasts_the_lease_keeps_the_job(stack: ThreadedStack, tmp_path: Path) -> None:
    more = {"LEASE_SECONDS": "5", "SHUTDOWN_GRACE": "600"}
    with running_worker(stack.stack.env, tmp_path, **more) as worker:
        held(stack)
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_for("stopping: no more claims")
        lease = stack.psql(f"select lease_expires_at from {JOBS}")
        with running_worker(stack.stack.env, tmp_path, **more):
            eventually("the lease it had then would be over", lambda: stack.psql(f"select now() > '{lease}'") == "t")
            assert stack.psql(f"select lease_expires_at > now(), attempt from {JOBS}") == "t|1"
            stack.call(release(stack))
            assert worker.wait() == 0
    assert stack.psql(f"select status, attempt, retry_count from {JOBS}") == "completed|1|0"


def test_a_stop_is_not_held_up_by_servers_that_answer_nothing(stack: ThreadedStack, tmp_path: Path) -> None:
    with running_worker(stack.stack.env, tmp_path, SHUTDOWN_GRACE="0") as busy:
        held(stack)
        with running_worker(stack.stack.env, tmp_path, SHUTDOWN_GRACE="0") as idle, silence(stack):
            for worker in (busy, idle):
                worker.process.send_signal(signal.SIGTERM)
            assert (idle.wait(45), busy.wait(45)) == (0, 0)
    assert any("its lease will bring the job back" in line for line in busy.lines)
    assert not any("lease" in line or "Traceback" in line for line in idle.lines)


def test_a_stop_while_the_project_is_away_ends_with_0(stack: ThreadedStack, tmp_path: Path) -> None:
    with running_worker(stack.stack.env, tmp_path) as worker:
        stack.call(stack.stack.gateway.stop())
        worker.wait_for("next try in")
        assert worker.stop() == 0
    stack.call(stack.stack.gateway.start())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_first_checks_ends_with_0_and_leaves_no_row(
    stack: ThreadedStack, tmp_path: Path, number: signal.Signals
) -> None:
    count = f"select count(*) from {WORKERS} where worker_id = 'early-bird'"
    with silent_server() as url:
        env = stack.stack.env | {"OLLAMA_LOCAL_URL": url, "WORKER_ID": "early-bird"}
        with running("run", env=env, cwd=tmp_path) as worker:
            eventually("the database knows it", lambda: stack.psql(count) == "1")
            assert worker.stop(number) == 0
    assert stack.psql(count) == "0"
    assert not any("Traceback" in line for line in worker.lines)


def test_a_stop_while_the_worker_is_still_importing_ends_with_0(stack: ThreadedStack, tmp_path: Path) -> None:
    (tmp_path / "supabase.py").write_text(
        "import signal, sys\nprint('importing', file=sys.stderr, flush=True)\nsignal.pause()\n"
    )
    with running("run", env={**stack.stack.env, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path) as worker:
        worker.wait_for("importing")
        assert worker.stop() == 0
    assert worker.lines == ["importing"]
