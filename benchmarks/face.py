"""Does the HTTP face slow the worker? Jobs of a 0 ms model beside steady requests to the worker that does them.

    python -m benchmarks.face --jobs 20 --rate 200

The same requests to another worker, which is paused, tell what they cost the machine alone; the rounds alternate, so
that a noisy machine is noisy for both. Who asks is a process of its own: the database's gateway lives in this one.
Also: what a thousand calls as signed-in users cost the worker's memory.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import click
import httpx
import psutil

from tests.processes import running
from tests.stacks import ThreadedStack, threaded_stack

# Requests that wait for their answer at once; what more is due is left out.
MOST_ASKED = 80
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


async def ask(place: tuple[str, int], rate: float, over: Synchronized[bool]) -> float:
    """So many requests a second until it is over, `MOST_ASKED` at once at most; how many a second were answered."""
    answered, asking, began, asked = 0, set[asyncio.Task[None]](), time.monotonic(), 0

    async def one() -> None:
        nonlocal answered
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            code = (await reader.read())[9:12]
            answered += code in (b"200", b"503")
            writer.close()

    while not over.value:
        due = int((time.monotonic() - began) * rate)
        for _ in range(min(due - asked, MOST_ASKED - len(asking))):
            task = asyncio.create_task(one())
            asking.add(task)
            task.add_done_callback(asking.discard)
        asked = due
        await asyncio.sleep(0.002)
    for task in asking:
        task.cancel()
    return answered / (time.monotonic() - began)


def asker(url: str, rate: float, over: Synchronized[bool], answered: Synchronized[float]) -> None:
    """A process that asks."""
    place = httpx.URL(url)
    answered.value = asyncio.run(ask((place.host, place.port or 0), rate, over))


def beside(stack: ThreadedStack, jobs: int, url: str, rate: float) -> tuple[float, float]:
    """The wall beside the requests, and how many a second were answered."""
    spawned = multiprocessing.get_context("spawn")
    over, answered = spawned.Value("b", False), spawned.Value("d", 0.0)
    process = spawned.Process(target=asker, args=(url, rate, over, answered), daemon=True)
    process.start()
    found = wall(stack, jobs)
    over.value = True
    process.join()
    return found, answered.value


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
@click.option("--jobs", default=20, show_default=True)
@click.option("--rate", default=200.0, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(jobs: int, rate: float, rounds: int) -> None:
    """Print both walls, their ratio, and the memory."""
    with threaded_stack(instant=True) as stack, worker(stack) as (process, url), worker(stack) as (_, other):
        httpx.post(f"{other}/pause", trust_env=False).raise_for_status()
        wall(stack, jobs)
        found = [(beside(stack, jobs, url, rate), beside(stack, jobs, other, rate)) for _ in range(rounds)]
        (own, answered), (others, others_answered) = (
            [statistics.median(values) for values in zip(*pairs, strict=True)] for pairs in zip(*found, strict=True)
        )
        print(f"{jobs} jobs beside {rate:g} requests/s for its health: {own:.2f} s, {answered:.0f}/s answered")
        print(
            f"the same asked of an idle worker: {others:.2f} s, {others_answered:.0f}/s answered; {own / others:.2f} x"
        )
        print(f"1000 calls as 1000 users: {asyncio.run(growth(stack, process, url, 1000)):+.1f} MB")


if __name__ == "__main__":
    main()
