"""The official supabase-py client against the gateway: what an application sees of the REST half."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from devstack.gateway import Gateway
from devstack.keys import Keys
from devstack.postgres import Postgres
from tests.integration.rest_replay import RESET, SETUP, U1

KEYS = Keys.fresh()
U2 = "22222222-2222-4222-8222-222222222222"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        server.psql(SETUP)
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(server: Postgres) -> AsyncIterator[Gateway]:
    gateway = Gateway(server.url, KEYS)
    await gateway.start()
    yield gateway
    await gateway.stop()


@pytest.fixture(autouse=True)
def rows(server: Postgres) -> None:
    server.psql(RESET)


@pytest_asyncio.fixture(loop_scope="module")
async def service(gateway: Gateway) -> AsyncClient:
    return await acreate_client(gateway.url, KEYS.secret)


@pytest_asyncio.fixture(loop_scope="module")
async def user(gateway: Gateway) -> AsyncClient:
    options = AsyncClientOptions(headers={"Authorization": f"Bearer {KEYS.user_token(U1)}"})
    return await acreate_client(gateway.url, KEYS.publishable, options)


async def data(query: Any) -> Any:
    return (await query.execute()).data


async def failure(query: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        await query.execute()
    return caught.value


async def test_rpc_gives_rows_scalars_nothing_and_null(service: AsyncClient) -> None:
    claimed = await data(service.rpc("claim_jobs", {"worker_id": "w", "max_jobs": 1}))
    assert (claimed[0]["worker"], claimed[0]["lease"]) == ("w", 1)
    assert (
        await data(service.rpc("settle_job", {"job_id": claimed[0]["id"], "lease": 1, "outcome": {"a": [1]}})) is True
    )
    assert await data(service.rpc("settle_job", {"job_id": claimed[0]["id"], "lease": 1, "outcome": {}})) is False
    assert await data(service.rpc("ret_void", {})) == []
    assert await data(service.rpc("ret_null_json", {})) is None
    assert await data(service.rpc("echo_args", {"a": 1, "c": {"x": [1]}}, get=True)) == {
        "a": 1, "b": "dflt", "c": {"x": [1]}, "c_type": "object",
    }  # fmt: skip


async def test_a_composite_without_a_row_is_an_object_of_nulls(service: AsyncClient) -> None:
    await data(service.rpc("claim_jobs", {"worker_id": "w", "max_jobs": 9}))
    job = await data(service.rpc("claim_one", {"worker_id": "w"}))
    assert set(job.values()) == {None}
    assert "id" in job


async def test_select_with_filters_order_and_ranges(service: AsyncClient) -> None:
    jobs = service.table("jobs")
    assert await data(jobs.select("prompt").in_("prompt", ["one", "a,b", 'c"d', "e(f)"])) == [{"prompt": "one"}]
    assert await data(jobs.select("prompt").is_("user_id", None)) == [{"prompt": "four"}]
    assert await data(jobs.select("prompt").order("created_at", desc=True).range(1, 2)) == [
        {"prompt": "four"}, {"prompt": "three"},
    ]  # fmt: skip
    either = jobs.select("prompt").or_("status.eq.completed,and(prompt.eq.two,lease.lt.1)").order("prompt")
    assert await data(either) == [{"prompt": "five"}, {"prompt": "two"}]
    assert await data(jobs.select("prompt").lt("created_at", "2026-01-02T03:04:01.5+00:00")) == [{"prompt": "one"}]


async def test_counts_and_heads(service: AsyncClient) -> None:
    found = await service.table("jobs").select("id", count="exact").limit(2).execute()  # type: ignore[arg-type]
    assert (len(found.data), found.count) == (2, 5)
    head = await service.table("jobs").select("id", count="exact", head=True).execute()  # type: ignore[arg-type]
    assert (head.data, head.count) == ([], 5)


async def test_single_and_maybe_single(service: AsyncClient) -> None:
    jobs = service.table("jobs").select("prompt")
    assert await data(service.table("jobs").select("prompt").eq("idem_key", "k2").single()) == {"prompt": "two"}
    assert await service.table("jobs").select("id").eq("idem_key", "none").maybe_single().execute() is None
    assert (await failure(jobs.eq("idem_key", "none").single())).code == "PGRST116"


async def test_insert_update_upsert_and_delete(service: AsyncClient) -> None:
    jobs = service.table("jobs")
    made = await data(jobs.insert({"prompt": "p", "payload": {"a": [1, None]}, "idem_key": "new"}))
    assert (made[0]["status"], made[0]["payload"]) == ("pending", {"a": [1, None]})
    assert len(await data(jobs.insert([{"prompt": "a"}, {"prompt": "b"}]))) == 2
    assert await data(jobs.insert({"prompt": "quiet"}, returning="minimal")) == []  # type: ignore[arg-type]
    changed = jobs.update({"status": "processing"}).eq("id", made[0]["id"]).eq("status", "pending")
    assert (await data(changed))[0]["status"] == "processing"
    assert await data(changed) == []
    merged = await data(jobs.upsert({"idem_key": "new", "prompt": "q"}, on_conflict="idem_key"))
    assert (merged[0]["id"], merged[0]["prompt"], merged[0]["status"]) == (made[0]["id"], "q", "processing")
    kept = jobs.upsert({"idem_key": "new", "prompt": "r"}, on_conflict="idem_key", ignore_duplicates=True)
    assert await data(kept) == []
    assert len(await data(jobs.delete().eq("idem_key", "new"))) == 1


async def test_a_user_sees_and_makes_only_own_rows(user: AsyncClient) -> None:
    jobs = user.table("jobs")
    assert {row["user_id"] for row in await data(jobs.select("user_id"))} == {U1}
    assert (await data(jobs.insert({"prompt": "mine", "user_id": U1})))[0]["user_id"] == U1
    assert (await failure(jobs.insert({"prompt": "not mine", "user_id": U2}))).code == "42501"
    assert await data(jobs.update({"prompt": "x"}).eq("user_id", U2)) == []
    assert (await failure(user.rpc("admin_only", {}))).code == "42501"


async def test_errors_come_as_api_errors_with_postgrests_codes(service: AsyncClient) -> None:
    jobs = service.table("jobs")
    queries = {
        "PGRST202": service.rpc("no_such", {"a": 1}), "PGRST203": service.rpc("ambi", {"a": 1}),
        "22P02": service.rpc("settle_job", {"job_id": "x", "lease": 1, "outcome": {}}),
        "P0001": service.rpc("raise_plain", {}), "PT409": service.rpc("raise_pt409", {}),
        "57014": service.rpc("sleeper_1s", {"seconds": 5}), "22P05": service.rpc("echo_text", {"t": "a\0b"}),
        "PGRST205": service.table("nope").select("*"), "42703": jobs.select("nope"),
        "23505": jobs.insert({"prompt": "p", "idem_key": "k1"}), "23514": jobs.insert({"prompt": "p", "status": "no"}),
        "PGRST204": jobs.insert({"nope": 1}), "PGRST200": jobs.select("id, job_logs(msg)"),
    }  # fmt: skip
    assert {code: (await failure(query)).code for code, query in queries.items()} == {code: code for code in queries}


async def test_an_unjoined_table_says_what_to_do_instead(service: AsyncClient) -> None:
    error = await failure(service.table("jobs").select("id, job_logs(msg)"))
    assert "select each table by itself" in (error.hint or "")
