"""A stub of Ollama's protocol that answers at once: for measuring the worker's own cost, and for runs of many jobs.

It answers every request with the smallest JSON that fits the request's schema. `hold` keeps streams open after their
first tokens until it is set, so that a test can act in the middle of a generation; `pause` seconds pass at the same
place, `load_pause` seconds when a model is loaded. Stopped and started again, it keeps its port. Anything about a
model's behaviour is measured and tested with the real small model instead (devstack/model).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

CREATED = "2026-01-01T00:00:00.000000001Z"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
COUNTS = {"prompt_eval_count": 10, "prompt_eval_duration": 1000, "eval_count": 2, "eval_duration": 1000}


class InstantModel:
    """Serves both model names on a free loopback port. `streams` counts the generations begun.

    Speaks just enough HTTP, on bare asyncio: a web framework would cost more than the worker that is measured.
    """

    def __init__(self, names: tuple[str, ...] = ("mistral:7b", "qwen2.5:7b")) -> None:
        self.names = names
        self.loaded: set[str] = set()
        self.hold: asyncio.Event | None = None
        self.pause = self.load_pause = 0.0
        self.digest = "0" * 64
        self._port = 0
        self.streams = 0
        self.open_streams = 0
        self.began = asyncio.Event()

    @property
    def url(self) -> str:
        """Base URL (OLLAMA_LOCAL_URL)."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, while watching for the client to leave: that ends the generation, as on the real server."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = json.loads(await reader.readexactly(int(lengths[0])) if lengths else "{}")
            answering = asyncio.ensure_future(self._route(head.split(b" ")[1].decode(), body, writer))
            leaving = asyncio.ensure_future(reader.read(1))
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # it left before it had asked
        finally:
            writer.close()

    async def _route(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        match path:
            case "/api/chat" if body.get("messages") and body.get("stream"):
                writer.write(STREAM)
                async for line in self._stream(body):
                    writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
            case "/api/chat" if body.get("keep_alive") == 0:
                self.loaded.discard(body["model"])
                _plain(writer, {"model": body["model"], "created_at": CREATED, "done": True, "done_reason": "unload"})
            case "/api/chat":
                await asyncio.sleep(0 if body["model"] in self.loaded else self.load_pause)
                self.loaded.add(body["model"])
                reason = "length" if body.get("messages") else "load"
                _plain(writer, {"model": body["model"], "created_at": CREATED, "done": True, "done_reason": reason})
            case "/api/tags" | "/api/ps":
                names = self.names if path == "/api/tags" else sorted(self.loaded)
                models = [{"name": name, "model": name, "digest": self.digest} for name in names]
                _plain(writer, {"models": models})
            case "/api/version":
                _plain(writer, {"version": "0.33.0-instant"})
            case _:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found")
        await writer.drain()

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        """The lines of one answer; tests override it to script a model."""
        text = json.dumps(smallest(body["format"]))
        half = len(text) // 2
        self.streams += 1
        self.open_streams += 1
        try:
            yield ndjson_line(body["model"], text[:half])
            self.began.set()
            if self.hold is not None:
                await self.hold.wait()
            await asyncio.sleep(self.pause)
            yield ndjson_line(body["model"], text[half:])
            yield ndjson_line(body["model"], "", done=True, done_reason="stop", total_duration=3000, **COUNTS)
        finally:
            self.open_streams -= 1


def _plain(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


def ndjson_line(model: str, content: str, *, done: bool = False, **more: object) -> bytes:
    """One line of a streamed answer."""
    message = {"role": "assistant", "content": content}
    line = {"model": model, "created_at": CREATED, "message": message, "done": done, **more}
    return json.dumps(line).encode() + b"\n"


def smallest(schema: dict[str, Any]) -> Any:
    """The smallest instance of a JSON Schema of the kind that handlers send (no $ref outside $defs, no pattern)."""
    return _smallest(schema, schema.get("$defs", {}))


def _smallest(schema: dict[str, Any], defs: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _smallest(defs[schema["$ref"].rsplit("/", 1)[1]], defs)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return _smallest(schema[union][0], defs)
    return _of_type(schema, defs)


def _of_type(schema: dict[str, Any], defs: dict[str, Any]) -> Any:
    match schema.get("type"):
        case "object":
            return {key: _smallest(schema["properties"][key], defs) for key in schema.get("required", ())}
        case "array":
            return [_smallest(schema["items"], defs) for _ in range(schema.get("minItems", 0))]
        case "string":
            return "x" * max(schema.get("minLength", 1), 1)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case kind:
            return {"boolean": True}.get(str(kind))
