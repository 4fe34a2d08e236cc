"""The worker's engine in this process: real Store, Lease, Runner, Dispatcher and doorbell on a real dev stack.

The model is the instant stub, which a test may script. What the engine says is kept in `said`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from loguru import logger

from benchmarks.instant_model import InstantModel, smallest
from consumer.dispatcher import Dispatcher
from consumer.doorbell import Doorbell
from consumer.lanes import Batching, Lanes, StepName
from consumer.ollama import Clocks, Ollama
from consumer.outcome import RetryPolicy
from consumer.ports import Handler
from consumer.recovery import Ladder, Recovery
from consumer.runner import Limits, Runner
from consumer.speed import Speeds
from consumer.store import Store
from consumer.workbench import Workbench
from handlers.registry import handler_for
from tests.faulty import FaultyTransport, faulty_store
from tests.integration.sql_db import connect
from tests.stacks import ThreadedStack

JOBS = "public.workflow_generation_jobs"
ANALYZE, GENERATE = "mistral:7b", "qwen2.5:7b"


class ScriptedModel(InstantModel):
    """Answers a model's n-th question with the n-th given text, then as the instant stub does; keeps every question.

    `pieces` is how many chunks an answer comes in; `final` replaces the counters of a model's final chunk; `hold` holds
    only the model `holds`, if one is named.
    """

    def __init__(self, texts: Mapping[str, list[str]] | None = None, *, pieces: int = 2) -> None:
        super().__init__()
        self.texts = {name: list(given) for name, given in (texts or {}).items()}
        self.pieces = pieces
        self.asked: list[dict[str, Any]] = []
        self.most_open = 0
        self.final: dict[str, dict[str, int]] = {}
        self.holds: str | None = None

    def questions(self, model: str) -> list[dict[str, Any]]:
        """The requests that one model got."""
        return [body for body in self.asked if body["model"] == model]

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        self.asked.append(body)
        self.streams += 1
        self.open_streams += 1
        self.most_open = max(self.most_open, self.open_streams)
        texts = self.texts.get(body["model"])
        text = texts.pop(0) if texts else json.dumps(smallest(body["format"]))
        try:
            size = -(-len(text) // self.pieces)
            for start in range(0, len(text), size):
                yield _chunk(body["model"], text[start : start + size])
                self.began.set()
                if self.hold is not None and self.holds in (None, body["model"]):
                    await self.hold.wait()
            counts = self.final.get(body["model"], {"eval_count": 2, "eval_duration": 1000, "total_duration": 3000})
            yield _chunk(body["model"], "", done=True, done_reason="stop", **counts)
        finally:
            self.open_streams -= 1


def _chunk(model: str, content: str, *, done: bool = False, **more: object) -> bytes:
    message = {"role": "assistant", "content": content}
    created = "2026-01-01T00:00:00.000000001Z"
    return (
        json.dumps({"model": model, "created_at": created, "message": message, "done": done, **more}).encode() + b"\n"
    )


@dataclass
class Engine:
    """The running parts, and eyes into the database."""

    store: Store
    net: FaultyTransport
    model: ScriptedModel
    bell: Doorbell
    lanes: Lanes
    recovery: Recovery
    bench: Workbench
    runner: Runner
    dispatcher: Dispatcher
    db: asyncpg.Connection[asyncpg.Record]
    said: list[dict[str, Any]] = field(default_factory=list)

    def ring(self) -> None:
        """Somebody inserted something."""
        self.bell.ring("manual")

    async def submit(self, prompt: str = "Log a line for every web request", **columns: object) -> str:
        """Insert a job as a backend does."""
        row = {"prompt": prompt, **columns}
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        job_id: str = await self.db.fetchval(
            f"insert into {JOBS} ({', '.join(row)}) values ({places}) returning id", *row.values()
        )
        return job_id

    async def row(self, job_id: str) -> dict[str, Any]:
        """The job's row as JSON."""
        found: dict[str, Any] = await self.db.fetchval(f"select to_jsonb(j) from {JOBS} j where id = $1", job_id)
        return found

    async def events(self, job_id: str) -> list[str]:
        """The kinds of the job's history, in order."""
        query = "select kind from public.workflow_job_events where job_id = $1 order by id"
        return [kind for (kind,) in await self.db.fetch(query, job_id)]

    async def moves(self) -> object:
        """How far all jobs are."""
        query = f"select id, status, attempt, current_phase, progress_percentage from {JOBS} order by id"
        return await self.db.fetch(query)

    async def ended(self, job_id: str, status: str = "completed") -> dict[str, Any]:
        """The row once it has reached a status and the worker is done with it."""

        async def reached() -> bool:
            return (await self.row(job_id))["status"] == status and job_id not in self.runner.running

        await until(f"{job_id} is {status}", reached)
        return await self.row(job_id)

    async def finished(self, prompt: str = "Log a line for every web request", **columns: object) -> dict[str, Any]:
        """Submit, ring, and wait for the completed row."""
        job_id = await self.submit(prompt, **columns)
        self.ring()
        return await self.ended(job_id)

    def lines(self, text: str) -> list[dict[str, Any]]:
        """What was logged with this text in it."""
        return [line for line in self.said if text in line["message"]]


