"""Joined and deaf: each way of the real server is found by canary or heartbeat, and the feed is rebuilt.

facts/realtime-measured.md, surprise 1; the stand-in goes deaf as recorded (test_realtime_deaf.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest

from consumer.heartbeat import Rhythm
from devstack.realtime.rate import EventRate
from tests.engine import JOBS, until
from tests.hearing import Hearing, hearing
from tests.integration.sql_db import connect
from tests.stacks import ThreadedStack, threaded_stack

PUBLICATION = "alter publication supabase_realtime"
Fault = Callable[[ThreadedStack, Hearing], Awaitable[None]]


@pytest.fixture(scope="module")
def module_stack() -> Iterator[ThreadedStack]:
    with threaded_stack(instant=True, realtime={"give_up": 0.1}) as stack:
        yield stack


@pytest.fixture
def stack(module_stack: ThreadedStack) -> Iterator[ThreadedStack]:
    module_stack.clear()
    module_stack.psql("delete from public.workflow_workers", user="supabase_admin")
    yield module_stack
    module_stack.stack.realtime.deaf = False
    cured(module_stack)


def cured(stack: ThreadedStack) -> None:
    """No event limit, and the table is published: what a person would see to. The other faults need nobody."""
    stack.stack.realtime.capture.rate = EventRate(None)
    published = "select count(*) from pg_publication_tables where tablename = 'workflow_generation_jobs'"
    if stack.psql(published) == "0":
        stack.psql(f"{PUBLICATION} add table {JOBS}")


async def database_away(stack: ThreadedStack, ears: Hearing) -> None:
    """For so long that the server gives its subscribers up."""
    postgres = stack.stack.postgres
    postgres.halt("immediate")
    await until("the poller has given up", lambda: not stack.stack.realtime.capture.subscribed)
    postgres.start()
    ears.parts.db = await connect(postgres, "supabase_admin")


async def capture_stopped(stack: ThreadedStack, _: Hearing) -> None:
    stack.stack.realtime.capture.give_up()


async def table_unpublished(stack: ThreadedStack, _: Hearing) -> None:
    """The server looks at the publication once a minute; until then it says nothing."""
    stack.psql(f"{PUBLICATION} drop table {JOBS}")


async def over_the_rate_limit(stack: ThreadedStack, _: Hearing) -> None:
    """So many events that for the next minutes every other one is dropped."""
    capture = stack.stack.realtime.capture
    capture.rate = EventRate(1)
    stack.psql(
        "insert into public.workflow_workers (worker_id) select 'flood-' || n from generate_series(1, 300) n",
        user="supabase_admin",
    )
    stack.call(capture.poll())
    await until("the flood was delivered", lambda: not capture.rate.admits(0))


async def submitted(ears: Hearing) -> str:
    """A job that no claim of an earlier ring can take."""
    parts = ears.parts
    await until("no claim is under way", lambda: parts.dispatcher.idle and not parts.bell.depth)
    return await parts.submit()


async def heard(ears: Hearing, doorbell: str) -> None:
    """A job inserted now is heard through this doorbell first."""
    row = await ears.parts.ended(await submitted(ears))
    assert row["observability"]["doorbell"] == doorbell


async def broadcast_ready(ears: Hearing) -> None:
    await until("both doorbells are connected", lambda: ears.listener.broadcast_ready)


@pytest.mark.parametrize("fault", [database_away, capture_stopped, table_unpublished, over_the_rate_limit])
async def test_a_deaf_feed_is_found_by_the_heartbeat_and_rebuilt(stack: ThreadedStack, fault: Fault) -> None:
    async with hearing(stack, Rhythm(grace=5, canary=600)) as ears:
        stack.stack.realtime.deafen(broadcasts=True)
        await heard(ears, "postgres_changes")
        await fault(stack, ears)
        session = ears.listener.sessions
        assert session == 1, "the server did not say a word"
        unheard = await submitted(ears)
        await ears.parts.db.execute(f"update {JOBS} set run_at = now() - interval '1 min' where id = $1", unheard)
        await ears.heartbeat.beat()
        await ears.parts.ended(unheard)
        assert ears.parts.dispatcher.missed_events == 1
        cured(stack)
        await ears.rebuilt(session)
        await heard(ears, "postgres_changes")
        assert ears.parts.dispatcher.missed_events == 1


@pytest.mark.parametrize("fault", [capture_stopped, over_the_rate_limit])
async def test_a_deaf_feed_is_found_by_the_canary_although_jobs_come_by_broadcast(
    stack: ThreadedStack, fault: Fault
) -> None:
    async with hearing(stack, Rhythm(canary=0.3)) as ears:
        await broadcast_ready(ears)
        await fault(stack, ears)
        await heard(ears, "broadcast")
        session = ears.listener.sessions
        assert session == 1
        await ears.heartbeat.beat()
        cured(stack)
        await ears.rebuilt(session)
        assert ears.parts.lines("the canary did not come back")
        stack.stack.realtime.deafen(broadcasts=True)
        await heard(ears, "postgres_changes")
        assert ears.parts.dispatcher.missed_events == 0


async def test_a_deaf_broadcast_is_no_harm(stack: ThreadedStack) -> None:
    async with hearing(stack, Rhythm(canary=20)) as ears:
        await broadcast_ready(ears)
        stack.stack.realtime.deafen(broadcasts=True)
        for _ in range(2):
            await heard(ears, "postgres_changes")
            await ears.heartbeat.beat()
        assert (ears.listener.sessions, ears.listener.trouble, ears.parts.dispatcher.missed_events) == (1, None, 0)


async def test_a_row_that_the_key_may_not_read_still_rings(stack: ThreadedStack) -> None:
    # The payload is "Error 401: Unauthorized", without a row, and the client drops it (bug B7).
    async with hearing(stack, Rhythm(canary=20)) as ears:
        stack.stack.realtime.deafen(broadcasts=True)
        stack.psql(f"revoke select on {JOBS} from service_role")
        try:
            await heard(ears, "postgres_changes")
        finally:
            stack.psql(f"grant select on {JOBS} to service_role")
        await heard(ears, "postgres_changes")
        assert ears.parts.lines("is SELECT granted on workflow_generation_jobs?")
        assert (ears.listener.sessions, ears.parts.dispatcher.missed_events) == (1, 0)
