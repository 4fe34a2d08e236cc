"""Starts and stops of the whole worker leave nothing behind: no task, thread, descriptor, session or row.

`CYCLES=200` is the full run; a leak per cycle shows in the short one just as well.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import httpx
import pytest
from loguru import logger
from pydantic import SecretStr

from consumer.app import connected, run_worker
from consumer.settings import Settings
from tests.acceptance.conftest import hold, release
from tests.engine import until
from tests.stacks import ThreadedStack, threaded_stack

JOBS = "public.workflow_generation_jobs"
CYCLES = int(os.environ.get("CYCLES", "60"))
WARM_UP, WITH_A_JOB = 10, 5


@pytest.fixture(scope="module")
def stack() -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True) as stack:
        yield stack


@dataclass(frozen=True)
class Footprint:
    """What may leak. The stack lives in this process, so its part is in it, too."""

    tasks: int
    threads: int
    descriptors: int
    sessions: int
    slots: int

    def within(self, other: Footprint) -> bool:
        """Nothing is more than in the other."""
        return all(mine <= theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))


def footprint(stack: ThreadedStack) -> Footprint:
    sessions, slots = stack.psql(
        "select (select count(*) from pg_stat_activity where backend_type = 'client backend'), "
        "(select count(*) from pg_replication_slots)",
        user="supabase_admin",
    ).split("|")
    return Footprint(
        len(asyncio.all_tasks()), threading.active_count(), len(list(Path("/proc/self/fd").iterdir())),
        int(sessions), int(slots),
    )  # fmt: skip


def settings(stack: ThreadedStack) -> Settings:
    return Settings(
        _env_file=None, supabase_url=stack.stack.url, ollama_local_url=stack.stack.ollama_url,
        supabase_service_role_key=SecretStr(stack.stack.keys.secret), worker_id="cycler", shutdown_grace=0,
    )  # type: ignore[call-arg]  # fmt: skip


async def fill_the_gateways_pool(stack: ThreadedStack) -> None:
    """It opens sessions as requests come at once, and keeps them: those are not the worker's leak."""
    async with connected(settings(stack)) as store:
        for _ in range(3):
            await asyncio.gather(*(store.reconcile(dry_run=True) for _ in range(20)))


async def cycle(stack: ThreadedStack, *, with_job: bool) -> None:
    """Start the worker as `consumer run` does; stop it by signal once it is ready, or in the middle of a job."""
    ready = asyncio.Event()
    sink = logger.add(
        lambda _: ready.set(), format="{message}", filter=lambda line: line["message"].startswith("ready:")
    )
    worker = asyncio.create_task(run_worker(settings(stack)))
    try:
        await asyncio.wait_for(ready.wait(), 60)
        if with_job:
            stack.call(hold(stack))
            stack.submit("held ")
            await until("it streams", lambda: stack.instant is not None and stack.instant.open_streams == 1)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(worker, 60)
    finally:
        logger.remove(sink)
        stack.call(release(stack))


@pytest.fixture
def one_tls_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the certificates anew for each client would be most of this test's time."""
    module = httpx._transports.default
    monkeypatch.setattr(module, "create_ssl_context", functools.cache(httpx.create_ssl_context))


@pytest.mark.usefixtures("one_tls_context")
async def test_starts_and_stops_of_the_worker_leave_nothing_behind(stack: ThreadedStack) -> None:
    await fill_the_gateways_pool(stack)
    seen = []
    for number in range(CYCLES):
        await cycle(stack, with_job=number % WITH_A_JOB == 0)
        if number < WARM_UP:
            seen.append(footprint(stack))
    most = Footprint(*map(max, zip(*map(astuple, seen), strict=True)))
    await until(f"nothing is more than in the first cycles: {most}", lambda: footprint(stack).within(most))
    assert stack.psql("select count(*) from public.workflow_workers") == "0"
    assert stack.psql(f"select max(retry_count), max(attempt) > 1 from {JOBS}") == "0|t"
