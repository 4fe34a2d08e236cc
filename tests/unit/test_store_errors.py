"""What PostgREST and proxies say, as one of two errors: repeat the call, or do not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest
from postgrest.exceptions import APIError
from supabase import AsyncClientOptions, acreate_client

from consumer.database import Database, _translated
from consumer.errors import ServiceUnavailable, StoreRefused, StoreUnavailable
from consumer.preflight import explained
from consumer.store import Store
from devstack.keys import Keys

ROW = "Failing row contains (job_1, my private prompt)"


def error(code: str | None) -> APIError:
    return APIError({"code": code, "message": "said so", "details": ROW, "hint": None})


@pytest.mark.parametrize(
    "code", ["57014", "40001", "40P01", "53300", "55P03", "08006", "58030", "XX000", "PGRST000", "PGRST002", "PGRST003",
             "500", "502", "503", "520", "429"]
)  # fmt: skip
def test_what_may_pass_is_unavailable(code: str) -> None:
    assert isinstance(_translated(error(code), "claim"), StoreUnavailable)


@pytest.mark.parametrize("code", [None, "42501", "23514", "PGRST202", "PGRST301", "400", "401", "404", "P0001"])
def test_what_stays_wrong_is_refused_with_its_code(code: str | None) -> None:
    refused = _translated(error(code), "claim")
    assert isinstance(refused, StoreRefused)
    assert refused.code == code


def test_a_failing_row_never_gets_into_the_message() -> None:
    assert "private prompt" not in str(_translated(error("23514"), "settle"))


@pytest.mark.parametrize("code", ["PGRST000", "PGRST001", "PGRST002", "PGRST003"])
def test_a_project_that_answers_without_its_database_is_told_from_one_that_is_away(code: str) -> None:
    said = explained(_translated(error(code), "heartbeat"), "https://ref.supabase.co")
    assert isinstance(said, ServiceUnavailable)
    assert f"https://ref.supabase.co answers, but its database does not ({code})" in str(said)


@pytest.mark.parametrize(
    "read", [lambda store: store.job_row("job_1"), lambda store: store.workers()], ids=["row", "rows"]
)
async def test_a_proxys_page_is_an_outage_and_not_an_empty_table(read: Callable[[Store], Awaitable[object]]) -> None:
    page = httpx.MockTransport(lambda request: httpx.Response(200, json="Under maintenance"))
    http = httpx.AsyncClient(transport=page)
    options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
    client = await acreate_client("http://project.example", Keys.fresh().secret, options)
    async with http:
        with pytest.raises(StoreUnavailable, match="something other than PostgREST answered"):
            await read(Store(Database(client, http), "w", 20))
