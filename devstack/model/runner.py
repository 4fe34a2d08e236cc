"""One loaded model: its process, its one slot, and streams of text from it.

Called by `devstack.model.scheduler` (start, stop) and `devstack.model.answers` (complete, tokenize).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from devstack.model.requests import Launch
from devstack.model.wire import ApiError, JsonObject, dumps

_PROCESS = Path(__file__).with_name("process.py")
BROKE_OFF = "an error was encountered while running the model: unexpected EOF"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of an answer, as the model gave it."""

    text: str


@dataclass(frozen=True, slots=True)
class End:
    """How an answer ended, and its figures; durations in nanoseconds."""

    text: str
    reason: str
    prompt_count: int
    prompt_ns: int
    count: int
    ns: int


class Runner:
    """A child process with one loaded model. `slot` is its single place for a generation (NUM_PARALLEL 1)."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, launch: Launch) -> None:
        self._process = process
        self._client = httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(None, connect=5), trust_env=False)
        self._broken = False
        self.launch = launch
        self.slot = asyncio.Lock()

    @classmethod
    async def start(cls, path: Path, launch: Launch) -> Runner:
        """Load a model; when cancelled, the half-loaded process is killed.

        Raises:
            ApiError: 500 with llama.cpp's reason, or that the process ended.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(_PROCESS), start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return cls(process, await _loaded(process, path, launch), launch)
        except BaseException:
            await _kill(process)
            raise

    @property
    def pid(self) -> int:
        """Process id of the loaded model."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can still answer."""
        return not self._broken and self._process.returncode is None

    async def ping(self, seconds: float) -> bool:
        """Whether the process answers within `seconds`; one that was stopped keeps its port open and says nothing."""
        try:
            async with asyncio.timeout(seconds):
                return (await self._client.get("/health")).status_code == httpx.codes.OK
        except (TimeoutError, httpx.HTTPError):
            return False

    def freeze(self) -> None:
        """Stop the process where it stands (SIGSTOP): a hang."""
        self._process.send_signal(signal.SIGSTOP)

    async def stop(self) -> None:
        """End the process and give its memory back."""
        self._broken = True
        await _kill(self._process)
        await self._client.aclose()

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, special tokens recognised."""
        try:
            answer = await self._client.post("/tokenize", json={"content": text, "add_special": True})
        except httpx.HTTPError as error:
            raise self._broke_off() from error
        return list(answer.json()["tokens"])

    async def complete(self, body: JsonObject) -> AsyncGenerator[Piece | End, None]:
        """Generate: pieces, then one End. Closing the iterator stops the generation at once.

        Raises:
            ApiError: with the runner's own status and text, or 500 when it broke off.
        """
        wanted = body | {"stream": True, "cache_prompt": True}
        try:
            async with self._client.stream("POST", "/completion", json=wanted) as response:
                if response.status_code != httpx.codes.OK:
                    raise ApiError(response.status_code, (await response.aread()).decode(), relayed=True)
                async for event in _events(response):
                    yield _item(event)
                    if event.get("stop"):
                        return
        except httpx.HTTPError as error:
            raise self._broke_off() from error
        raise self._broke_off()

    def _broke_off(self) -> ApiError:
        self._broken = True
        return ApiError(500, BROKE_OFF, relayed=True)


async def _loaded(process: asyncio.subprocess.Process, path: Path, launch: Launch) -> str:
    """Hand the parameters to the process and wait for its URL."""
    if process.stdin is None or process.stdout is None:
        raise ApiError(500, "the model process has no pipes")
    wanted = {"model": str(path), "num_ctx": launch.num_ctx, "shift": launch.shift}
    process.stdin.write(json.dumps(wanted).encode() + b"\n")
    line = await process.stdout.readline()
    if not line:
        code = await process.wait()
        reason = "signal: killed" if code < 0 else f"exit status {code}"
        raise ApiError(500, f"llama-server process has terminated: {reason}")
    answer: JsonObject = json.loads(line)
    if "error" in answer:
        raise ApiError(500, str(answer["error"]))
    return str(answer["url"])


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _events(response: httpx.Response) -> AsyncIterator[JsonObject]:
    """Server-sent events; split on newline bytes only, because a delta may hold U+0085 raw."""
    rest = b""
    async for data in response.aiter_raw():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
            elif line.startswith(b"error: "):
                yield {"error": json.loads(line[7:])}


def _item(event: JsonObject) -> Piece | End:
    if "error" in event:
        raise ApiError(500, dumps({"error": event["error"]}), relayed=True)
    if not event["stop"]:
        return Piece(event["content"])
    reason = "length" if event["stop_type"] == "limit" else "stop"
    timings: dict[str, Any] = event["timings"]
    return End(
        event["content"], reason, event["tokens_evaluated"], _ns(timings["prompt_ms"]),
        event["tokens_predicted"], _ns(timings["predicted_ms"]),
    )  # fmt: skip


def _ns(milliseconds: float) -> int:
    """Whole microseconds, as the real one gives them."""
    return max(round(milliseconds * 1000), 1) * 1000
