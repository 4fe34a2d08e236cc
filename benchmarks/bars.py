"""`make bars`: the numbers to reach of the design (§5), measured in one run; a speed is a ratio to a bare round trip.

Prints a line each: `bar <name>: <figure> (<bar>) ok|short`. The model is the stub that answers at once: what is
measured is the worker; only `models` has the real small one. Nothing here is asserted; exit code 1 when a bar is short,
for scripts that want to know.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks import affinity, models, stream, validator
from benchmarks.events import raw_client_latencies
from benchmarks.lines import Bars
from benchmarks.load import Load
from consumer.store import Store
from tests.processes import environment, running_worker
from tests.stacks import ThreadedStack, threaded_stack

HOW_MANY = 200
IDLE_SECONDS = 60
REST = 0.05
SAMPLES = 200
EVENTS = 40


def main() -> int:
    """Measure every bar; returns 1 when one is short."""
    bars = Bars()
    with TemporaryDirectory() as folder, threaded_stack(instant=True, realtime={"poll_idle": 0.5}) as stack:
        measure_start(bars, stack, Path(folder))
        rt, at_rest = asyncio.run(round_trips(stack))
        print(f"rt, one bare RPC to a function that does nothing, median of {SAMPLES}: {rt:.2f} ms back to back,")
        print(
            f"   {at_rest:.2f} ms after {REST * 1000:.0f} ms of rest, which is the rt of what is measured after a rest"
        )
        with running_worker(stack.stack.env, Path(folder)) as worker:
            asyncio.run(measure(bars, stack, psutil.Process(worker.process.pid), rt, at_rest))
    for part in (stream, validator, affinity, models):
        part.measure(bars.line)
    return 1 if bars.short else 0


async def measure(bars: Bars, stack: ThreadedStack, process: psutil.Process, rt: float, at_rest: float) -> None:
    """All that is measured on one running worker."""
    async with Load(stack.stack.postgres.url()) as load:
        await measure_jobs(bars, stack, load, process, rt)
        await measure_events(bars, load, at_rest)
        await measure_doorbells(bars, stack, load, at_rest)
    await measure_idle(bars, stack, process)


async def round_trips(stack: ThreadedStack) -> tuple[float, float]:
    """Median milliseconds of an RPC that does nothing, through the worker's own client: back to back, and at rest."""
    stack.psql(
        "create function public.nothing() returns integer language sql as 'select 1'; "
        "grant execute on function public.nothing() to service_role; notify pgrst, 'reload schema'"
    )
    store = await Store.connect(stack.stack.url, stack.stack.keys.secret, worker_id="bars")
    try:
        await _timed_call(store)
        busy = [await _timed_call(store) for _ in range(SAMPLES)]
        rested = [await _timed_call(store, REST) for _ in range(SAMPLES)]
    finally:
        await store.aclose()
    return statistics.median(busy), statistics.median(rested)


async def _timed_call(store: Store, rest: float = 0) -> float:
    await asyncio.sleep(rest)
    began = time.perf_counter()
    await store._rpc("nothing", {})
    return (time.perf_counter() - began) * 1000


def measure_start(bars: Bars, stack: ThreadedStack, folder: Path) -> None:
    """Start → ready against the time it takes to import the packages."""
    importing = min(_import_seconds(folder) for _ in range(3))
    ready = min(_ready_seconds(stack, folder) for _ in range(3))
    bars.line("start → ready / importing the packages", ready / importing, "x", 3)


def _import_seconds(folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import consumer.app"], check=True, cwd=folder, env=environment({}))
    return time.perf_counter() - began


def _ready_seconds(stack: ThreadedStack, folder: Path) -> float:
    began = time.perf_counter()
    with running_worker(stack.stack.env, folder):
        return time.perf_counter() - began


async def measure_jobs(bars: Bars, stack: ThreadedStack, load: Load, process: psutil.Process, rt: float) -> None:
    """The worker's own cost per job under backlog, with a model that takes no time."""
    await load.complete(10)
    requests, cpu, began = stack.stack.gateway.requests, _cpu(process), time.perf_counter()
    await load.complete(HOW_MANY)
    wall = (time.perf_counter() - began) * 1000 / HOW_MANY
    bars.line("requests per job", (stack.stack.gateway.requests - requests) / HOW_MANY, "requests", 6)
    bars.line("wall per job", wall / rt, "rt", 8)
    bars.line("CPU per job", (_cpu(process) - cpu) * 1000 / HOW_MANY, "ms", 15)


async def measure_events(bars: Bars, load: Load, rt: float) -> None:
    """Event at the worker → claim answered, one job at a time."""
    await load.clear()
    for _ in range(HOW_MANY):
        await load.complete()
        await asyncio.sleep(REST)  # until the look for more work, which follows every job, is over
    heard = sorted(await load.columns("observability->>'event_to_claim_ms'"))
    bars.line("event → claim, p50", heard[len(heard) // 2] / rt, "rt", 2)
    bars.line("event → claim, p99", heard[int(len(heard) * 0.99)] / rt, "rt", 6)


async def measure_doorbells(bars: Bars, stack: ThreadedStack, load: Load, rt: float) -> None:
    """Insert → claim, against what a raw client that listens in the same run sees."""
    await load.clear()
    raw = await raw_client_latencies(stack.stack.url, stack.stack.keys.secret, load, EVENTS)
    started = statistics.median(await load.columns("extract(epoch from started_at - created_at) * 1000"))
    print(f"raw client, medians: broadcast {raw['broadcast']:.1f} ms, postgres_changes {raw['changes']:.0f} ms")
    bars.line("insert → claimed, less a raw client's broadcast", (started - raw["broadcast"]) / rt, "rt", 3)
    bars.line("sooner than a 2 s poller (1000 ms on average)", 1000 / started, "x", 50, at_least=True)


async def measure_idle(bars: Bars, stack: ThreadedStack, process: psutil.Process) -> None:
    """A minute without work."""
    requests, cpu = stack.stack.gateway.requests, _cpu(process)
    await asyncio.sleep(IDLE_SECONDS)
    bars.line("idle requests a minute", stack.stack.gateway.requests - requests, "requests", 2)
    bars.line("idle CPU", (_cpu(process) - cpu) / IDLE_SECONDS * 100, "% of a core", 0.3)
    bars.line("idle RSS", process.memory_info().rss / 1e6, "MB", 110)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    sys.exit(main())
