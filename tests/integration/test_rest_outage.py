"""PostgreSQL goes away, comes back, kills sessions or runs out of them; the API says so and recovers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import httpx
import pytest
import pytest_asyncio

from devstack.postgres import Postgres
from tests.integration.rest_replay import RESET, SETUP, bare_client, bearer

BUSY = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
KILL = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'authenticator'"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql(SETUP)
        server.psql(RESET)
        yield server


@pytest_asyncio.fixture
async def client(server: Postgres) -> AsyncIterator[httpx.AsyncClient]:
    async with bare_client(server) as client:
        yield client


async def call(client: httpx.AsyncClient, name: str = "ret_int", **arguments: object) -> httpx.Response:
    return await client.post(f"/rpc/{name}", json=arguments, headers=bearer())


async def until_busy(server: Postgres) -> None:
    while server.psql(BUSY, user="supabase_admin") == "0":
        await asyncio.sleep(0.01)


async def until(client: httpx.AsyncClient, status: int) -> httpx.Response:
    while (response := await call(client)).status_code != status:
        await asyncio.sleep(0.02)
    return response


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


async def test_while_the_database_is_down_every_answer_is_a_503(client: httpx.AsyncClient, server: Postgres) -> None:
    assert (await call(client)).text == "42"
    server.halt("fast")
    try:
        while code(response := await call(client)) != (503, "PGRST000"):
            assert code(response) == (503, "PGRST001")  # from a pooled session whose end was not noticed yet
        assert response.headers["retry-after"] == "0"
        assert "password" not in response.text
        assert code(await client.get("/jobs", headers=bearer())) == (503, "PGRST000")
        assert code(await client.get("/jobs", headers={"Authorization": "Bearer x"})) == (401, "PGRST301")
        assert code(await call(client, "no_such")) == (404, "PGRST202")
    finally:
        server.start()
    assert (await call(client)).text == "42"


async def test_a_request_that_is_running_when_the_database_stops_gets_pgrst001(
    client: httpx.AsyncClient, server: Postgres
) -> None:
    running = asyncio.create_task(call(client, "sleeper", seconds=6))
    await until_busy(server)
    server.halt("immediate")
    try:
        assert code(await running) == (503, "PGRST001")
    finally:
        server.start()
    assert (await until(client, 200)).text == "42"


async def test_a_killed_backend_costs_one_request(client: httpx.AsyncClient, server: Postgres) -> None:
    running = asyncio.create_task(call(client, "sleeper", seconds=6))
    await until_busy(server)
    server.psql(KILL, user="supabase_admin")
    assert code(await running) == (503, "PGRST001")
    assert (await call(client)).text == "42"


async def test_sessions_killed_while_idle_are_replaced(client: httpx.AsyncClient, server: Postgres) -> None:
    assert (await call(client)).text == "42"
    server.psql(KILL, user="supabase_admin")
    assert (await until(client, 200)).text == "42"


async def test_a_session_used_while_it_is_told_of_its_end_is_a_503_and_is_replaced(
    client: httpx.AsyncClient, server: Postgres
) -> None:
    killer = await asyncpg.connect(server.url("supabase_admin"))
    for _ in range(30):
        await asyncio.gather(*[call(client) for _ in range(5)])
        await killer.fetch(KILL)
        for response in await asyncio.gather(*[call(client) for _ in range(10)]):
            assert response.status_code == 200 or code(response) in {(503, "PGRST001"), (503, "PGRST000")}
    await killer.close()
    assert (await until(client, 200)).text == "42"


async def test_a_cold_start_without_a_database_waits_for_it(server: Postgres) -> None:
    server.halt("fast")
    async with bare_client(server) as client:
        try:
            assert code(await call(client)) == (503, "PGRST002")
        finally:
            server.start()
        assert (await until(client, 200)).text == "42"


async def test_a_schema_reload_survives_the_loss_of_the_listening_session(
    client: httpx.AsyncClient, server: Postgres
) -> None:
    server.psql(KILL, user="supabase_admin")
    server.psql("create function public.made_meanwhile() returns int language sql as $$ select 42 $$")
    while (response := await call(client, "made_meanwhile")).status_code == 404:
        await asyncio.sleep(0.02)
    assert response.text == "42"


async def test_no_more_sessions_for_the_login_role_is_a_503(server: Postgres) -> None:
    async with bare_client(server) as client:
        server.psql("alter role authenticator connection limit 1", user="supabase_admin")
        try:
            assert code(await call(client)) == (503, "PGRST000")
        finally:
            server.psql("alter role authenticator connection limit -1", user="supabase_admin")
        assert (await call(client)).text == "42"


async def test_an_exhausted_pool_is_a_504_and_a_bad_token_is_told_apart(server: Postgres) -> None:
    async with bare_client(server, pool_size=1, pool_timeout=0.2) as client:
        holder = asyncio.create_task(call(client, "sleeper", seconds=1.5))
        await until_busy(server)
        assert code(await call(client)) == (504, "PGRST003")
        assert code(await client.get("/jobs", headers={"Authorization": "Bearer x"})) == (401, "PGRST301")
        assert (await holder).text == '"slept"'
        assert (await call(client)).text == "42"


async def test_the_work_goes_on_when_the_caller_goes_away(client: httpx.AsyncClient, server: Postgres) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.shield(call(client, "sleep_insert", seconds=0.8, k="gone"))
    while server.psql("select count(*) from public.jobs where idem_key = 'gone'") == "0":
        await asyncio.sleep(0.02)
    assert code(await call(client, "sleep_insert", seconds=0, k="gone")) == (409, "23505")
