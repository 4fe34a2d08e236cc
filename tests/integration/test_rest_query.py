"""What a query string can say beyond the recordings: operators, trees, JSON paths, casts, ranges; hostile input."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from devstack.postgres import Postgres
from tests.integration.rest_replay import RESET, SETUP, bare_client, bearer

THINGS = """
create type public.colour as enum ('red', 'green');
create table public.things (
  id int primary key, name varchar(20), tags text[], attributes jsonb, colour public.colour, span int4range,
  code char(3)
);
insert into public.things values
  (1, 'Alpha', '{a,b}', '{"size": 5, "deep": {"list": [10, 20]}, "odd key": 1}', 'red', '[1,5)', 'x'),
  (2, 'beta', '{b,c}', '{"size": 7}', 'green', '[5,9)', 'yy'),
  (3, null, null, null, null, null, null);
create table public."Odd ""table" ("a b" int, "se""lect" text);
insert into public."Odd ""table" values (1, 'x');
"""
HOSTILE = [
    "'; drop table public.things; --", '"; drop table public.things; --', "1) or 1=1 --", "$1", "\\'; select 1; --",
    "things; select pg_sleep(9)", 'a" from public.secrets --', "' or ''='", "%s%s{0}", "\u0130\u2028'\"",
]  # fmt: skip
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[httpx.AsyncClient]:
    with Postgres() as server:
        server.psql(SETUP + THINGS + RESET)
        async with bare_client(server) as client:
            yield client


async def rows(client: httpx.AsyncClient, path: str, **headers: str) -> Any:
    response = await client.get(path, headers={**bearer(), **headers})
    assert response.status_code in (200, 206), response.text
    return response.json()


async def ids(client: httpx.AsyncClient, filters: str) -> list[int]:
    return [row["id"] for row in await rows(client, f"/things?select=id&order=id&{filters}")]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("id=eq.1", [1]), ("id=neq.1", [2, 3]), ("id=gt.1", [2, 3]), ("id=gte.2", [2, 3]), ("id=lt.2", [1]),
        ("id=lte.2", [1, 2]), ("id=not.eq.1", [2, 3]), ("id=in.(1,3)", [1, 3]), ("id=not.in.(1,3)", [2]),
        ("name=like.A*", [1]), ("name=ilike.*A", [1, 2]), ("name=match.^A", [1]), ("name=imatch.^B", [2]),
        ("name=is.null", [3]), ("name=is.not_null", [1, 2]), ("name=not.is.null", [1, 2]), ("name=IS.null", None),
        ("name=isdistinct.beta", [1, 3]), ("tags=cs.{b}", [1, 2]), ("tags=cd.{a,b,z}", [1]), ("tags=ov.{a,c}", [1, 2]),
        ("tags=eq.{a,b}", [1]), ("attributes=cs.{\"size\":5}", [1]), ("attributes->>size=eq.5", [1]),
        ("attributes->size=gt.5", [2]), ("attributes->deep->list->1=eq.20", [1]),
        ("attributes->deep->list->-1=eq.20", [1]),
        ('attributes->"odd key"=eq.1', [1]), ("colour=eq.red", [1]), ("colour=in.(red,green)", [1, 2]),
        ("span=cs.[2,3)", [1]), ("code=eq.x", [1]), ("tags->0=eq.\"a\"", [1]),
        ("or=(id.eq.1,id.eq.2)", [1, 2]), ("and=(id.gt.1,id.lt.3)", [2]), ("not.or=(id.eq.1,id.eq.2)", [3]),
        ("or=(id.eq.1,and(id.gt.1,not.or(id.eq.3,name.is.null)))", [1, 2]),
        ("or=(id.not.in.(1,2),name.eq.\"Alpha\")", [1, 3]),
        ("or=(tags.cs.{a,b},name.ilike.b*)", [1, 2]), ("id=gt.1&id=lt.3", [2]),
    ],
)  # fmt: skip
async def test_a_filter_selects_what_it_says(
    client: httpx.AsyncClient, filters: str, expected: list[int] | None
) -> None:
    if expected is None:
        assert (await client.get(f"/things?{filters}", headers=bearer())).json()["code"] == "PGRST100"
    else:
        assert await ids(client, filters) == expected


async def test_columns_can_be_renamed_cast_and_taken_out_of_json(client: httpx.AsyncClient) -> None:
    found = await rows(
        client,
        "/things?id=eq.1&select=n:name,id::text,attributes->deep->list->0,s:attributes->>size,tags->>0,span::varchar(3)",
    )
    assert found == [{"n": "Alpha", "id": "1", "list": 10, "s": "5", "tags": "a", "span": "[1,"}]


async def test_order_can_use_json_and_nulls(client: httpx.AsyncClient) -> None:
    assert await rows(client, "/things?select=id&order=attributes->size.desc.nullsfirst") == [
        {"id": 3}, {"id": 2}, {"id": 1},
    ]  # fmt: skip
    assert (await rows(client, "/things?select=id&order=name.desc.nullslast,id&limit=1"))[0] == {"id": 2}


async def test_odd_names_are_reached_in_quotes(client: httpx.AsyncClient) -> None:
    path = quote('/Odd "table')
    assert await rows(client, f'{path}?select="a b","se\\"lect"&"a b"=eq.1') == [{"a b": 1, 'se"lect': "x"}]
    written = await client.patch(f"{path}?a b=eq.1", json={'se"lect': "y"}, headers=bearer())
    assert written.status_code == 204


async def test_range_header_and_limit_intersect(client: httpx.AsyncClient) -> None:
    assert await rows(client, "/things?select=id&order=id&limit=2", Range="1-5") == [{"id": 2}]
    assert await rows(client, "/things?select=id&order=id", Range="2-") == [{"id": 3}]
    assert len(await rows(client, "/things?select=id", Range="nonsense")) == 3


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_values_are_only_values(client: httpx.AsyncClient, text: str) -> None:
    for template in (
        "name=eq.{}",
        "name=in.({})",
        "attributes->>{}=eq.1",
        "name=like.{}",
        "or=(name.eq.{})",
        "tags=cs.{}",
    ):
        response = await client.get(f"/things?{template.format(quote(text, safe=''))}", headers=bearer())
        assert response.status_code in (200, 400), (template, response.text)
        assert "syntax error" not in response.text
    assert await ids(client, "id=gt.0") == [1, 2, 3]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "template",
    ['/things?select="{}"', "/things?select=id::{}", "/things?order={}", '/things?"{}"=eq.1', "/{}", "/rpc/{}",
     "/things?select=id&limit={}", "/things?select=x:{}", "/rpc/hello?{}=1"],
)  # fmt: skip
async def test_hostile_names_never_become_sql(client: httpx.AsyncClient, template: str, text: str) -> None:
    path = template.format(quote(text.replace('"', '\\"') if '"{}"' in template else text, safe=""))
    response = await client.get(path, headers=bearer())
    assert response.status_code in (200, 400, 404), response.text
    assert "syntax error" not in response.text
    assert await ids(client, "id=gt.0") == [1, 2, 3]


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_keys_of_a_body_are_unknown_columns(client: httpx.AsyncClient, text: str) -> None:
    for method in ("POST", "PATCH"):
        response = await client.request(method, "/things", json={text: 1}, headers=bearer())
        assert (response.status_code, response.json()["code"]) == (400, "PGRST204")
    response = await client.post(f"/things?on_conflict={quote(text)}", json={"id": 9}, headers=bearer())
    assert response.status_code in (201, 400)
    await client.delete("/things?id=eq.9", headers=bearer())
    assert (await client.post("/rpc/hello", json={text: 1}, headers=bearer())).json()["code"] == "PGRST202"


@pytest.mark.parametrize(
    "role", ['service_role"; reset role; --', "supabase_admin", "postgres", "authenticator; x", "none "]
)
async def test_a_hostile_role_is_refused(client: httpx.AsyncClient, role: str) -> None:
    response = await client.get("/jobs", headers=bearer(role))
    assert (response.status_code, response.json()["code"]) in ((401, "22023"), (403, "42501"))


async def test_a_very_deep_logic_tree_is_refused(client: httpx.AsyncClient) -> None:
    tree = "and(" * 300 + "id.eq.1" + ")" * 300
    response = await client.get(f"/things?or=({tree})", headers=bearer())
    assert response.json()["code"] == "PGRST100"
