"""The gateway with both halves behind it: keys, CORS, the port, restarts, and the official client through it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
import websockets
from supabase import AsyncClient, acreate_client

from devstack.errors import DevStackError
from devstack.gateway import Gateway
from devstack.keys import Keys
from devstack.postgres import Postgres
from tests.integration.rest_replay import RESET, SETUP, U1

KEYS = Keys.fresh()
WAIT = 15.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql(SETUP)
        server.psql(RESET)
        yield server


@pytest_asyncio.fixture
async def gateway(server: Postgres) -> AsyncIterator[Gateway]:
    gateway = Gateway(server.url, KEYS)
    await gateway.start()
    yield gateway
    await gateway.stop()


@pytest_asyncio.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=WAIT) as client:
        yield client


async def role_seen(http: httpx.AsyncClient, headers: dict[str, str], query: str = "") -> str:
    response = await http.get(f"/rest/v1/rpc/gucs{query}", headers=headers)
    role: str = response.json()["role"]
    return role


@pytest.mark.parametrize(
    ("key", "role"),
    [
        (KEYS.publishable, "anon"),
        (KEYS.secret, "service_role"),
        (KEYS.anon, "anon"),
        (KEYS.service_role, "service_role"),
    ],
    ids=["publishable", "secret", "anon", "service_role"],
)
async def test_an_api_key_alone_gives_its_role(http: httpx.AsyncClient, key: str, role: str) -> None:
    assert await role_seen(http, {"apikey": key}) == role
    assert await role_seen(http, {"apikey": key, "Authorization": f"Bearer {key}"}) == role
    assert await role_seen(http, {}, f"?apikey={key}") == role


async def test_a_users_token_wins_over_the_key(http: httpx.AsyncClient) -> None:
    headers = {"apikey": KEYS.publishable, "Authorization": f"Bearer {KEYS.user_token(U1)}"}
    assert await role_seen(http, headers) == "authenticated"


async def test_another_secret_key_as_bearer_is_not_exchanged(http: httpx.AsyncClient) -> None:
    headers = {"apikey": KEYS.publishable, "Authorization": f"Bearer {KEYS.secret}"}
    response = await http.get("/rest/v1/rpc/gucs", headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "PGRST301")


async def test_a_request_without_a_key_is_refused(http: httpx.AsyncClient) -> None:
    response = await http.get("/rest/v1/jobs", headers={"Authorization": f"Bearer {KEYS.service_role}"})
    assert (response.status_code, response.json()["message"]) == (401, "No API key found in request")


@pytest.mark.parametrize(
    "key",
    ["wrong", "sb_secret_0000", Keys.fresh().service_role, KEYS.user_token(U1), KEYS.token("postgres")],
    ids=["word", "sb_secret", "other project", "user token", "other role"],
)
async def test_an_unknown_key_is_refused(http: httpx.AsyncClient, key: str) -> None:
    response = await http.get("/rest/v1/jobs", headers={"apikey": key})
    assert (response.status_code, response.json()["message"]) == (401, "Invalid API key")


async def test_the_query_key_is_not_taken_for_a_filter(http: httpx.AsyncClient) -> None:
    query = f"select=prompt&prompt=eq.h%C3%A9%26%2B&apikey={KEYS.secret}"
    response = await http.get(f"/rest/v1/jobs?{query}")
    assert (response.status_code, response.json()) == (200, [])
    assert response.headers["content-location"] == "/jobs?prompt=eq.h%C3%A9%26%2B&select=prompt"


async def test_a_browsers_preflight_is_answered(http: httpx.AsyncClient) -> None:
    asked = {
        "Origin": "http://localhost:5173", "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "apikey,authorization,prefer,x-client-info",
    }  # fmt: skip
    response = await http.options("/rest/v1/jobs", headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert "PATCH" in response.headers["access-control-allow-methods"]
    assert "prefer" in response.headers["access-control-allow-headers"]


async def test_a_browser_may_read_refusals_too(http: httpx.AsyncClient) -> None:
    response = await http.get("/rest/v1/jobs", headers={"Origin": "http://localhost:5173"})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (401, "*")


@pytest.mark.parametrize("path", ["/", "/health"])
async def test_it_says_what_it_is(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert response.status_code == 200
    assert "embedded dev stack" in response.json()["name"]


async def test_what_is_not_there_is_named(http: httpx.AsyncClient) -> None:
    response = await http.post("/auth/v1/token", json={})
    assert response.status_code == 404
    assert "no auth" in response.json()["message"]


async def test_a_taken_port_is_an_error_with_a_way_out(server: Postgres) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gateway = Gateway(server.url, KEYS, port=port)
        with pytest.raises(DevStackError, match=rf"port {port} .* is taken.* another port"):
            await gateway.start()
        await gateway.stop()


async def test_it_leaves_the_signal_handlers_alone(gateway: Gateway) -> None:
    import signal

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_it_comes_back_on_the_same_port_under_an_open_client(gateway: Gateway, http: httpx.AsyncClient) -> None:
    headers = {"apikey": KEYS.secret}
    before = gateway.url
    assert await role_seen(http, headers) == "service_role"
    await gateway.stop()
    with pytest.raises(httpx.TransportError):
        await http.get("/rest/v1/jobs", headers=headers)
    await gateway.start()
    assert gateway.url == before
    assert await role_seen(http, headers) == "service_role"


async def test_stopping_twice_is_the_same_as_once(server: Postgres) -> None:
    gateway = Gateway(server.url, KEYS)
    await gateway.start()
    await gateway.stop()
    await gateway.stop()


async def test_a_request_that_outlasts_the_stop_is_rolled_back(
    gateway: Gateway, http: httpx.AsyncClient, server: Postgres
) -> None:
    call = {"seconds": 30, "k": "outlasts"}
    running = asyncio.create_task(http.post("/rest/v1/rpc/insert_sleep", json=call, headers={"apikey": KEYS.secret}))
    busy = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
    while await asyncio.to_thread(server.psql, busy, user="supabase_admin") == "0":
        assert not running.done()
    await gateway.stop()
    response = await running
    assert (response.status_code, response.json()["code"]) == (503, "PGRST001")
    while await asyncio.to_thread(server.psql, busy, user="supabase_admin") != "0":
        await asyncio.sleep(0.02)
    assert server.psql("select count(*) from public.jobs where idem_key = 'outlasts'") == "0"


async def test_stopping_closes_websockets_with_1012(gateway: Gateway) -> None:
    url = gateway.url.replace("http", "ws") + f"/realtime/v1/websocket?apikey={KEYS.publishable}&vsn=1.0.0"
    async with websockets.connect(url) as connection:
        await connection.send(json.dumps({"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "1"}))
        await asyncio.wait_for(connection.recv(), WAIT)
        await gateway.stop()
        await asyncio.wait_for(connection.wait_closed(), WAIT)
        assert connection.close_code == 1012


@pytest_asyncio.fixture
async def service(gateway: Gateway, server: Postgres) -> AsyncClient:
    server.psql(RESET)
    return await acreate_client(gateway.url, KEYS.secret)


async def test_the_official_client_works_through_it(service: AsyncClient) -> None:
    claimed = await service.rpc("claim_jobs", {"worker_id": "w", "max_jobs": 2}).execute()
    assert [job["prompt"] for job in claimed.data] == ["one", "two"]  # type: ignore[union-attr, index, call-overload]
    counted = await service.table("jobs").select("id", count="exact", head=True).eq("status", "processing").execute()  # type: ignore[arg-type]
    assert counted.count == 3
