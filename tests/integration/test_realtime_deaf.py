"""The stand-in leaves a joined channel deaf in the ways the real server was seen to: no frame says so.

traces/realtime.md §1 "Losing the server", traces 14d, 16 and 17d; facts/realtime-measured.md, surprise 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from devstack.keys import Keys
from devstack.postgres import Postgres
from tests.engine import until
from tests.integration.realtime_kit import JOBS, TABLES, Served, Wire, serve

INSERTS = {"event": "INSERT", "schema": "public", "table": JOBS}
PUBLICATION = "alter publication supabase_realtime"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql(TABLES)
        yield server


@pytest.fixture
async def served(postgres: Postgres) -> AsyncIterator[Served]:
    postgres.psql(f"truncate public.{JOBS}")
    async with serve(postgres, Keys.fresh(), give_up=0.2, publication_tick=0.1, event_limit=1000) as served:
        yield served


async def insert(postgres: Postgres, job_id: str) -> None:
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(f"insert into public.{JOBS} (id) values ($1)", job_id)
    await connection.close()


async def hears(postgres: Postgres, wire: Wire, job_id: str) -> None:
    await insert(postgres, job_id)
    assert [data["record"]["id"] for data in await wire.changes(1)] == [job_id]


async def hears_nothing(served: Served, postgres: Postgres, wire: Wire, job_id: str) -> None:
    """What comes after an insert that a poll has certainly passed: not one frame but the heartbeat's answer."""
    await insert(postgres, job_id)
    await served.api.capture.poll()
    assert await wire.quiet() == []


async def another_join_hears_and_the_first_stays_deaf(served: Served, postgres: Postgres, wire: Wire) -> None:
    async with served.wire() as other:
        await other.join("realtime:other", INSERTS)
        await hears(postgres, other, "for-the-other")
        assert await wire.quiet() == []
        await wire.join("realtime:again", INSERTS)
        await hears(postgres, wire, "for-both")


async def test_capture_that_is_stopped_leaves_the_joined_deaf_and_serves_who_joins_anew(
    served: Served, postgres: Postgres
) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        served.api.capture.give_up()
        await hears_nothing(served, postgres, wire, "stopped")
        await another_join_hears_and_the_first_stays_deaf(served, postgres, wire)


async def test_a_long_outage_of_the_database_leaves_the_joined_deaf(served: Served, postgres: Postgres) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        postgres.halt("immediate")
        await until("the poller has given up", lambda: not served.api.capture.subscribed)
        postgres.start()
        await hears_nothing(served, postgres, wire, "deaf-after-the-outage")
        await another_join_hears_and_the_first_stays_deaf(served, postgres, wire)


async def test_a_table_taken_out_of_the_publication_is_an_error_and_stays_deaf_when_it_is_back(
    served: Served, postgres: Postgres
) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        await until("the tables were looked at", lambda: served.api.capture.watching)
        postgres.psql(f"{PUBLICATION} drop table public.{JOBS}")
        try:
            payload = (await wire.event("system"))["payload"]
            assert (payload["status"], payload["extension"]) == ("error", "postgres_changes")
            assert payload["message"].startswith("Unable to subscribe to changes with given parameters. Please check")
        finally:
            postgres.psql(f"{PUBLICATION} add table public.{JOBS}")
        async with served.wire() as other:
            await other.join("realtime:other", INSERTS)
            await hears(postgres, other, "published-again")
        assert await wire.quiet() == []


async def test_another_table_in_the_publication_makes_every_channel_subscribe_again(
    served: Served, postgres: Postgres
) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        await until("the tables were looked at", lambda: served.api.capture.watching)
        postgres.psql(f"{PUBLICATION} add table public.not_published")
        try:
            payload = (await wire.event("system"))["payload"]
            assert (payload["status"], payload["message"]) == ("ok", "Subscribed to PostgreSQL")
            await hears(postgres, wire, "subscribed-again")
        finally:
            postgres.psql(f"{PUBLICATION} drop table public.not_published")


async def test_too_many_events_are_dropped_without_a_frame_and_later_ones_arrive(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(postgres, Keys.fresh(), event_limit=5) as served, served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        postgres.psql(f"insert into public.{JOBS} (id) select 'burst-' || n from generate_series(1, 300) n")
        assert len(await wire.changes(300)) == 300, "one transaction comes whole"
        await hears_nothing(served, postgres, wire, "dropped")
        assert served.api.capture.rate.dropped == 1
        monkeypatch.setattr("devstack.realtime.rate.WINDOW", 0.0)
        await hears(postgres, wire, "after-the-flood")


async def test_realtime_may_be_away_alone(served: Served, postgres: Postgres) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        await served.api.go_away()
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(wire.connection.recv(), 10)
        assert wire.connection.close_code == 1012
    with pytest.raises(InvalidStatus, match="503"):
        async with served.wire():
            pass
    served.api.come_back()
    async with served.wire() as again:
        await again.join("realtime:jobs", INSERTS)
        await hears(postgres, again, "back")


@pytest.mark.parametrize("doorbell", ["changes", "broadcasts"])
async def test_one_doorbell_may_be_deaf_alone(served: Served, postgres: Postgres, doorbell: str) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        served.api.deafen(**{doorbell: True})
        await insert(postgres, f"deaf-to-{doorbell}")
        postgres.psql("select realtime.send('{}', 'e', 'jobs', false)")
        heard = await wire.until(lambda frame: frame["event"] in ("postgres_changes", "broadcast"))
        assert heard["event"] == ("broadcast" if doorbell == "changes" else "postgres_changes")
        await served.api.capture.poll()
        assert {frame["event"] for frame in await wire.quiet()} <= {heard["event"]}
