"""What the lanes are worth: the real small model under two names, on a server with room for one.

Called by `make bars`; alone: `python -m benchmarks.models`. Compares runs of the same jobs (same ids, so same seeds):
in batches as by default, and one by one (MODEL_BATCH_SIZE=1).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.lines import Bars, Line
from benchmarks.load import JOBS
from consumer.ollama import Ollama
from consumer.ports import Message, ModelRequest
from tests.processes import running_worker
from tests.stacks import ThreadedStack, threaded_stack
from tests.waiting import eventually

BACKLOG = 8
LONE_RUNS = 7
CANCELS = 5
LOAD_SIGN_MS = 100
PROMPT = "Every morning at 9 get https://example.com/prices.json and send a Slack message to #sales"
ENDLESS = ModelRequest(
    (Message("user", "Count from one to a thousand in words."),),
    {"type": "array", "items": {"type": "string", "maxLength": 30}, "minItems": 60, "maxItems": 100},
    1500, 0.2, 1,
)  # fmt: skip


def measure(line: Line) -> None:
    """All bars of the lanes; takes some minutes."""
    with TemporaryDirectory() as folder, threaded_stack(instant=False) as stack:
        batched = run(stack, Path(folder), "backlog", BACKLOG)
        one_by_one = run(stack, Path(folder), "backlog", BACKLOG, MODEL_BATCH_SIZE="1")
        print(f"backlog of {BACKLOG}, one slot of memory: batched {batched}, one by one {one_by_one}")
        line("jobs per hour, batched / one by one", one_by_one.wall / batched.wall, "x", 1.5, at_least=True)
        line("loads, batched / one by one", batched.loads / one_by_one.loads, "x", 0.34)
        line("model busy / wall under backlog", batched.busy / batched.wall * 100, "%", 97, at_least=True)
        measure_lone(line, stack, Path(folder))
        line("cancel → slot free, longest", asyncio.run(cancels(stack.stack.ollama_url)), "s", 0.5)


def measure_lone(line: Line, stack: ThreadedStack, folder: Path) -> None:
    """A lone job with batching on and off, in turn; medians of equal work."""
    walls: dict[str, list[float]] = {"4": [], "1": []}
    for number in range(LONE_RUNS):
        for size in walls if number % 2 else reversed(walls):
            walls[size].append(lone(stack, folder, size))
    batched, single = (statistics.median(walls[size]) for size in ("4", "1"))
    print(f"a lone job, medians of {LONE_RUNS}: {batched:.2f} s with batching on, {single:.2f} s with it off")
    line("a lone job's latency, batching on / off", batched / single, "x", 1.02)


class Run:
    """What a run of jobs took: seconds of wall and of the model at work, and loads."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        phases = [figures for row in rows for figures in row["observability"]["phases"].values()]
        self.wall: float = max(row["finished"] for row in rows) - min(row["started"] for row in rows)
        self.loads = sum(figures["model_load_time_ms"] > LOAD_SIGN_MS for figures in phases)
        parts = ("model_load_time_ms", "prompt_time_ms", "inference_time_ms")
        self.busy = sum(figures[part] for figures in phases for part in parts) / 1000
        self.tokens = sum(figures["output_tokens"] for figures in phases)

    def __str__(self) -> str:
        return f"{self.wall:.1f} s, {self.loads} loads, {self.tokens} tokens"


def run(stack: ThreadedStack, folder: Path, name: str, how_many: int, **settings: str) -> Run:
    """Queue jobs, start a worker, wait until all are completed."""
    submit(stack, name, how_many)
    with running_worker(stack.stack.env, folder, **settings):
        return finished(stack)


def submit(stack: ThreadedStack, name: str, how_many: int = 1) -> None:
    """Jobs with the same ids in each run."""
    stack.clear()
    stack.psql(
        f"insert into {JOBS} (id, prompt) select '{name}-' || n, '{PROMPT}' from generate_series(1, {how_many}) n"
    )


def finished(stack: ThreadedStack) -> Run:
    """The figures of the jobs once all are over."""
    over = f"select bool_and(status = 'completed') from {JOBS}"
    eventually("all are completed", lambda: stack.psql(over) == "t", timeout=900)
    epochs = "extract(epoch from started_at) started, extract(epoch from finished_at) finished, observability"
    rows = json.loads(stack.psql(f"select jsonb_agg(to_jsonb(j)) from (select {epochs} from {JOBS}) j"))
    return Run(rows)


def lone(stack: ThreadedStack, folder: Path, size: str) -> float:
    """Seconds of one lone job on a fresh worker of that batch size."""
    stack.clear()
    with running_worker(stack.stack.env, folder, MODEL_BATCH_SIZE=size):
        submit(stack, "lone")
        return finished(stack).wall


async def cancels(url: str) -> float:
    """Seconds from leaving a stream until another call of the model has answered, the longest of some."""
    ollama, longest = Ollama(url), 0.0
    try:
        await ollama.preload("qwen2.5:7b")
        for _ in range(CANCELS):
            async with aclosing(ollama.chat("qwen2.5:7b", ENDLESS)) as pieces:
                async for _piece in pieces:
                    break
                left = time.perf_counter()
            await ollama.canary("qwen2.5:7b", 60)
            longest = max(longest, time.perf_counter() - left)
    finally:
        await ollama.aclose()
    return longest


if __name__ == "__main__":
    bars = Bars()
    measure(bars.line)
    sys.exit(1 if bars.short else 0)
