"""Replays what a real PostgREST 14.17 answered (tests/recordings/postgrest/replay.jsonl), one case per record.

A record is compared by status, body and headers, generated ids and times being masked. State is carried from record to
record of a group until one says "reset"; whatever is selected with -k, the records before it are played first.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from devstack.postgres import Postgres
from tests.integration.rest_replay import RECORDINGS, RESET, SETUP, authorization, bare_client, bearer

pytestmark = pytest.mark.asyncio(loop_scope="module")
Record = dict[str, Any]
RECORDS: list[Record] = [json.loads(line) for line in (RECORDINGS / "replay.jsonl").read_text().splitlines()]
FIXED_UUID = r"00000000-0000-4000-8000-[0-9a-f]{12}|(\d)\1{7}-\1{4}-4\1{3}-8\1{3}-\1{12}"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
NOW = r"20(?!26-01-0)\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?\+00(:00)?"


class Replay:
    """Plays records in their order and remembers how far it is."""

    def __init__(self, server: Postgres, client: httpx.AsyncClient) -> None:
        self._server = server
        self._client = client
        self._last: Record | None = None

    async def play(self, record: Record) -> httpx.Response:
        for earlier in self._missing(record):
            await self._send(earlier)
        return await self._send(record)

    def _missing(self, record: Record) -> list[Record]:
        """Records of the same run that were not played yet; a run starts at a reset."""
        at = RECORDS.index(record)
        start = next((i for i in range(at, -1, -1) if RECORDS[i].get("reset")), 0)
        run = RECORDS[start:at]
        return run[run.index(self._last) + 1 :] if self._last in run else run

    async def _send(self, record: Record) -> httpx.Response:
        if record.get("reset"):
            self._server.psql(RESET)
        if record.get("sql"):
            await self._change(record["sql"])
        headers = {name: value for name, value in record["headers"].items() if name.lower() != "authorization"}
        for name, value in record["headers"].items():
            if name.lower() == "authorization":
                headers["Authorization"] = authorization(value)
        self._last = record
        return await self._client.request(
            record["method"], _url(record["path"]), headers=headers, content=_body(record.get("body"))
        )

    async def _change(self, sql: str) -> None:
        """Run DDL; if it announces itself, wait until the API knows, which the root document shows."""
        self._server.psql(sql)
        if "notify pgrst" in sql:
            self._server.psql("create or replace view public.marker as select 1; notify pgrst, 'reload schema'")
            while "/marker" not in (await self._client.get("/", headers=bearer())).json()["paths"]:
                await asyncio.sleep(0.01)
            self._server.psql("drop view public.marker; notify pgrst, 'reload schema'")
            while "/marker" in (await self._client.get("/", headers=bearer())).json()["paths"]:
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replay() -> AsyncIterator[Replay]:
    with Postgres() as server:
        server.psql(SETUP)
        async with bare_client(server) as client:
            yield Replay(server, client)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["id"])
async def test_the_answer_is_that_of_the_recorded_postgrest(replay: Replay, record: Record) -> None:
    response = await replay.play(record)
    expected, found = _masked(record["text"]), _masked(response.text)
    if shortened := re.fullmatch(r"(.*)\.\.\. <(\d+) bytes>", expected, re.DOTALL):
        assert len(response.content) == int(shortened[2])
        expected, found = shortened[1], found[: len(shortened[1])]
    assert (response.status_code, found) == (record["status"], expected)
    assert _headers(response.headers) == _headers(record["answer"])


def _url(path: str) -> httpx.URL:
    """The path as it was sent: httpx must not repair its query string."""
    plain, _, query = path.partition("?")
    return httpx.URL("http://rest").copy_with(raw_path=f"{plain}?{query}".rstrip("?").encode())


def _body(text: str | None) -> bytes | None:
    if text is None:
        return None
    return text[7:].encode("latin-1") if text.startswith("latin1:") else text.encode()


def _headers(found: Mapping[str, str]) -> dict[str, str]:
    return {name: _masked(value) for name, value in sorted(found.items()) if name != "content-length"}


def _masked(text: str) -> str:
    """Without generated ids and times, what only tells which server it is, and the meant differences."""
    text = re.sub(UUID, lambda found: found[0] if re.fullmatch(FIXED_UUID, found[0]) else "<uuid>", text)
    text = re.sub(NOW, "<now>", text)
    text = re.sub(r'"(exp|tz|app|search_path)": ("(\\"|[^"])*"|\d+)', r'"\1": "…"', text)
    if '"PGRST100"' in text:  # devstack/rest/__init__.py: the parser's column and expectation
        text = re.sub(r'"details":"(\\"|[^"])*"', '"details":"…"', re.sub(r"column \d+", "column …", text))
    return re.sub(r'"hint":"The embedded[^"]*"', '"hint":null', text)
