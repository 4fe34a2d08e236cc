"""One request, one transaction: time limits, locks, roles' settings, read-only work, side effects and their undoing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from devstack.postgres import Postgres
from tests.integration.rest_replay import RESET, SETUP, U1, bare_client, bearer

JOB = "00000000-0000-4000-8000-00000000000"
EXTRA = """
create sequence public.tries;
grant usage on sequence public.tries to service_role;
create function public.always_40001() returns void language plpgsql as $$
begin perform nextval('public.tries'); raise sqlstate '40001' using message = 'no'; end $$;
create function public.set_header(h text) returns int language plpgsql as $$
begin perform set_config('response.headers', h, true); return 1; end $$;
create table public.deferred (id int primary key, parent int references public.deferred deferrable initially deferred);
create table public.inbox (id int generated always as identity primary key, note text not null default 'empty');
revoke all on public.inbox from anon;
grant insert on public.inbox to anon;
grant all on public.deferred to service_role;
"""
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql(SETUP + EXTRA)
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Postgres) -> AsyncIterator[httpx.AsyncClient]:
    async with bare_client(server) as client:
        yield client


@pytest.fixture(autouse=True)
def rows(server: Postgres) -> None:
    server.psql(RESET)


async def call(client: httpx.AsyncClient, name: str, **arguments: object) -> httpx.Response:
    return await client.post(f"/rpc/{name}", json=arguments, headers=bearer())


async def until_waiting(server: Postgres, event: str) -> None:
    waiting = f"select count(*) from pg_stat_activity where wait_event = '{event}'"
    while server.psql(waiting, user="supabase_admin") == "0":
        await asyncio.sleep(0.01)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


async def test_settings_of_the_role_apply_to_its_requests(client: httpx.AsyncClient) -> None:
    limits = {}
    for role in ("anon", "authenticated", "service_role"):
        seen = (await client.get("/rpc/gucs", headers=bearer(role))).json()
        limits[role] = (seen["statement_timeout"], seen["lock_timeout"], seen["read_only"])
    assert limits == {
        "anon": ("3s", "8s", "on"),
        "authenticated": ("8s", "8s", "on"),
        "service_role": ("8s", "8s", "on"),
    }


async def test_nothing_of_a_request_leaks_into_the_next_one(server: Postgres) -> None:
    async with bare_client(server, pool_size=1) as client:
        await client.post("/rpc/gucs_hoisted", headers=bearer("authenticated", sub=U1))
        seen = (await client.post("/rpc/gucs_volatile")).json()
    assert (seen["role"], seen["claims"], seen["statement_timeout"]) == ("anon", {"role": "anon"}, "3s")
    assert (seen["isolation"], seen["read_only"]) == ("read committed", "off")


async def test_a_cancelled_statement_is_told_from_a_timed_out_one(client: httpx.AsyncClient, server: Postgres) -> None:
    running = asyncio.create_task(call(client, "sleeper", seconds=5))
    await until_waiting(server, "PgSleep")
    server.psql(
        "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'", user="supabase_admin"
    )
    response = await running
    assert code(response) == (500, "57014")
    assert response.json()["message"] == "canceling statement due to user request"


async def test_a_locked_row_is_a_55p03_where_the_function_does_not_wait(
    client: httpx.AsyncClient, server: Postgres
) -> None:
    holder = asyncio.create_task(call(client, "hold", j=f"{JOB}1", seconds=1.2))
    await until_waiting(server, "PgSleep")
    assert code(await call(client, "lock_nowait", j=f"{JOB}1")) == (500, "55P03")
    assert code(await call(client, "lock_short", j=f"{JOB}1")) == (500, "55P03")
    waited = await client.patch(f"/jobs?id=eq.{JOB}1", json={"prompt": "w"}, headers=bearer())
    assert (await holder).status_code == waited.status_code == 204


async def test_a_deadlock_costs_one_of_the_two_an_error(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        call(client, "lock_two", first=f"{JOB}1", second=f"{JOB}2", pause=0.3),
        call(client, "lock_two", first=f"{JOB}2", second=f"{JOB}1", pause=0.3),
    )
    assert sorted(answer.status_code for answer in answers) == [204, 500]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 500} == {"40P01"}


async def test_a_serialization_failure_is_reported_and_not_retried(client: httpx.AsyncClient, server: Postgres) -> None:
    assert code(await call(client, "always_40001")) == (500, "40001")
    assert server.psql("select last_value from public.tries") == "1"


async def test_parallel_claims_never_share_a_row(client: httpx.AsyncClient, server: Postgres) -> None:
    server.psql("insert into public.jobs (prompt) select 'many' from generate_series(1, 20)")
    answers = await asyncio.gather(*(call(client, "claim_jobs", worker_id=f"w{n}", max_jobs=2) for n in range(15)))
    claimed = [job["id"] for answer in answers for job in answer.json()]
    assert len(claimed) == len(set(claimed)) == 23


async def test_a_wrong_row_count_undoes_the_work(client: httpx.AsyncClient, server: Postgres) -> None:
    one = {**bearer(), "Accept": "application/vnd.pgrst.object+json"}
    arguments = {"worker_id": "w", "max_jobs": 2}
    assert code(await client.post("/rpc/claim_jobs", json=arguments, headers=one)) == (406, "PGRST116")
    assert code(await client.patch("/jobs", json={"prompt": "x"}, headers=one)) == (406, "PGRST116")
    strict = {**bearer(), "Prefer": "handling=strict, max-affected=2"}
    assert code(await client.delete("/jobs", headers=strict)) == (400, "PGRST124")
    untouched = "select count(*) from public.jobs where worker is null and prompt <> 'x'"
    assert server.psql(untouched) == "5"


async def test_within_max_affected_a_strict_write_says_so(client: httpx.AsyncClient) -> None:
    strict = {**bearer(), "Prefer": "handling=strict, max-affected=5"}
    response = await client.delete("/jobs", headers=strict)
    assert response.status_code == 204
    assert response.headers["preference-applied"] == "handling=strict, max-affected=5"


async def test_a_constraint_checked_at_commit_fails_the_request(client: httpx.AsyncClient) -> None:
    response = await client.post("/deferred", json={"id": 1, "parent": 99}, headers=bearer())
    assert code(response) == (409, "23503")


async def test_writes_go_on_where_read_only_is_only_the_default(server: Postgres) -> None:
    server.psql("alter role authenticator set default_transaction_read_only = on", user="supabase_admin")
    try:
        async with bare_client(server) as client:
            assert (await call(client, "vol_writer", p="ro")).status_code == 200
            assert code(await client.get("/rpc/vol_writer?p=ro", headers=bearer())) == (405, "25006")
    finally:
        server.psql("alter role authenticator reset default_transaction_read_only", user="supabase_admin")


async def test_a_role_that_may_only_insert_can_with_a_minimal_return(client: httpx.AsyncClient) -> None:
    body = [{"note": "a"}, {"note": "b"}]
    assert (await client.post("/inbox", json=body)).status_code == 201
    assert (await client.post("/inbox", json={})).status_code == 201
    refused = await client.post("/inbox", json=body, headers={"Prefer": "return=representation"})
    assert code(refused) == (401, "42501")


async def test_missing_columns_are_null_or_default_as_preferred(client: httpx.AsyncClient) -> None:
    rows = [{"prompt": "a", "status": "processing"}, {"prompt": "b"}]
    prefer = {**bearer(), "Prefer": "return=representation, missing=default"}
    made = await client.post("/jobs?columns=prompt,status&select=status", json=rows, headers=prefer)
    assert made.json() == [{"status": "processing"}, {"status": "pending"}]
    refused = await client.post("/jobs?columns=prompt,status", json=rows, headers=bearer())
    assert code(refused) == (400, "23502")


@pytest.mark.parametrize("header", ["nope", "[1]", '[{"X": "a\\nb"}]', '[{"Xé": "a"}]', '{"a": 1}'])
async def test_bad_response_headers_are_an_error_and_never_sent(client: httpx.AsyncClient, header: str) -> None:
    assert code(await call(client, "set_header", h=header)) == (500, "PGRST111")


@pytest.mark.parametrize("state", ["PT100", "PT199", "PT999", "PT600"])
async def test_a_status_that_http_does_not_have_becomes_500(client: httpx.AsyncClient, state: str) -> None:
    assert code(await call(client, "raise_state", state=state)) == (500, state)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none(client: httpx.AsyncClient, status: int) -> None:
    response = await call(client, "raise_state", state=f"PT{status}")
    assert (response.status_code, response.content) == (status, b"")


async def test_json_deeper_than_python_recurses_is_refused(client: httpx.AsyncClient) -> None:
    body = b'{"j":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    response = await client.post("/rpc/echo_jsonb", content=body, headers=bearer())
    assert code(response) == (500, "54001")


async def test_a_large_argument_passes(client: httpx.AsyncClient) -> None:
    assert (await call(client, "len_of", t="x" * 5_000_000)).text == "5000000"


async def test_strings_of_a_variadic_parameter_are_collected(client: httpx.AsyncClient) -> None:
    assert (await client.get("/rpc/vari?v=a&v=b%2Cc", headers=bearer())).json() == ["a", "b,c"]
    assert (await client.get("/rpc/vari?v=a", headers=bearer())).json() == ["a"]
    assert (await call(client, "vari", v=["x", "y"])).json() == ["x", "y"]


async def test_the_root_lists_what_is_exposed(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers=bearer())
    assert response.headers["content-type"] == "application/openapi+json; charset=utf-8"
    assert {"/jobs", "/rpc/claim_jobs"} <= response.json()["paths"].keys()
    assert "/rpc/hidden" not in response.json()["paths"]
