"""One chaos run: stack, workers, users and trouble together until every job is over; then the audit and the figures."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.chaos.crowd import JOBS, Crowd, Database
from benchmarks.chaos.fleet import Member
from benchmarks.chaos.model import FaultyModel
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.trouble import Trouble
from benchmarks.chaos.verdict import ACTIVE, Report, figures
from devstack.stack import DevStack
from tests.processes import run_consumer

USERS = 5


@dataclass(frozen=True, slots=True)
class Options:
    """`pause`, seconds between troubles; `model_faults`, the share of model calls that fail; `patience` in seconds."""

    jobs: int = 10_000
    workers: int = 3
    seed: int = 1
    pause: tuple[float, float] = (0.5, 4.0)
    severity: float = 1.0
    model_faults: float = 0.02
    patience: float = 3600.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What a run plays in."""

    stack: DevStack
    model: FaultyModel
    members: list[Member]
    database: Database


async def chaos(options: Options) -> Report:
    """Run it; the figures at the end. Trouble goes on until the last job is over.

    Raises:
        TimeoutError: jobs were still unfinished after `patience`.
    """
    rng = random.Random(options.seed)
    began = time.monotonic()
    async with scene(options, rng) as place:
        crowd = Crowd(rng, options.jobs, users(place.stack), place.database)
        trouble = Trouble(
            random.Random(rng.random()), place.stack, place.members, pause=options.pause, severity=options.severity
        )
        over = asyncio.Event()
        async with working(place.members), asyncio.timeout(options.patience), asyncio.TaskGroup() as tasks:
            tasks.create_task(trouble.run(over))
            await crowd.run()
            await all_over(place.database, trouble)
            over.set()
        seconds = time.monotonic() - began
        audit = await asyncio.to_thread(run_consumer, "audit", "--json", env=place.stack.env, cwd=Path("/"))
        return Report(
            seed=options.seed, jobs=options.jobs, workers=options.workers, seconds=seconds,
            faults=trouble.done + place.model.injected + crowd.acts,
            ends=sum((member.ends for member in place.members), Counter()),
            tracebacks=[line for member in place.members for line in member.tracebacks],
            audit_exit=audit.returncode, audit=" ".join((audit.stdout or audit.stderr).split())[:500],
            **figures(place.stack.postgres, options.jobs),
        )  # fmt: skip


@asynccontextmanager
async def scene(options: Options, rng: random.Random) -> AsyncIterator[Scene]:
    """A stack with the faulty model, and places for the workers behind a proxy each."""
    async with AsyncExitStack() as parts:
        folder = Path(parts.enter_context(TemporaryDirectory()))
        model = await parts.enter_async_context(FaultyModel(random.Random(rng.random()), options.model_faults))
        stack = await parts.enter_async_context(
            DevStack(ollama_url=model.url, realtime={"poll_busy": 0.05, "poll_idle": 0.2, "cold_start": (0.2, 1.0)})
        )
        proxies = [await parts.enter_async_context(Proxy(stack.url)) for _ in range(options.workers)]
        members = [Member(f"chaos-{number}", proxy, stack.env, folder) for number, proxy in enumerate(proxies, start=1)]
        database = Database(stack.postgres)
        parts.callback(database.close)
        yield Scene(stack, model, members, database)


@asynccontextmanager
async def working(members: list[Member]) -> AsyncIterator[None]:
    """The workers run inside; afterwards none is left."""
    tasks = [asyncio.ensure_future(member.run()) for member in members]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def all_over(database: Database, trouble: Trouble) -> None:
    """Until every job is over, and every kind of trouble has come at least once."""
    while True:
        unfinished = await database.value(f"select count(*) from {JOBS} where {ACTIVE}")
        if not unfinished and len(trouble.done) == len(trouble.kinds):
            return
        await asyncio.sleep(0.5)


def users(stack: DevStack) -> list[str]:
    """The ids of the users whose jobs these are."""
    return [stack.user(f"user{number}@example.com")[0] for number in range(USERS)]
