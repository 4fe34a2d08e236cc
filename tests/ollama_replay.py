"""A TCP server that plays back recorded Ollama replies, byte for byte, cut wherever a test wants them cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from consumer.ollama import Ollama

FILE = Path(__file__).parent / "recordings" / "ollama" / "driver.jsonl"
Cutter = Callable[[bytes], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Recording:
    """One reply. `end`: chunked with terminator, by length, cut off by FIN, or held open until the client leaves."""

    trace: str
    status: int | None
    content_type: str
    end: Literal["terminator", "length", "cut", "hang"]
    body: tuple[str, ...]

    @property
    def payload(self) -> bytes:
        return "".join(self.body).encode()

    def wire(self, frame: int | None = None) -> bytes:
        """As sent; `frame` puts that many bytes into every HTTP chunk, wherever lines and characters end."""
        if self.status is None:
            return b""
        head = f"HTTP/1.1 {self.status} x\r\nContent-Type: {self.content_type}\r\n"
        if self.end == "length":
            return f"{head}Content-Length: {len(self.payload)}\r\n\r\n".encode() + self.payload
        pieces = [part.encode() for part in self.body] if frame is None else list(every(frame)(self.payload))
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        last = b"0\r\n\r\n" if self.end == "terminator" else b""
        return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + last


def recordings() -> dict[str, Recording]:
    with FILE.open() as lines:
        rows = [json.loads(line) for line in lines]
    return {row["trace"]: Recording(**{**row, "body": tuple(row["body"])}) for row in rows}


RECORDED = recordings()


def stream(*lines: dict[str, Any], like: str = "0.33/chat.length") -> Recording:
    """A made-up stream in the form of a recorded one."""
    return replace(RECORDED[like], trace="made up", body=tuple(json.dumps(line) + "\n" for line in lines))


def says(*texts: str, reason: str = "stop", counters: dict[str, int] | None = None) -> Recording:
    """A stream of these deltas and a final chunk with these counters."""
    deltas = [{"message": {"role": "assistant", "content": text}, "done": False} for text in texts]
    last = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": reason, **(counters or {})}
    return stream(*deltas, last)


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def every(size: int) -> Cutter:
    return lambda data: (data[at : at + size] for at in range(0, len(data), size))


class ReplayServer:
    """Answers the n-th request with the n-th recording, the last one over and over."""

    def __init__(self, *script: Recording, cut: Cutter = whole, frame: int | None = None) -> None:
        self._script = script
        self._cut = cut
        self._frame = frame
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.heads: list[str] = []
        # Set when a client has closed its connection.
        self.left = asyncio.Event()
        # Set when everything but the end of a held-open reply is sent.
        self.sent = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            recording = await self._request(reader)
            for piece in self._cut(recording.wire(self._frame)):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            self.sent.set()
            if recording.end == "hang":
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.left.set()
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> Recording:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if "content-length" in line.lower()), 0)
        body = await reader.readexactly(length)
        self.heads.append(head)
        self.requests.append((head.split(" ")[1], json.loads(body) if body else {}))
        return self._script[min(len(self.requests), len(self._script)) - 1]


async def names(ollama: Ollama) -> list[str]:
    """The models in memory, by canonical name."""
    return [entry.name for entry in await ollama.ps()]
