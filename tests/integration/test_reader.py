"""Lists of jobs as people see them: newest first, page by page, one query of bounded size however long the table."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from consumer.database import Database
from consumer.errors import StoreRefused, StoreUnavailable
from consumer.reader import JOB_LINES, MOST_JOBS, Cursor, Reader
from consumer.replies import JobLine
from tests.integration.sql_db import connect
from tests.stacks import ThreadedStack

FINISHED = """
    insert into public.workflow_generation_jobs
      (id, prompt, status, created_at, started_at, finished_at, error_message, error_details)
    select 'j' || lpad(n::text, 6, '0'), 'Log ' || repeat('x', 19990), 'failed', at, at + interval '1 s',
      at + interval '3 s', repeat('e', 2000), '{"code": "MODEL_TIMEOUT"}'
    from generate_series($1::int, $2) n, lateral (select timestamptz '2026-01-01Z' + n / 10 * interval '1 s' as at) t"""

MINE = "insert into public.workflow_generation_jobs (id, prompt, user_id) values ('mine', 'p', $1)"


@pytest.fixture
async def sql(stack: ThreadedStack) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await connect(stack.stack.postgres, "supabase_admin")
    yield connection
    await connection.close()


@pytest.fixture
async def database(stack: ThreadedStack) -> AsyncIterator[Database]:
    database = await Database.connect(stack.stack.url, stack.stack.keys.secret)
    yield database
    await database.aclose()


@pytest.fixture
def reader(database: Database) -> Reader:
    return Reader(database)


async def walk(reader: Reader, *, status: str | None = None, user: str | None = None) -> list[list[str]]:
    """All pages of three, by id."""
    pages: list[list[str]] = []
    place: Cursor | None = None
    while not pages or place is not None:
        found = await reader.jobs(limit=3, before=place and Cursor.parse(str(place)), status=status, user=user)
        pages.append([job.id for job in found.jobs])
        place = found.next
    return pages


async def test_pages_hold_every_job_once_newest_first_even_when_many_were_made_at_one_moment(
    reader: Reader, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    await sql.execute(FINISHED, 1, 12)  # ten of them within the same second
    assert await walk(reader) == [
        ["j000012", "j000011", "j000010"], ["j000009", "j000008", "j000007"], ["j000006", "j000005", "j000004"],
        ["j000003", "j000002", "j000001"],
    ]  # fmt: skip


async def test_a_line_tells_how_the_job_is_without_its_large_values(
    stack: ThreadedStack, reader: Reader, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    await sql.execute(FINISHED, 1, 1)
    [job] = (await reader.jobs()).jobs
    assert (job.id, job.status, job.error_code) == ("j000001", "failed", "MODEL_TIMEOUT")
    assert (job.waited_seconds, job.worked_seconds) == (1.0, 2.0)
    assert (len(job.prompt_start), len(job.error_start or "")) == (120, 200)


async def test_jobs_are_found_by_status_by_user_and_since_a_time(
    stack: ThreadedStack, reader: Reader, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    user, _ = stack.stack.user()
    await sql.execute(FINISHED, 1, 3)
    await sql.execute(MINE, user)
    assert await walk(reader, status="failed") == [["j000003", "j000002", "j000001"]]
    assert await walk(reader, status="pending") == await walk(reader, user=user) == [["mine"]]
    assert await walk(reader, status="failed", user=user) == [[]]
    recent = await reader.jobs(since=datetime.now(UTC) - timedelta(hours=1))
    assert [job.id for job in recent.jobs] == ["mine"]


async def test_a_signed_in_user_sees_own_jobs_only(
    stack: ThreadedStack, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    user, token = stack.stack.user()
    await sql.execute(FINISHED, 1, 3)
    await sql.execute(MINE, user)
    database = await Database.connect(stack.stack.url, stack.stack.keys.publishable, access_token=token)
    try:
        assert [job.id for job in (await Reader(database).jobs()).jobs] == ["mine"]
    finally:
        await database.aclose()


async def test_ten_thousand_jobs_cost_the_requests_and_bytes_of_a_hundred(
    stack: ThreadedStack, reader: Reader, database: Database, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    sizes: list[int] = []

    async def weigh(response: httpx.Response) -> None:
        sizes.append(len(await response.aread()))

    database._http.event_hooks["response"] = [weigh]

    async def cost() -> tuple[int, list[int]]:
        before = stack.stack.gateway.requests
        sizes.clear()
        assert len((await reader.jobs()).jobs) == 50
        return stack.stack.gateway.requests - before, list(sizes)

    await sql.execute(FINISHED, 1, 100)
    few = await cost()
    await sql.execute(FINISHED, 101, 10_000)
    many = await cost()
    assert few == many
    assert few[0] == len(few[1]) == 1
    assert few[1][0] < 50_000


PAGES = {
    "all": ("true", 51),
    "a rare status": ("status = 'pending'", 51),
    "a page in the middle": ("""created_at >= '2026-01-01T00:10Z' and created_at <= '2026-01-01T00:12Z'
        and (created_at < '2026-01-01T00:12Z' or id < 'j007205')""", 61),
}  # fmt: skip


async def test_a_page_reads_only_its_own_rows_of_the_table(
    stack: ThreadedStack, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    await sql.execute(FINISHED, 1, 10_000)
    stack.submit("waits", 3)
    await sql.execute("analyze public.workflow_generation_jobs")
    counted = """select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables
                 where relname = 'workflow_generation_jobs'"""
    for page, (where, most) in PAGES.items():
        async with sql.transaction():
            before = await sql.fetchval(counted)
            await sql.fetch(
                f"select {', '.join(JobLine.model_fields)} from public.{JOB_LINES} where {where} "
                f"order by created_at desc, id desc limit 51"
            )
            read = await sql.fetchval(counted) - before
        assert 0 < read <= most, page


async def test_a_page_has_no_more_than_the_rest_side_gives(
    stack: ThreadedStack, reader: Reader, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    await sql.execute(FINISHED, 1, MOST_JOBS + 5)
    page = await reader.jobs(limit=10**6)
    assert len(page.jobs) == MOST_JOBS
    rest = await reader.jobs(limit=10**6, before=page.next)
    assert (len(rest.jobs), rest.next) == (5, None)


@pytest.mark.parametrize("text", ["", "j1", "yesterday/j1", "2026-01-01T00:00:00/j1", "2026-01-01T00:00:00+00:00"])
def test_what_is_no_place_in_the_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no place in the list"):
        Cursor.parse(text)


@pytest.mark.parametrize("job_id", ['a",status.eq."failed', "a),status.eq.failed", 'a\\",status.eq."failed', ""])
async def test_a_place_that_somebody_made_up_is_only_a_value(
    reader: Reader, sql: asyncpg.Connection[asyncpg.Record], job_id: str
) -> None:
    await sql.execute(FINISHED, 1, 1)
    [job] = (await reader.jobs(status="failed")).jobs
    assert (await reader.jobs(before=Cursor(job.created_at, "k"))).jobs == [job]
    assert (await reader.jobs(before=Cursor(job.created_at, job_id))).jobs == []


async def test_a_user_that_is_no_uuid_is_refused(reader: Reader) -> None:
    with pytest.raises(StoreRefused) as caught:
        await reader.jobs(user="me")
    assert caught.value.code == "22P02"
    assert (await reader.jobs(user=str(uuid.UUID(int=7)))).jobs == []


async def test_an_answer_that_is_no_list_is_an_outage(reader: Reader, database: Database) -> None:
    async def page(response: httpx.Response) -> None:
        await response.aread()
        response._content = b'{"hello": "proxy"}'

    database._http.event_hooks["response"] = [page]
    with pytest.raises(StoreUnavailable):
        await reader.jobs()
