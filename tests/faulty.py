"""A network that fails on purpose: drops, holds or replaces chosen calls of the worker's RPCs. The rest passes."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from supabase import AsyncClientOptions, acreate_client

from consumer.database import Database
from consumer.store import Store

Pass = Callable[[], Awaitable[httpx.Response]]
Fault = Callable[[Pass], Awaitable[httpx.Response]]


class Gate:
    """A call that was stopped half-way: `reached` is set there, and it goes on once `open` is set."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def pass_through(self) -> None:
        """Report arrival and wait."""
        self.reached.set()
        await self.open.wait()


class FaultyTransport(httpx.AsyncBaseTransport):
    """Real HTTP, with faults queued per function: each takes one call, in order. `calls` are (function, arguments)."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.replies: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rsplit("/", 1)[1]
        self.calls.append((name, json.loads(request.content or b"{}")))
        queued = self._faults[name]
        response = await (queued.pop(0) if queued else _untouched)(lambda: self._sent(request))
        self.replies.append(name)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    def of(self, function: str) -> list[dict[str, Any]]:
        """The arguments of every call of one function so far."""
        return [arguments for name, arguments in self.calls if name == function]

    def answered(self, function: str) -> int:
        """How many calls of one function have had their reply."""
        return self.replies.count(function)

    def strike(self, function: str, nth: int, fault: Fault) -> None:
        """The n-th call of this function from now on meets the fault; those before it, and what waited, pass."""
        self._faults[function] = [_untouched] * (nth - 1) + [fault]

    def spared(self, function: str) -> bool:
        """Whether a fault still waits for a call of this function."""
        return bool(self._faults[function])

    def lose_reply(self, function: str) -> None:
        """The server commits, the caller hears nothing."""
        self._faults[function].append(reply_lost)

    def refuse(self, function: str, times: int = 1) -> None:
        """Nobody answers."""
        self._faults[function].extend([refused] * times)

    def hold_reply(self, function: str) -> Gate:
        """The server commits, the reply waits at the gate."""
        gate = Gate()

        async def hold(send: Pass) -> httpx.Response:
            response = await send()
            await gate.pass_through()
            return response

        self._faults[function].append(hold)
        return gate

    def hold_request(self, function: str) -> Gate:
        """The request waits at the gate, before the server."""
        gate = Gate()

        async def hold(send: Pass) -> httpx.Response:
            await gate.pass_through()
            return await send()

        self._faults[function].append(hold)
        return gate

    def answer(self, function: str, response: httpx.Response) -> None:
        """Somebody else answers: a proxy, a captive portal."""
        self._faults[function].append(instead(response))

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        await response.aread()
        return response


async def _untouched(send: Pass) -> httpx.Response:
    return await send()


async def refused(_: Pass) -> httpx.Response:
    """Nobody listens there."""
    raise httpx.ConnectError("refused on purpose")


async def never_sent(_: Pass) -> httpx.Response:
    """Time runs out before the request has left."""
    raise httpx.WriteTimeout("not sent on purpose")


async def reply_lost(send: Pass) -> httpx.Response:
    """The server commits, the caller hears nothing."""
    await send()
    raise httpx.ReadTimeout("the reply was lost on purpose")


def instead(response: httpx.Response) -> Fault:
    """Somebody else answers, and the server never sees the call."""

    async def answer(_: Pass) -> httpx.Response:
        return response

    return answer


async def faulty_store(
    url: str, key: str, transport: FaultyTransport, *, worker_id: str, lease_seconds: int = 20
) -> Store:
    """A real Store over the faulty network; close it with `aclose`."""
    http = httpx.AsyncClient(transport=transport, follow_redirects=False, timeout=15)
    options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
    return Store(Database(await acreate_client(url, key, options), http), worker_id, lease_seconds)
