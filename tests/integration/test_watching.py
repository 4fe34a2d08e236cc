"""What a watcher does when events are missing or cut: it reads the row, and gives up a feed that says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from consumer.database import Database
from consumer.reader import Reader
from consumer.realtime_client import new_client
from consumer.replies import JobState
from consumer.watching import Watching
from tests.integration.sql_db import connect
from tests.stacks import ThreadedStack

JOBS = "public.workflow_generation_jobs"


class Watcher:
    """A watching in this process: its states and its words, in queues."""

    def __init__(self) -> None:
        self.states: asyncio.Queue[JobState] = asyncio.Queue()
        self.words: asyncio.Queue[str] = asyncio.Queue()

    @asynccontextmanager
    async def watch(
        self, stack: ThreadedStack, job_id: str | None, silence: float = 60.0
    ) -> AsyncIterator[asyncio.Task[JobState | None]]:
        url, key = stack.stack.url, stack.stack.keys.secret
        database = await Database.connect(url, key)
        watching = Watching(
            Reader(database), lambda: new_client(f"{url}/realtime/v1", key), job_id=job_id, silence=silence,
            show=self.states.put_nowait, say=self.words.put_nowait,
        )  # fmt: skip
        task = asyncio.create_task(watching.run())
        try:
            async with asyncio.timeout(60):
                yield task
        finally:
            task.cancel()
            await asyncio.wait({task})
            await database.aclose()


@pytest.fixture
async def sql(stack: ThreadedStack) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await connect(stack.stack.postgres, "supabase_admin")
    yield connection
    await connection.close()


async def test_a_feed_that_says_nothing_is_found_out_by_a_read_and_given_up(
    stack: ThreadedStack, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    watcher = Watcher()
    [job_id] = stack.submit("Waits ")
    async with watcher.watch(stack, job_id, silence=0.2) as watching:
        assert (await watcher.states.get()).status == "pending"
        await sql.execute(f"alter publication supabase_realtime drop table {JOBS}")
        try:
            await sql.execute(f"update {JOBS} set progress_percentage = 7, updated_at = now() where id = $1", job_id)
            assert (await watcher.states.get()).progress_percentage == 7
            assert "it did not tell what has changed" in await watcher.words.get()
        finally:
            await sql.execute(f"alter publication supabase_realtime add table {JOBS}")
        await sql.execute("select public.cancel_workflow_job($1)", job_id)
        last = await watching
    assert last is not None
    assert last.ended


async def test_the_end_of_a_job_too_large_for_an_event_is_read_from_its_row(
    stack: ThreadedStack, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    watcher, why = Watcher(), "No valid workflow could be built from this request, which was long. " * 2
    [job_id] = stack.submit("Large ")
    async with watcher.watch(stack, job_id) as watching:
        await watcher.states.get()
        await sql.execute("select public.claim_workflow_jobs('by-hand', 1)")
        details = {"code": "WORKFLOW_INVALID", "answers": ["x" * 1_000_000]}
        await sql.execute(
            "select public.settle_workflow_job($1, 1, 'failed', p_error_message => $2, p_error_details => $3, "
            "p_observability => $4)", job_id, why, details, {"more": "x" * 200_000},
        )  # fmt: skip
        last = await watching
    assert last is not None
    assert (last.error_code, last.error_start) == ("WORKFLOW_INVALID", why[:200])


async def test_jobs_whose_end_was_missed_are_shown_ended(
    stack: ThreadedStack, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    watcher = Watcher()
    [job_id] = stack.submit("Soon in work ")
    await sql.execute("select public.claim_workflow_jobs('by-hand', 1)")
    async with watcher.watch(stack, None):
        assert (await watcher.states.get()).status == "processing"
        stack.call(stack.stack.gateway.stop())
        assert "Realtime is lost" in await watcher.words.get()
        await sql.execute("select public.settle_workflow_job($1, 1, 'completed', p_result => '{}')", job_id)
        stack.call(stack.stack.gateway.start())
        last = await watcher.states.get()
        assert (last.id, last.status) == (job_id, "completed")
