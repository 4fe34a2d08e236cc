"""What a user of the stand-in sees through the official Python client and through SQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import httpx
import pytest
from realtime import AsyncRealtimeClient
from realtime.types import RealtimeSubscribeStates
from websockets.exceptions import ConnectionClosed

from devstack.keys import Keys
from devstack.postgres import Postgres
from tests.integration.realtime_kit import (
    JOBS,
    TABLES,
    USER_A,
    USER_B,
    WORKERS,
    Doorbell,
    Joined,
    Served,
    Wire,
    serve,
)  # fmt: skip

INSERTS = {"event": "INSERT", "schema": "public", "table": JOBS}
EVERYTHING = {"event": "*", "schema": "public", "table": JOBS}
READ_OWN_BELL = """create policy bell on realtime.messages for select to authenticated
  using (realtime.topic() = 'bell' and extension = 'broadcast')"""
BELL = f"""
create function public.bell() returns trigger language plpgsql security definer set search_path = '' as $$
begin perform realtime.send(jsonb_build_object('id', new.id), 'job', 'bell', true); return null; end $$;
create trigger bell after insert on public.{JOBS} for each row execute function public.bell();
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql(TABLES)
        yield server


@pytest.fixture
async def served(postgres: Postgres) -> AsyncIterator[Served]:
    postgres.psql(f"""truncate public.{JOBS}, public.{WORKERS}, realtime.messages;
        drop policy if exists bell on realtime.messages; drop trigger if exists bell on public.{JOBS};
        drop function if exists public.bell""")
    async with serve(postgres, Keys.fresh()) as running:
        yield running


@pytest.fixture
async def sql(postgres: Postgres, served: Served) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(postgres.url())
    yield connection
    await connection.close()


async def insert(sql: Any, job: str, owner: str | None = None, status: str = "pending") -> None:
    await sql.execute(
        f"insert into public.{JOBS} (id, user_id, status) values ($1, $2::text::uuid, $3)", job, owner, status
    )


def listening(client: AsyncRealtimeClient, bell: Doorbell, event: Any = "INSERT", filter: str | None = None) -> Joined:
    """A channel of its own for one binding on the jobs."""
    channel = client.channel(f"jobs-{id(bell)}")
    return Joined(channel.on_postgres_changes(event, bell, table=JOBS, schema="public", filter=filter), ready=True)


async def test_an_insert_rings_the_official_client(served: Served, sql: Any) -> None:
    bell = Doorbell()
    async with served.client() as client, listening(client, bell):
        await insert(sql, "job-1")
        data = (await bell.next())["data"]
    assert (data["type"], data["table"], data["record"]["id"]) == ("INSERT", JOBS, "job-1")


async def test_update_and_delete_carry_the_key_of_the_old_row(served: Served, sql: Any) -> None:
    bell = Doorbell()
    await insert(sql, "job-1")
    async with served.client() as client, listening(client, bell, "*"):
        await sql.execute(f"update public.{JOBS} set id = 'job-2', status = 'done'")
        updated = (await bell.next())["data"]
        await sql.execute(f"delete from public.{JOBS}")
        deleted = (await bell.next())["data"]
    assert (updated["old_record"], updated["record"]["status"]) == ({"id": "job-1"}, "done")
    assert (deleted["old_record"], "record" in deleted) == ({"id": "job-2"}, False)


async def test_a_filter_lets_only_its_rows_through(served: Served, sql: Any) -> None:
    bell = Doorbell()
    async with served.client() as client, listening(client, bell, filter="status=in.(pending,failed)"):
        await insert(sql, "no", status="done")
        await insert(sql, "yes", status="failed")
        assert (await bell.next())["data"]["record"]["id"] == "yes"


async def test_two_clients_hear_the_same_event_and_one_may_leave(served: Served, sql: Any) -> None:
    first, second = Doorbell(), Doorbell()
    async with served.client() as one, listening(one, first):
        async with served.client() as two, listening(two, second):
            await insert(sql, "job-1")
            assert (await first.next())["data"]["record"] == (await second.next())["data"]["record"]
        await insert(sql, "job-2")
        assert (await first.next())["data"]["record"]["id"] == "job-2"


async def test_a_user_hears_only_what_the_policy_shows_him(served: Served, sql: Any) -> None:
    mine = Doorbell()
    async with served.client(served.keys.user_token(USER_A)) as client, listening(client, mine):
        await insert(sql, "theirs", USER_B)
        await insert(sql, "nobodys")
        await insert(sql, "mine", USER_A)
        assert (await mine.next())["data"]["record"]["id"] == "mine"


