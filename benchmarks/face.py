"""Does the HTTP face slow the worker? Jobs of a 0 ms model, alone and beside steady requests for all kinds of answers.

    python -m benchmarks.face --jobs 100 --rate 200

The rounds alternate, so that a noisy machine is noisy for both. Also: what a thousand calls as signed-in users cost
the worker's memory.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import click
import httpx
import psutil

from tests.processes import running
from tests.stacks import ThreadedStack, threaded_stack

JOBS = "public.workflow_generation_jobs"
WALL = f"select extract(epoch from max(finished_at) - min(created_at)) from {JOBS}"


@contextmanager
def worker(stack: ThreadedStack) -> Iterator[tuple[psutil.Process, str]]:
    """A worker with its HTTP face, and its URL."""
    env = {**stack.stack.env, "SUPABASE_JWT_SECRET": stack.stack.keys.jwt_secret}
    with (
        tempfile.TemporaryDirectory() as folder,
        running("run", "--http", "127.0.0.1:0", env=env, cwd=Path(folder)) as it,
    ):
        url = json.loads(it.wait_for("answering on"))["message"].split()[-1]
        it.wait_for("ready: waiting for jobs")
        yield psutil.Process(it.process.pid), url


def wall(stack: ThreadedStack, jobs: int) -> float:
    """Seconds from the insert of the first of so many jobs to the end of the last."""
    stack.clear()
    stack.submit("log it ", jobs)
    while stack.statuses() != {"completed": jobs}:
        time.sleep(0.2)
    return float(stack.psql(WALL))


async def ask(url: str, rate: float, over: asyncio.Event) -> int:
    """So many requests a second until it is over; how many were answered."""
    answered = 0
    paths = cycle(("/health", "/readyz", "/metrics", "/jobs/job_nobodys/status"))
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client, asyncio.TaskGroup() as group:

        async def one(path: str) -> None:
            nonlocal answered
            with suppress(httpx.HTTPError):  # as many connections as it takes are in use, or the machine is
                answered += (await client.get(path)).status_code in (200, 404)

        while not over.is_set():
            group.create_task(one(next(paths)))
            await asyncio.sleep(1 / rate)
    return answered


async def beside(stack: ThreadedStack, jobs: int, url: str, rate: float) -> tuple[float, float]:
    """The wall beside the requests, and how many a second were answered."""
    over, began = asyncio.Event(), time.monotonic()
    asking = asyncio.create_task(ask(url, rate, over))
    found = await asyncio.to_thread(wall, stack, jobs)
    over.set()
    return found, await asking / (time.monotonic() - began)


async def growth(stack: ThreadedStack, process: psutil.Process, url: str, calls: int) -> float:
    """MB that the worker's resident set grows by over so many calls as ever new users."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:

        async def some(how_many: int) -> None:
            for _ in range(how_many):
                token = stack.stack.keys.user_token(str(uuid.uuid4()))
                answer = await client.get("/workflow-status/j", headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == 404

        await some(200)
        before = process.memory_info().rss
        await some(calls)
        return float((process.memory_info().rss - before) / 1e6)


@click.command()
@click.option("--jobs", default=100, show_default=True)
@click.option("--rate", default=200.0, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(jobs: int, rate: float, rounds: int) -> None:
    """Print the walls with and without load, their ratio, and the memory."""
    with threaded_stack(instant=True) as stack, worker(stack) as (process, url):
        wall(stack, jobs)
        pairs = [(wall(stack, jobs), asyncio.run(beside(stack, jobs, url, rate))) for _ in range(rounds)]
        alone = statistics.median(pair[0] for pair in pairs)
        loaded, answered = (statistics.median(values) for values in zip(*(pair[1] for pair in pairs), strict=True))
        print(
            f"{jobs} jobs: {alone:.2f} s alone, {loaded:.2f} s beside {answered:.0f} requests/s: {loaded / alone:.2f} x"
        )
        print(f"1000 calls as 1000 users: {asyncio.run(growth(stack, process, url, 1000)):+.1f} MB")


if __name__ == "__main__":
    main()
