"""The way to the project's REST side: one client, RPCs and reads, every call safe to repeat. No SQL here.

Only this module knows supabase, postgrest and httpx errors; it raises StoreUnavailable (outcome unknown, repeat) or
StoreRefused (repeating cannot help). Called by the store and by what reads for people.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from postgrest.exceptions import APIError
from pydantic import BaseModel, ValidationError
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from consumer.errors import StoreError, StoreRefused, StoreUnavailable
from consumer.hosts import is_local
from consumer.job import JsonObject

JOBS = "workflow_generation_jobs"
WORKERS = "workflow_workers_at_a_glance"
# Our own code beside SQLSTATEs: the request could not be written as JSON, or the answer not be read.
UNREADABLE = "UNREADABLE"
# After these the same call may work: SQLSTATE classes, PostgREST's own trouble with the database, HTTP statuses of
# bodies that are no error object (facts/realtime.md §3).
_TRANSIENT = re.compile(r"(08|40|53|55|57|58|XX)\w{3}|25006|PGRST00\d|3\d\d|5\d\d|429|408")
_Answer = TypeVar("_Answer", bound=BaseModel)


class Database:
    """One client of the project, as its key's role or as a signed-in user. Make one per event loop with `connect`."""

    def __init__(self, client: AsyncClient, http: httpx.AsyncClient) -> None:
        self._client = client
        self._http = http
        self._calls: set[asyncio.Future[Any]] = set()
        self._access_token: str | None = None

    @classmethod
    async def connect(cls, url: str, key: str, *, access_token: str | None = None) -> Database:
        """Make the client; sends nothing yet. `access_token` acts as that signed-in user instead of the key's role."""
        http = httpx.AsyncClient(
            # HTTP/1.1: supabase-py#1064. No redirects: one would turn an RPC's POST into a GET (facts/realtime.md §3).
            http2=False,
            follow_redirects=False,
            trust_env=not is_local(urlsplit(url).hostname or ""),
            timeout=httpx.Timeout(15, connect=5),
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=30),
        )
        headers = {"Authorization": f"Bearer {access_token}"} if access_token else {}
        options = AsyncClientOptions(
            httpx_client=http, auto_refresh_token=False, persist_session=False, headers=headers
        )
        return cls(await acreate_client(url, key, options), http)

    def acting_as(self, access_token: str) -> Database:
        """The same client for a signed-in user, whose token goes with every call. Costs nothing, and needs no end."""
        other = Database(self._client, self._http)
        other._calls, other._access_token = self._calls, access_token
        return other

    async def aclose(self) -> None:
        """Drop the calls that were left alone, and close the connections."""
        for call in self._calls:
            call.cancel()
        await self._http.aclose()

    async def quiet(self) -> None:
        """Until no call is under way any more, not even one that was left alone."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        """Call a database function by name; gives its decoded answer."""
        return await self._execute(self._client.rpc(function, dict(arguments)), function)

    async def row(self, table: str, row_id: str) -> JsonObject | None:
        """The whole row with this id, or None when there is none that this caller may see."""
        query = self._client.table(table).select("*").eq("id", row_id).limit(1).retry(False)
        rows = await self._read(query, table)
        return as_object(rows[0]) if rows else None

    async def rows(self, view: str, kind: type[_Answer], narrowed: Callable[[Any], Any]) -> list[_Answer]:
        """The rows of a view or table, read into `kind`, whose fields are the columns that are asked for.

        `narrowed` gets postgrest's query and adds filters, order and limit to it.
        """
        query = self._client.table(view).select(",".join(kind.model_fields))
        return [parsed(kind, row) for row in await self._read(narrowed(query).retry(False), view)]

    async def all_rows(self, table: str, order: str) -> list[JsonObject]:
        """All rows in this order, as many as the project's API gives at once (1000)."""
        query = self._client.table(table).select("*").order(order).retry(False)
        return [as_object(row) for row in await self._read(query, table)]

    async def _read(self, query: Any, table: str) -> list[Any]:
        rows = await self._execute(query, f"reading {table}")
        if not isinstance(rows, list):
            raise StoreUnavailable("something other than PostgREST answered")
        return rows

    async def _execute(self, query: Any, what: str) -> Any:
        """Run a query. A caller that is cancelled leaves it alone: it ends by its own clocks.

        httpcore 1.0 loses a place of its pool for ever when a request is cancelled at the wrong moment; after 20 of
        them no call would get through any more (found by `make soak`).
        """
        if self._access_token is not None:
            query.request.headers["Authorization"] = f"Bearer {self._access_token}"
        call = asyncio.ensure_future(query.execute())
        self._calls.add(call)
        call.add_done_callback(self._ended)
        try:
            return (await asyncio.shield(call)).data
        except APIError as error:
            raise _translated(error, what) from error
        except httpx.HTTPError as error:
            raise StoreUnavailable(f"{what}: {type(error).__name__}: {error}".removesuffix(": ")) from error
        except (ValidationError, ValueError, TypeError, UnicodeError, RecursionError) as error:
            raise StoreRefused(f"{what}: {type(error).__name__} in the request or the answer", UNREADABLE) from error

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # looked at, so that nobody is told of an error that nobody waits for


def parsed(kind: type[_Answer], answer: Any) -> _Answer:
    """A proxy's HTML page with status 200 arrives as text: that is an outage, not an answer."""
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        raise StoreUnavailable(f"{kind.__name__}: something other than PostgREST answered") from error


def as_object(answer: Any) -> JsonObject:
    """The answer, which must be a JSON object."""
    if not isinstance(answer, dict):
        raise StoreUnavailable("something other than PostgREST answered")
    return answer


def _translated(error: APIError, what: str) -> StoreError:
    """Never takes `details`: it can hold the whole failing row, prompt included (traces/postgrest.md §4)."""
    code = error.code
    text = f"{what}: {code or 'no code'}: {str(error.message)[:200]}"
    if code is not None and _TRANSIENT.fullmatch(code):
        return StoreUnavailable(text, code)
    return StoreRefused(text, code)