async def test_both_generations_of_api_keys_open_a_socket(served: Served, sql: Any) -> None:
    bell = Doorbell()
    async with served.client(served.keys.secret) as client, listening(client, bell):
        await insert(sql, "job-1")
        assert (await bell.next())["data"]["record"]["id"] == "job-1"


async def test_set_auth_changes_what_a_channel_may_see(served: Served, sql: Any) -> None:
    async with served.wire(served.keys.user_token(USER_A)) as wire:
        await wire.join("realtime:jobs", INSERTS)
        await wire.push("realtime:jobs", "access_token", {"access_token": served.keys.user_token(USER_B)})
        await wire.event("system")
        await insert(sql, "a", USER_A)
        await insert(sql, "b", USER_B)
        assert [data["record"]["id"] for data in await wire.changes(1)] == ["b"]


async def test_a_trigger_rings_a_private_bell_for_service_role(served: Served, sql: Any, postgres: Postgres) -> None:
    postgres.psql(BELL)
    bell = Doorbell()
    async with served.client() as client:
        channel = client.channel("bell", {"config": {"private": True, "broadcast": None, "presence": None}})
        async with Joined(channel.on_broadcast("job", bell), ready=False):
            await insert(sql, "job-1")
            assert (await bell.next())["payload"] == {"id": "job-1"}


async def test_a_private_topic_needs_a_policy_for_users_and_honours_it(
    served: Served, sql: Any, postgres: Postgres
) -> None:
    reason = "Unauthorized: You do not have permissions to read from this Channel topic: bell"
    async with served.wire(served.keys.user_token(USER_A)) as wire:
        reply = await wire.join("realtime:bell", private=True)
        assert reply["payload"] == {"status": "error", "response": {"reason": reason}}
        postgres.psql(READ_OWN_BELL)
        assert (await wire.join("realtime:bell", private=True))["payload"]["status"] == "ok"
        await wire.push("realtime:bell", "broadcast", {"event": "x"})  # may read, may not write: dropped
        await sql.execute("select realtime.send('{}', 'ding', 'bell')")
        assert (await wire.event("broadcast"))["payload"]["event"] == "ding"
        assert [frame["event"] for frame in wire.heard].count("broadcast") == 1


async def test_a_write_policy_lets_a_user_speak_on_a_private_topic(served: Served, postgres: Postgres) -> None:
    postgres.psql("""create policy bell on realtime.messages for all to authenticated
        using (realtime.topic() = 'bell') with check (realtime.topic() = 'bell' and auth.uid() is not null)""")
    async with (
        served.wire() as hears,
        served.wire(served.keys.user_token(USER_A)) as speaks,
    ):
        await hears.join("realtime:bell", private=True)
        await speaks.join("realtime:bell", private=True)
        await speaks.push("realtime:bell", "broadcast", {"event": "hello", "payload": {}})
        assert (await hears.event("broadcast"))["payload"]["event"] == "hello"
    assert postgres.psql("select count(*) from realtime.messages") == "0"


async def test_broadcasts_from_sql_come_at_commit_in_order_and_never_after_a_rollback(served: Served, sql: Any) -> None:
    send = "select realtime.send(jsonb_build_object('n', $1::int), 'e', 'room', false)"
    async with served.wire() as wire:
        await wire.join("realtime:room", broadcast={"replication_ready": True})
        await wire.event("system")
        transaction = sql.transaction()
        await transaction.start()
        await sql.execute(send, 0)
        await transaction.rollback()
        async with sql.transaction():
            for number in range(1, 51):
                await sql.execute(send, number)
        heard = [(await wire.event("broadcast"))["payload"]["payload"] for _ in range(50)]
    assert [payload["n"] for payload in heard] == list(range(1, 51))
    assert len({payload["id"] for payload in heard}) == 50


async def test_a_payload_that_cannot_be_sent_warns_and_spares_the_transaction(served: Served, sql: Any) -> None:
    warnings: list[str] = []
    sql.add_log_listener(lambda _connection, message: warnings.append(message.message))
    async with sql.transaction():
        await sql.execute("select realtime.send('[1,2]', 'e', 'room', false)")
        await insert(sql, "job-1")
    assert warnings[0].startswith("ErrorSendingBroadcastMessage: ")
    assert await sql.fetchval(f"select count(*) from public.{JOBS}") == 1


