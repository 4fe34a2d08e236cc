"""`make soak`: one worker that lives for half an hour with jobs and trouble all the time; does anything of it grow?

Samples the worker from outside (memory, threads, descriptors), the tasks of its event loop as its own row tells them,
and the database's sessions.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import click
import psutil

from benchmarks.chaos.crowd import JOBS
from benchmarks.chaos.run import Options, Scene, scene, users, working
from benchmarks.chaos.trouble import Trouble
from benchmarks.lines import Bars

EVERY = 10.0
# Share of the run that is warm-up.
WARM_UP = 0.2
INSERT = f"insert into {JOBS} (prompt, user_id) select 'Log request ' || n, $1 from generate_series(1, $2) n"
TASKS = "select (info ->> 'tasks')::int from public.workflow_workers order by last_seen_at desc limit 1"
SESSIONS = "select count(*) from pg_stat_activity where backend_type = 'client backend'"
# The worker lives on, so what would end it is left out; so is what would only make it wait.
KINDS = ("connections cut", "connections stalled", "gateway restarted", "feed deaf", "database sessions ended")


@dataclass(frozen=True, slots=True)
class Sample:
    """The worker at one moment. `memory` is its resident set in MB."""

    memory: float
    threads: int
    descriptors: int
    tasks: int
    sessions: int


async def soak(minutes: float, seed: int) -> list[Sample]:
    """Run it; the samples in order."""
    rng = random.Random(seed)
    options = Options(workers=1, seed=seed, model_faults=0.01)
    async with scene(options, rng) as place, working(place.members), asyncio.TaskGroup() as tasks:
        trouble = Trouble(rng, place.stack, place.members, pause=(2.0, 8.0), severity=0.5, only=KINDS)
        over, people = asyncio.Event(), users(place.stack)
        tasks.create_task(trouble.run(over))
        samples = []
        deadline = time.monotonic() + minutes * 60
        while time.monotonic() < deadline:
            await place.database.value(INSERT, rng.choice(people), rng.randint(1, 20))
            await asyncio.sleep(EVERY)
            samples.append(await _sample(place))
            print(f"{len(samples) * EVERY / 60:6.1f} min {samples[-1]} {dict(trouble.done)}", flush=True)
        over.set()
        assert place.members[0].starts == 1, "the worker ended during the soak"
        return samples


async def _sample(place: Scene) -> Sample:
    worker = psutil.Process(place.members[0].pid)
    with worker.oneshot():
        return Sample(
            memory=worker.memory_info().rss / 2**20,
            threads=worker.num_threads(),
            descriptors=worker.num_fds(),
            tasks=int(str(await place.database.value(TASKS) or 0)),
            sessions=int(str(await place.database.value(SESSIONS))),
        )


def growth(samples: list[Sample]) -> Sample:
    """The end less the beginning after the warm-up: the median memory of a window, and the resting level of each count.

    Counts swing with the session and the connections that are open just then; what a leak raises is the level of the
    quietest fifth.
    """
    warm = samples[int(len(samples) * WARM_UP) :]
    window = max(2, len(warm) // 4)
    first, last = (list(zip(*map(astuple, part), strict=True)) for part in (warm[:window], warm[-window:]))
    levels = [int(_resting(end) - _resting(begin)) for begin, end in zip(first[1:], last[1:], strict=True)]
    return Sample(statistics.median(last[0]) - statistics.median(first[0]), *levels)


def _resting(counts: Sequence[int]) -> float:
    return statistics.quantiles(counts, n=5)[0]


@click.command()
@click.option("--minutes", default=30.0, show_default=True, type=click.FloatRange(1))
@click.option("--seed", default=1, show_default=True)
def main(minutes: float, seed: int) -> None:
    """Keep a worker busy and in trouble, and print how much of it has grown."""
    grown = growth(asyncio.run(soak(minutes, seed)))
    bars = Bars()
    bars.line("soak, growth of memory", grown.memory, "MB", 5)
    for name in ("threads", "descriptors", "tasks", "sessions"):
        bars.line(f"soak, growth of {name}", getattr(grown, name), name, 0)
    if bars.short:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