async def until(
    what: str,
    condition: Callable[[], object],
    timeout: float = 30,
    moves: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Until the condition (awaitable or not) holds; fails by its name when it does not within a generous bound.

    That begins anew whenever what `moves` gives has changed: a real model is as slow as the machine, but never silent.
    """
    deadline, seen = asyncio.get_running_loop().time() + timeout, None
    while True:
        if moves is not None and (now := await moves()) != seen:
            deadline, seen = asyncio.get_running_loop().time() + timeout, now
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert asyncio.get_running_loop().time() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def engine(
    stack: ThreadedStack, model: ScriptedModel | None = None, *, slots: int = 1, batch: int = 1,
    ladder: Ladder | None = None, lease_seconds: int = 20,
    clocks: Clocks | None = None, digest: str = "0" * 64, max_retries: int | None = None, worker_id: str = "engine-1",
    limits: Limits | None = None, handlers: Callable[[str], Handler] = handler_for, ollama_url: str | None = None,
    patience: float = 0.0,
) -> AsyncIterator[Engine]:  # fmt: skip
    """An engine whose dispatcher runs; at the end its jobs are handed back. Retries wait next to nothing."""
    model = model or ScriptedModel()
    clocks = clocks or Clocks()
    net = FaultyTransport()
    store = await faulty_store(
        stack.stack.url, stack.stack.keys.secret, net, worker_id=worker_id, lease_seconds=lease_seconds
    )
    db = await connect(stack.stack.postgres, "supabase_admin")
    async with model:
        ollama = Ollama(ollama_url or model.url, clocks=clocks)
        models: dict[StepName, str] = {"analyze": ANALYZE, "generate": GENERATE}
        lanes = Lanes(models, slots, Batching(size=batch))
        bell = Doorbell()
        recovery = Recovery(ollama, lanes, ladder, on_change=lambda: bell.ring("recovered"))
        bench = Workbench(
            ollama, lanes, recovery, Speeds(), models, {ANALYZE: digest, GENERATE: digest}, clocks.load,
            clocks.first_token,
        )  # fmt: skip
        policy = RetryPolicy(base=0.01, model_wait=0.01)
        runner = Runner(store, bench, handlers, policy, limits or Limits())
        dispatcher = Dispatcher(store, runner, bell, lanes, max_retries=max_retries, patience=patience)
        lanes.on_change = dispatcher.look_again
        parts = Engine(store, net, model, bell, lanes, recovery, bench, runner, dispatcher, db)
        sink = logger.add(lambda line: parts.said.append(_said(line)), level="DEBUG", format="{message}")
        claiming, curing = asyncio.create_task(dispatcher.run()), asyncio.create_task(recovery.run())
        try:
            yield parts
        finally:
            dispatcher.stop()
            runner.hand_back()
            await asyncio.wait_for(asyncio.gather(claiming, dispatcher.drained()), 30)
            dispatcher.due_in(None)
            curing.cancel()
            await asyncio.wait({curing})
            logger.remove(sink)
            await ollama.aclose()
            await store.aclose()
            await db.close()


def _said(line: Any) -> dict[str, Any]:
    record = line.record
    return {"message": record["message"], "level": record["level"].name, **record["extra"]}
