"""A connection for each call, closed whatever happens to the call. Used by the driver of the model server.

A pool would be wrong there: leaving a call must close its connection, which is what stops the generation; and httpcore
1.0 forgets a connection whose request is cancelled at the wrong moment, for ever (found by `make soak`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from consumer.hosts import is_local


class OneCall(httpx.AsyncBaseTransport):
    """A transport for `url` that uses the proxy of the environment, if there is one and the host is not local."""

    def __init__(self, url: httpx.URL) -> None:
        # One for all calls: httpx makes one per transport otherwise, half a millisecond each (measured), also for http.
        self._tls = httpx.create_ssl_context() if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._proxy = None if is_local(url.host) or proxy_bypass(url.host) else _proxy_for(url)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; closing the response closes its connection."""
        connection = httpx.AsyncHTTPTransport(verify=self._tls, proxy=self._proxy, trust_env=False)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await _to_the_end(connection.aclose())
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        body = _Body(response.stream, connection)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=body, extensions=response.extensions
        )


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, connection: httpx.AsyncHTTPTransport) -> None:
        self._stream = stream
        self._connection = connection

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        await _to_the_end(self._connection.aclose())


_ending: set[asyncio.Task[None]] = set()


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do it even when the caller is cancelled, or cancelled once more, meanwhile."""
    task = asyncio.ensure_future(work)
    _ending.add(task)
    task.add_done_callback(_ending.discard)
    await asyncio.shield(task)


def _proxy_for(url: httpx.URL) -> str | None:
    named = getproxies()
    return named.get(url.scheme) or named.get("all")