async def test_a_transaction_of_20000_rows_arrives_whole_and_in_order(served: Served, sql: Any) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        await sql.execute(f"insert into public.{JOBS} (id, n) select 'j' || g, g from generate_series(1, 20000) g")
        records = [data["record"]["n"] for data in await wire.changes(20_000)]
    assert records == list(range(1, 20_001))


async def test_what_happened_without_a_subscriber_is_never_replayed(served: Served, sql: Any) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        await wire.push("realtime:jobs", "phx_leave", {})
        await wire.event("phx_close")
        await insert(sql, "lost")
        await wire.join("realtime:jobs", INSERTS)
        await insert(sql, "heard")
        assert [data["record"]["id"] for data in await wire.changes(1)] == ["heard"]


async def test_a_second_join_of_a_topic_keeps_the_slot(served: Served, sql: Any) -> None:
    slots = "select slot_name from pg_replication_slots"
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        first = await sql.fetchval(slots)
        await wire.join("realtime:jobs", INSERTS)
        assert [frame["event"] for frame in wire.heard[-3:]] == ["phx_reply", "phx_close", "system"]
        assert await sql.fetchval(slots) == first
        await insert(sql, "once")
        assert [data["record"]["id"] for data in await wire.changes(1)] == ["once"]
        assert await wire.quiet() == []


async def test_an_open_transaction_is_heard_when_it_commits_and_not_before(served: Served, sql: Any) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        async with sql.transaction():
            await insert(sql, "late")
            await served.api.capture.poll()
            assert await wire.quiet() == []
        assert [data["record"]["id"] for data in await wire.changes(1)] == ["late"]


async def test_http_broadcasts_reach_private_topics_only_with_the_right_to_write(served: Served) -> None:
    message = {"topic": "bell", "event": "x", "payload": {"from": "nobody"}, "private": True}
    async with served.wire() as wire, httpx.AsyncClient() as http:
        await wire.join("realtime:bell", private=True)
        for key, sender in ((served.keys.anon, "anon"), (served.keys.secret, "service")):
            body = {"messages": [{**message, "payload": {"from": sender}}]}
            answer = await http.post(f"{served.http}/api/broadcast", json=body, headers={"apikey": key})
            assert answer.status_code == 202
        assert (await wire.event("broadcast"))["payload"]["payload"] == {"from": "service"}


async def test_a_policy_that_fails_shows_nothing_and_breaks_nothing(
    served: Served, sql: Any, postgres: Postgres
) -> None:
    postgres.psql(f"""grant select on public.{JOBS} to anon;
        create policy broken on public.{JOBS} for select to anon using (1 / (length(id) - 3) > 0)""")
    try:
        async with served.wire(served.keys.anon) as broken, served.wire() as wire:
            await broken.join("realtime:jobs", INSERTS)
            await wire.join("realtime:jobs", INSERTS)
            await insert(sql, "abc")
            assert [data["record"]["id"] for data in await wire.changes(1)] == ["abc"]
            assert await broken.quiet() == []
    finally:
        postgres.psql(f"drop policy broken on public.{JOBS}; revoke all on public.{JOBS} from anon")


async def test_a_cold_start_loses_what_is_inserted_before_the_system_message(postgres: Postgres) -> None:
    async with serve(postgres, Keys.fresh(), cold_start=(0.2, 0.3)) as served, served.wire() as wire:
        connection = await asyncpg.connect(postgres.url())
        await wire.push("realtime:jobs", "phx_join", {"config": {"postgres_changes": [INSERTS]}}, ref="1")
        await wire.event("phx_reply")
        await insert(connection, "cold-lost")
        await wire.event("system")
        await insert(connection, "cold-heard")
        assert [data["record"]["id"] for data in await wire.changes(1)] == ["cold-heard"]
        await connection.close()


async def test_a_deaf_stand_in_answers_and_delivers_nothing(served: Served, sql: Any) -> None:
    async with served.wire() as wire, served.wire() as control:
        await wire.join("realtime:jobs", INSERTS)
        await control.join("realtime:jobs", INSERTS)
        served.api.deaf = True
        await insert(sql, "unheard")
        await sql.execute("select realtime.send('{}', 'e', 'jobs', false)")
        await served.api.capture.poll()
        assert await wire.quiet() == []
        served.api.deaf = False
        await insert(sql, "heard")
        assert [data["record"]["id"] for data in await wire.changes(1)] == ["heard"]


