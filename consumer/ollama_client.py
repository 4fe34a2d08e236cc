"""HTTP to the model server: its URL checked, one connection per call, every failure named. Used by the driver.

Nothing of httpx leaves it. Leaving a call closes its connection, which is what stops generation on the server
(traces/ollama.md fact 7); and no call can meet a connection that has gone stale.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx

from consumer.clocks import Stopwatch
from consumer.errors import ConfigurationError, ModelTimeout, ModelUnavailable
from consumer.job import JsonObject
from consumer.ollama_wire import MAX_LINE_BYTES, classify, clip, error_text, parse
from consumer.one_call import OneCall

CONNECT_SECONDS = 5.0
MAX_PORT = 65_535
# Lists and versions never touch the scheduler (facts/ollama.md §1.1): milliseconds, or the server is not there.
ASK_SECONDS = 10.0
# The next bytes of a body; none at its end.
Read = Callable[[], Awaitable[bytes]]


class OllamaClient:
    """Calls to one server; `ConfigurationError` for a bad URL. Its methods raise `JobError`s and nothing else."""

    def __init__(self, base_url: str, user_agent: str) -> None:
        url = _url(base_url)
        self._origin = f"{url.scheme}://{url.netloc.decode()}"
        self._http = httpx.AsyncClient(
            base_url=url,
            transport=OneCall(url),
            headers={"user-agent": user_agent, "content-type": "application/json", "accept-encoding": "identity"},
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        )

    async def ask(self, path: str, body: JsonObject | None = None, seconds: float = ASK_SECONDS) -> JsonObject:
        """A plain JSON object that should be there at once; silence is a server that is not there."""
        try:
            return await self.whole(path, body, Stopwatch("total", seconds))
        except ModelTimeout as late:
            raise ModelUnavailable(
                f"the model server at {self._origin} did not answer within {seconds:g} s: restart it if it hangs"
            ) from late

    async def whole(self, path: str, body: JsonObject | None, watch: Stopwatch) -> JsonObject:
        """A reply of one plain JSON object (fact 1)."""
        async with self.exchange(path, body, watch) as read:
            reply = parse(await _drained(read))
        if "error" in reply:
            raise classify(200, error_text(reply), _model(body))
        return reply

    @asynccontextmanager
    async def exchange(self, path: str, body: JsonObject | None, watch: Stopwatch) -> AsyncIterator[Read]:
        """A reply with status 200, to be read under the watch. Leaving closes the connection."""
        response = await watch.wait(self._send(path, body))
        chunks = response.aiter_raw()

        def read() -> Awaitable[bytes]:
            return watch.wait(self._next(chunks))

        try:
            if response.status_code != httpx.codes.OK:
                raise classify(response.status_code, error_text(await _drained(read)), _model(body))
            yield read
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _send(self, path: str, body: JsonObject | None) -> httpx.Response:
        """POST the body, or GET without one."""
        # json.dumps escapes what is not ASCII, so a lone surrogate of a model's text cannot stop the request.
        content = None if body is None else json.dumps(body).encode()
        request = self._http.build_request("GET" if content is None else "POST", path, content=content)
        try:
            return await self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise ModelUnavailable(
                f"the model server at {self._origin} does not answer ({_why(error)}): start it or set OLLAMA_LOCAL_URL"
            ) from error

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes:
        try:
            return await anext(chunks, b"")
        except httpx.TransportError as error:
            raise ModelUnavailable(f"the model server at {self._origin} broke off ({_why(error)})") from error


async def _drained(read: Read) -> bytes:
    body = bytearray()
    while (data := await read()) and len(body) <= MAX_LINE_BYTES:
        body += data
    return bytes(body)


def _model(body: JsonObject | None) -> str:
    return str((body or {}).get("model", ""))


def _url(base_url: str) -> httpx.URL:
    """The URL, checked here because httpx would fail later and in other people's words."""
    try:
        url = httpx.URL(base_url)
        wrong = "" if url.scheme in ("http", "https") and url.host else "it does not begin with http:// and a host"
        wrong = wrong or ("its port is over 65535" if (url.port or 0) > MAX_PORT else "")
    except httpx.InvalidURL as error:
        wrong = clip(str(error))
    if wrong:
        raise ConfigurationError(f"OLLAMA_LOCAL_URL: {wrong}. Set it to e.g. http://127.0.0.1:11434.")
    return url


def _why(error: httpx.TransportError) -> str:
    return clip(str(error)) or type(error).__name__
