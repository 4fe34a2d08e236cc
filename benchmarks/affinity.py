"""`python -m benchmarks.affinity`: what it costs and brings that claims prefer the loaded model, and whom it delays.

On a real PostgreSQL, without workers (decision 7). Claims are timed in transactions that are rolled back, so that all
find the same queue; plain and preferring ones in turn, so that both find the same machine.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise

from benchmarks.lines import Bars, Line
from benchmarks.load import JOBS
from devstack.postgres import Postgres
from tests.conftest import MIGRATIONS
from tests.integration.sql_db import Database

PENDING = 50_000
SAMPLES = 300
MIXED = 200
SEED = 4
# One job per truth value, in this order: whether its analysis is in its checkpoint.
INSERT = f"""
    insert into {JOBS} (prompt, checkpoint)
    select 'p', case when analysed then '{{"analyze": {{"input_hash": "h", "value": {{}}}}}}'::jsonb end
    from unnest($1::boolean[]) with ordinality mixed (analysed, place) order by place"""


def measure(line: Line) -> None:
    """Print the bars; takes about 10 s and a database of its own."""
    with Postgres() as server:
        for script in MIGRATIONS:
            server.psql(script.read_text())
        asyncio.run(_measure(server, line))


async def _measure(server: Postgres, line: Line) -> None:
    rng = random.Random(SEED)
    mixed = [place % 2 == 0 for place in range(MIXED)]
    rng.shuffle(mixed)
    async with Database.open(server) as db:
        plain = await one_by_one(db, mixed, prefers=False)
    async with Database.open(server) as db:
        preferring = await one_by_one(db, mixed, prefers=True)
    before, after = changes(mixed, plain), changes(mixed, preferring)
    print(f"{MIXED} mixed jobs: the model changes {before} times in the fair order, {after} times with preference")
    line("changes of the model, preferring / plain", after / before, "x", 0.2)
    line("most jobs that overtook one, preferring", overtaken(preferring), "jobs", 8)
    async with Database.open(server) as db:
        await db.owner.execute(INSERT, [rng.random() < 0.5 for _ in range(PENDING)])
        line(f"claim with {PENDING:,} pending, preferring / plain", await cost(db), "x", 1.5)


async def one_by_one(db: Database, mixed: Sequence[bool], *, prefers: bool) -> list[int]:
    """Claim all of these jobs; their places in `mixed`, as taken. The worker keeps the model of the last job's step."""
    await db.owner.execute(INSERT, mixed)
    rows = await db.owner.fetch(f"select id from {JOBS} order by fair_rank, created_at, id")
    places = {row["id"]: place for place, row in enumerate(rows)}
    taken: list[int] = []
    while jobs := await db.claim(prefer=_step(mixed[taken[-1]]) if prefers and taken else None):
        taken.append(places[jobs[0]["id"]])
    return taken


def changes(mixed: Sequence[bool], taken: Sequence[int]) -> int:
    """How often a job needs another model than the one before it."""
    return sum(mixed[one] != mixed[other] for one, other in pairwise(taken))


def overtaken(taken: Sequence[int]) -> int:
    """The most jobs from behind that were taken before one job."""
    return max(sum(earlier > place for earlier in taken[:turn]) for turn, place in enumerate(taken))


async def cost(db: Database) -> float:
    """Median time of a preferring claim over that of a plain one."""
    times: dict[str | None, list[float]] = {None: [], "analyze": [], "generate": []}
    for _ in range(SAMPLES):
        for prefer, spans in times.items():
            spans.append(await _timed_claim(db, prefer))
    medians = {prefer: statistics.median(spans) * 1000 for prefer, spans in times.items()}
    print(f"a claim, medians of {SAMPLES}: " + ", ".join(f"{prefer} {ms:.2f} ms" for prefer, ms in medians.items()))
    return max(medians.values()) / medians[None]


async def _timed_claim(db: Database, prefer: str | None) -> float:
    claim = "select public.claim_workflow_jobs('bench', p_claim_key => 'key', p_prefer => $1)"
    rolled_back = db.owner.transaction()
    await rolled_back.start()
    began = time.perf_counter()
    await db.owner.execute(claim, prefer)
    span = time.perf_counter() - began
    await rolled_back.rollback()
    return span


def _step(analysed: bool) -> str:
    return "generate" if analysed else "analyze"


def main() -> int:
    """Print the bars; returns 1 when one is short."""
    bars = Bars()
    measure(bars.line)
    return 1 if bars.short else 0


if __name__ == "__main__":
    sys.exit(main())
