"""What Redis saves and costs: claims per job and insert → claim with several workers, with it and without, in one run.

`python -m benchmarks.redis [--workers 4] [--jobs 12]`. Real processes, the instant model; the two crews take turns, so
that both meet the same machine. Claims are counted by PostgreSQL. One figure is a ratio, the others are counts.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load import Load
from tests.processes import Process, running_worker
from tests.redis_server import redis_server
from tests.stacks import ThreadedStack, threaded_stack

ROUNDS = 3
# Neither heartbeats nor the ends of leases add claims while it runs.
QUIET = {"HEARTBEAT_SECONDS": "300", "LEASE_SECONDS": "300"}
# Longer than the feed's idle poll interval, so that both doorbells of a job have rung before the next.
REST = 0.7
CALLS = "select coalesce(sum(calls), 0) from pg_stat_user_functions where funcname = 'claim_workflow_jobs'"
CLAIMED_AFTER = "extract(epoch from started_at - created_at) * 1000"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=12, help="per round and crew")
    options = parser.parse_args()
    claims: dict[str, list[float]] = {"without": [], "with": []}
    waits: dict[str, list[float]] = {"without": [], "with": []}
    with TemporaryDirectory() as folder, threaded_stack(instant=True, realtime={"poll_idle": 0.5}) as stack:
        stack.psql("alter system set track_functions = 'pl'", user="supabase_admin")
        stack.psql("select pg_reload_conf()", user="supabase_admin")
        with redis_server(Path(folder)) as redis:
            for _ in range(ROUNDS):
                for crew, url in (("without", None), ("with", redis.url)):
                    counted, waited = _round(stack, Path(folder), options.workers, options.jobs, url)
                    claims[crew].append(counted / options.jobs)
                    waits[crew] += waited
    _report(options.workers, claims, waits)


def _round(stack: ThreadedStack, folder: Path, workers: int, jobs: int, url: str | None) -> tuple[int, list[float]]:
    env = {**stack.stack.env, **QUIET, **({"REDIS_URL": url} if url else {})}
    with ExitStack() as crew:
        for number in range(workers):
            _joined(crew.enter_context(running_worker(env, folder, WORKER_ID=f"hand-{number}")), redis=url is not None)
        return asyncio.run(_measured(stack, jobs))


def _joined(worker: Process, *, redis: bool) -> None:
    if redis and not any("Redis answers" in line for line in worker.lines):
        worker.wait_for("Redis answers")


async def _measured(stack: ThreadedStack, jobs: int) -> tuple[int, list[float]]:
    async with Load(stack.stack.postgres.url()) as load:
        await load.complete(1)
        await asyncio.sleep(3 * REST)  # PostgreSQL writes its counts down a second later at most
        await load.clear()
        before = int(stack.psql(CALLS))
        for _ in range(jobs):
            await load.complete()
            await asyncio.sleep(REST)
        await asyncio.sleep(3 * REST)
        return int(stack.psql(CALLS)) - before, await load.columns(CLAIMED_AFTER)


def _report(workers: int, claims: dict[str, list[float]], waits: dict[str, list[float]]) -> None:
    for crew, counts in claims.items():
        rounds = ", ".join(f"{figure:.2f}" for figure in counts)
        print(f"claims per job, {workers} workers, {crew} Redis: {statistics.mean(counts):.2f} (rounds: {rounds})")
    for name, share in (("median", 0.5), ("90th percentile", 0.9)):
        figures = {crew: sorted(values)[int(len(values) * share)] for crew, values in waits.items()}
        ratio, times = figures["with"] / figures["without"], f"{figures['with']:.1f} / {figures['without']:.1f} ms"
        print(f"insert → claim, {name}, with Redis / without: {ratio:.2f} ({times})")


if __name__ == "__main__":
    main()
