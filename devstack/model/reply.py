"""One HTTP reply, in the framings that Ollama uses. Called by `devstack.model.server`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from devstack.model.wire import ApiError, JsonObject, dumps

_JSON = "application/json; charset=utf-8"
_ABOUT = (b"X-Devstack", b"embedded development model")


class Reply:
    """Sends exactly one reply. `streaming`: the client asked for a stream, which changes how errors are framed."""

    def __init__(self, send: Callable[[Any], Awaitable[None]], head: bool) -> None:
        self._send = send
        self._head = head
        self._started = False
        self.streaming = False

    async def nothing(self, status: int) -> None:
        """A bare status."""
        await self._start(status, None, 0)
        await self._chunk(b"", last=True)

    async def text(self, status: int, text: str, content_type: str) -> None:
        """A short text, whole."""
        await self._start(status, content_type, len(text.encode()))
        await self._chunk(text.encode(), last=True)

    async def json(self, status: int, value: JsonObject, *, chunked: bool = False) -> None:
        """One object without a newline; with Content-Length unless `chunked`."""
        body = dumps(value).encode()
        await self._start(status, _JSON, None if chunked else len(body))
        await self._chunk(body, last=True)

    async def line(self, line: str) -> None:
        """One line of a stream, in a chunk of its own."""
        if not self._started:
            await self._start(200, "application/x-ndjson", None)
        await self._chunk(f"{line}\n".encode())

    async def end(self) -> None:
        """The end of a stream."""
        await self._chunk(b"", last=True)

    async def error(self, error: ApiError) -> None:
        """An error: a line when the stream has begun, else a status with an object.

        What the runner said to a streaming request goes out chunked and without a charset.
        """
        value = {"error": str(error)}
        if self._started:
            await self.line(dumps(value))
            return await self.end()
        if error.relayed and self.streaming:
            await self._start(error.status, "application/json", None)
            return await self._chunk(dumps(value).encode(), last=True)
        return await self.json(error.status, value)

    async def _start(self, status: int, content_type: str | None, length: int | None) -> None:
        self._started = True
        headers = [_ABOUT]
        if content_type:
            headers.append((b"Content-Type", content_type.encode()))
        if length is not None:
            headers.append((b"Content-Length", str(length).encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _chunk(self, body: bytes, *, last: bool = False) -> None:
        if self._head:
            body = b""
        await self._send({"type": "http.response.body", "body": body, "more_body": not last})
