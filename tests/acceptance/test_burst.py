"""5,000 inserts at once: the worker's memory stays bounded, its socket is read all the time, and the order is kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from realtime import AsyncRealtimeClient

from consumer.doorbell import Doorbell, Source
from consumer.realtime_client import client_tasks
from tests.acceptance.conftest import hold, release, streaming
from tests.ear import Ear, listening
from tests.engine import until
from tests.processes import Process, running_worker
from tests.stacks import ThreadedStack
from tests.waiting import eventually

JOBS = "public.workflow_generation_jobs"
EVENTS = "public.workflow_job_events"
WORKERS = "public.workflow_workers"
BURST, BOUND = 5000, 1000
# Each event is a few kB long, so that a worker that kept them would show.
PROMPT = "repeat('x', 2000)"


@dataclass
class Porter(Ear):
    """An ear that rings a bell as the worker's does, and takes the time that it needs."""

    bell: Doorbell = field(default_factory=lambda: Doorbell(bound=BOUND))
    deepest: int = 0
    seconds: float = 0.0

    def on_ring(self, source: Source, job_id: str | None) -> None:
        begun = perf_counter()
        self.bell.ring(source, job_id)
        self.seconds += perf_counter() - begun
        self.deepest = max(self.deepest, self.bell.depth)
        super().on_ring(source, job_id)

    @property
    def announced(self) -> int:
        return len({job_id for source, job_id in self.rings if source == "postgres_changes"})


@asynccontextmanager
async def pinging(client: AsyncRealtimeClient, pongs: list[int], porter: Porter) -> AsyncIterator[None]:
    """Ping the server all the time; at each pong note how many jobs were announced by then."""

    async def ping() -> None:
        while True:
            await (await client._ws_connection.ping())  # type: ignore[union-attr]  # it is connected
            pongs.append(porter.announced)

    task = asyncio.create_task(ping())
    try:
        yield
    finally:
        task.cancel()


def pipelined(how_many: int) -> str:
    """So many inserts, a transaction each, sent without waiting for one another's answers."""
    insert = f"insert into {JOBS} (prompt) values ({PROMPT}) \\bind \\sendpipeline\n\\syncpipeline\n"
    return f"\\startpipeline\n{insert * how_many}\\endpipeline\n"


async def test_a_burst_of_single_inserts_fills_the_bell_to_its_bound_and_blocks_nothing(stack: ThreadedStack) -> None:
    pongs: list[int] = []
    porter = Porter()
    realtime = f"{stack.stack.url}/realtime/v1"
    async with listening(realtime, ear=porter, key=stack.stack.keys.secret):
        await porter.is_ready(1)
        (client,) = porter.clients
        begun = perf_counter()
        async with pinging(client, pongs, porter):
            await asyncio.to_thread(stack.psql, pipelined(BURST))
            await until("every job is announced", lambda: porter.announced == BURST, timeout=120)
        elapsed = perf_counter() - begun
        assert (porter.listener.sessions, [task.done() for task in client_tasks(client)]) == (1, [False, False])
    assert porter.deepest <= BOUND
    assert porter.bell.dropped >= BURST - BOUND
    assert any(0 < announced < BURST for announced in pongs), "no ping was answered during the burst"
    assert porter.seconds < elapsed / 4, "the callbacks hold the socket's reader up"


def memory(worker: Process) -> int:
    """Resident size in kB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{worker.process.pid}/status").read_text())
    assert found is not None
    return int(found.group(1))


def heard_all(stack: ThreadedStack) -> None:
    """Until the worker has obeyed a poke, which comes through its feed behind all earlier events."""
    renewed = f"select updated_at from {JOBS} where status = 'processing'"
    before = stack.psql(renewed)
    stack.psql(f"update {WORKERS} set poked_at = clock_timestamp()", user="supabase_admin")
    eventually("the poke has come", lambda: stack.psql(renewed) != before)


def two_users_bursts(stack: ThreadedStack) -> None:
    """The first half is one user's, the second another's; then something urgent."""
    first, second = (stack.stack.user(f"{name}@example.com")[0] for name in ("first", "second"))
    stack.psql(
        f"insert into {JOBS} (prompt, user_id) select {PROMPT} || n, "
        f"case when n <= {BURST // 2} then '{first}'::uuid else '{second}'::uuid end from generate_series(1, {BURST}) n"
    )
    stack.psql(f"insert into {JOBS} (prompt, priority) values ('urgent', 9), ('more urgent', 10)")


def test_a_burst_in_one_statement_is_served_in_order_from_bounded_memory(stack: ThreadedStack, tmp_path: Path) -> None:
    stack.call(hold(stack))
    with running_worker(stack.stack.env, tmp_path, LEASE_SECONDS="3600", MODEL_BATCH_SIZE="1") as worker:
        (first,) = stack.submit("held ")
        stack.call(streaming(stack))
        heard_all(stack)
        before = memory(worker)
        two_users_bursts(stack)
        heard_all(stack)
        assert memory(worker) < before * 1.2
        wanted = stack.psql(
            f"select id from {JOBS} where status = 'pending' order by priority desc, fair_rank, created_at, id limit 22"
        ).splitlines()
        stack.call(release(stack))
        claims = f"from {EVENTS} where kind = 'claimed' and job_id in (select id from {JOBS})"
        eventually("enough are claimed", lambda: int(stack.psql(f"select count(*) {claims}")) > len(wanted))
        assert worker.stop() == 0
        assert len([line for line in worker.lines if "ready" in line and "Realtime session" in line]) == 1
    assert stack.psql(f"select job_id {claims} order by id limit 23").splitlines() == [first, *wanted]
    users = stack.psql(
        f"select j.user_id from {EVENTS} e join {JOBS} j on j.id = e.job_id "
        "where e.kind = 'claimed' and j.user_id is not null order by e.id limit 20"
    ).splitlines()
    assert all(users[at] != users[at + 1] for at in range(0, len(users), 2)), "the two users do not take turns"