@pytest.mark.parametrize(("code", "seen"), [(1012, 1012), (1001, 1001), (None, 1006)])
async def test_dropped_sockets_see_the_close_code_or_a_cut(served: Served, code: int | None, seen: int) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:room")
        await served.api.drop_all(code)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(wire.connection.recv(), 10)
        assert wire.connection.close_code == seen
    async with served.wire() as again:
        assert (await again.join("realtime:room"))["payload"]["status"] == "ok"


async def test_a_silent_client_is_closed_with_1000(postgres: Postgres) -> None:
    async with serve(postgres, Keys.fresh(), idle_timeout=0.3) as served, served.wire() as wire:
        await wire.join("realtime:room")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(wire.connection.recv(), 10)
        assert wire.connection.close_code == 1000


async def test_a_token_that_ends_closes_the_channel_and_not_the_socket(served: Served) -> None:
    async with served.wire() as wire:
        await wire.join("realtime:room", access_token=served.keys.user_token(USER_A, expires_in=1.5))
        assert (await wire.event("system"))["payload"]["message"] == "Token has expired 0 seconds ago"
        assert (await wire.event("phx_close"))["ref"] == "1"
        assert await wire.quiet() == []


async def test_sockets_outlive_a_restart_of_postgresql_and_capture_comes_back(postgres: Postgres, sql: Any,
                                                                              served: Served) -> None:  # fmt: skip
    async with served.wire() as wire:
        await wire.join("realtime:jobs", INSERTS)
        await wire.join("realtime:room")
        await sql.close()
        postgres.halt("fast")
        assert await wire.quiet() == []
        postgres.start()
        heard = await first_after_restart(wire, postgres)
        assert heard["record"]["status"] == "after"
        assert "system" not in [frame["event"] for frame in wire.heard[4:]]


async def test_a_join_while_postgresql_is_away_is_ready_when_it_is_back(postgres: Postgres, served: Served) -> None:
    async with served.wire() as wire:
        postgres.halt("immediate")
        await wire.push("realtime:jobs", "phx_join", {"config": {"postgres_changes": [INSERTS]}}, ref="1")
        assert (await wire.event("phx_reply"))["payload"]["status"] == "ok"
        assert await wire.quiet() == []
        postgres.start()
        assert (await wire.event("system"))["payload"]["message"] == "Subscribed to PostgreSQL"


async def first_after_restart(wire: Wire, postgres: Postgres) -> dict[str, Any]:
    """Insert until one is heard: inserts made before the new slot exists are lost, as on the real server."""
    connection = await asyncpg.connect(postgres.url())
    try:
        for number in range(200):
            await insert(connection, f"after-{number}", status="after")
            if changes := [frame for frame in await wire.quiet() if frame["event"] == "postgres_changes"]:
                return dict(changes[0]["payload"]["data"])
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    raise AssertionError("capture did not come back")


async def test_nothing_is_left_after_stop(postgres: Postgres) -> None:
    sessions = "select count(*) from pg_stat_activity where application_name = 'devstack-realtime'"
    slots = "select count(*) from pg_replication_slots"
    before = asyncio.all_tasks()
    async with serve(postgres, Keys.fresh()) as served:
        async with served.client() as client, listening(client, Doorbell()):
            assert (postgres.psql(slots), postgres.psql(sessions)) == ("1", "3")
        async with served.wire(served.keys.user_token(USER_A)) as wire:
            await wire.join("realtime:jobs", EVERYTHING)
            await wire.join("realtime:bell", private=True)
    async with asyncio.timeout(15):
        while (postgres.psql(slots), postgres.psql(sessions)) != ("0", "0"):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0)
    left = [repr(task) for task in asyncio.all_tasks() - before if not task.done()]
    assert [task for task in left if "devstack/realtime" in task] == []


async def test_subscribed_is_reported_before_capture_is_ready(postgres: Postgres) -> None:
    """The trap that a worker has to know: SUBSCRIBED comes with the reply, `system` when inserts are heard."""
    async with serve(postgres, Keys.fresh(), cold_start=(0.3, 0.3)) as served, served.client() as client:
        states: list[RealtimeSubscribeStates] = []
        system = Doorbell()
        channel = client.channel("jobs").on_postgres_changes("INSERT", Doorbell(), table=JOBS)  # type: ignore[arg-type]
        channel.on_system(system)
        await channel.subscribe(lambda state, _: states.append(state))
        assert states == [RealtimeSubscribeStates.SUBSCRIBED]
        assert system.rings.empty()
        assert (await system.next()).message == "Subscribed to PostgreSQL"
