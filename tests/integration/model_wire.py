"""A bare HTTP client that sees the framing: for tests of the embedded model server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from devstack.model import ModelServer

MISTRAL, QWEN = "mistral:7b", "qwen2.5:7b"
RECORDINGS = Path(__file__).parents[1] / "recordings" / "ollama"
QUICK = {"num_ctx": 512, "temperature": 0, "seed": 7}


def recorded(version: str) -> list[dict[str, Any]]:
    """The recordings of one Ollama, in order."""
    text = (RECORDINGS / f"{version}.jsonl").read_bytes().decode()
    return [json.loads(line) for line in text.split("\n") if line]


@dataclass
class Answer:
    """What came back. `end` is worded as in the recordings; a chunk is an HTTP chunk, or the whole body."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[str] = field(default_factory=list)
    end: str = "FIN without terminator"

    @property
    def objects(self) -> list[Any]:
        return [json.loads(chunk) for chunk in self.chunks]

    @property
    def final(self) -> Any:
        return self.objects[-1]

    @property
    def text(self) -> str:
        return "".join(part.get("response", part.get("message", {}).get("content", "")) for part in self.objects)


class Call:
    """A request on its way; `next_chunk` reads one chunk, `rest` all that is left."""

    def __init__(self, reader: asyncio.StreamReader, head: bool) -> None:
        self._reader = reader
        self._head = head
        self.answer = Answer()

    async def start(self) -> Answer:
        status = await self._reader.readline()
        if not status:
            return self.answer
        self.answer.status = int(status.split()[1])
        while line := (await self._reader.readline()).decode("latin-1").strip():
            name, _, value = line.partition(": ")
            self.answer.headers[name.title()] = value
        return self.answer

    async def next_chunk(self) -> str | None:
        size = (await self._reader.readline()).strip()
        if not size or int(size, 16) == 0:
            self.answer.end = "chunked terminator" if size else self.answer.end
            return None
        self.answer.chunks.append((await self._reader.readexactly(int(size, 16))).decode())
        await self._reader.readline()
        return self.answer.chunks[-1]

    async def rest(self) -> Answer:
        if self.answer.status is None:
            await self.start()
        if self._head:
            self.answer.end = "HEAD"
        elif length := int(self.answer.headers.get("Content-Length", 0)):
            self.answer.chunks.append((await self._reader.readexactly(length)).decode())
            self.answer.end = "content-length reached"
        elif "Content-Length" in self.answer.headers:
            self.answer.end = "content-length reached"
        elif self.answer.status is not None:
            while await self.next_chunk() is not None:
                pass
        return self.answer


@asynccontextmanager
async def calling(
    url: str, method: str, path: str, body: Any = "", headers: Mapping[str, str] | None = None
) -> AsyncGenerator[Call, None]:
    """Send a request (a body that is no text goes as JSON); leaving the block closes the connection."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=2**22)
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = {"Host": address.netloc, "Content-Length": str(len(data)), **(headers or {})}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(head.encode() + b"\r\n" + data)
    try:
        yield Call(reader, method == "HEAD")
    finally:
        writer.close()


async def call(url: str, method: str, path: str, body: Any = "", headers: Mapping[str, str] | None = None) -> Answer:
    """Send a request and read the whole answer."""
    async with calling(url, method, path, body, headers) as sent:
        return await sent.rest()


def chat(model: str = "mistral:7b", text: str | None = "hi", **more: Any) -> dict[str, Any]:
    """The body of a chat; `text` None makes it a preload. Options are added to quick ones."""
    options = QUICK | more.pop("options", {})
    messages = [] if text is None else [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "options": options, **more}


async def post(url: str, body: dict[str, Any]) -> Answer:
    """Post to /api/chat."""
    return await call(url, "POST", "/api/chat", body)


async def listed(url: str) -> dict[str, dict[str, Any]]:
    """What /api/ps lists, by name."""
    answer = await call(url, "GET", "/api/ps")
    return {entry["name"]: entry for entry in answer.final["models"]}


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[ModelServer]:
    """A server of its own, of which a test may know the faults and the runners."""
    server = ModelServer(**options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def expiry(url: str, model: str) -> float:
    """Seconds from now until a loaded model's `expires_at`; about 0 or less while it is marked for eviction."""
    entry = (await listed(url))[model]
    return (datetime.fromisoformat(entry["expires_at"]) - datetime.now(UTC)).total_seconds()


def runners() -> list[psutil.Process]:
    """The model processes of this test process."""
    return [child for child in psutil.Process().children(recursive=True) if _is_runner(child)]


def _is_runner(process: psutil.Process) -> bool:
    try:
        return any("model/process.py" in part for part in process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


async def generating() -> bool:
    """Whether llama.cpp says that its slot is at work."""
    for runner in runners():
        for socket in runner.net_connections("tcp"):
            if socket.status == psutil.CONN_LISTEN:
                slots = await call(f"http://127.0.0.1:{socket.laddr.port}", "GET", "/slots")
                return bool(slots.status == 200 and slots.objects[0][0]["is_processing"])
    return False


async def received(url: str) -> None:
    """Return when the server has read every request sent so far: sockets are served in the order of their arrival."""
    for _ in range(3):
        await call(url, "GET", "/api/version")


async def until(condition: Any, seconds: float = 30.0) -> None:
    """Wait for a condition, which may be a coroutine function; the clock only guards against waiting for ever."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if await result if asyncio.iscoroutine(result) else result:
                return
            await asyncio.sleep(0.01)
