"""The instant model stub with faults: every way in which a real model server was seen to fail (traces/ollama.md)."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from benchmarks.instant_model import STREAM, InstantModel, ndjson_line

UNEXPECTED_EOF = "an error was encountered while running the model: unexpected EOF"


class FaultyModel(InstantModel):
    """Fails a share `rate` of its calls, drawn from `rng`; `injected` counts the faults by name."""

    def __init__(self, rng: random.Random, rate: float) -> None:
        super().__init__()
        self._rng = rng
        self._rate = rate
        self.injected: Counter[str] = Counter()

    async def _route(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if path != "/api/chat" or self._rng.random() >= self._rate:
            await super()._route(path, body, writer)
            return
        name = self._rng.choice(sorted(FAULTS if body.get("messages") else BEFORE_THE_STREAM))
        self.injected[f"model: {name}"] += 1
        if name == "silent":
            await asyncio.Event().wait()  # until the client leaves
        writer.write(FAULTS[name](str(body["model"])))
        await writer.drain()


def _refusal(status: str, text: str) -> Callable[[str], bytes]:
    body = json.dumps({"error": text}).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return lambda _: head.encode() + body


def _stream(*lines: bytes, ended: bool = True) -> bytes:
    chunks = b"".join(f"{len(line):x}\r\n".encode() + line + b"\r\n" for line in lines)
    return STREAM + chunks + (b"0\r\n\r\n" if ended else b"")


def _truncated(model: str) -> bytes:
    return _stream(ndjson_line(model, '{"na'), ndjson_line(model, "", done=True, done_reason="length"))


def _no_json(model: str) -> bytes:
    return _stream(ndjson_line(model, "Sure! Here is"), ndjson_line(model, "", done=True, done_reason="stop"))


def _broke_off(model: str) -> bytes:
    return _stream(ndjson_line(model, "{"), json.dumps({"error": UNEXPECTED_EOF}).encode() + b"\n")


BEFORE_THE_STREAM: dict[str, Callable[[str], bytes]] = {
    "busy": _refusal("503 Service Unavailable", "server busy, please try again.  maximum pending requests exceeded"),
    "load killed": _refusal("500 Internal Server Error", "llama-server process has terminated: signal: killed"),
    "nothing": lambda _: b"",
    "silent": lambda _: b"",
}
FAULTS: dict[str, Callable[[str], bytes]] = {
    **BEFORE_THE_STREAM,
    "error in the stream": _broke_off,
    "cut stream": lambda model: _stream(ndjson_line(model, "{"), ended=False),
    "end without done": lambda model: _stream(ndjson_line(model, "{")),
    "truncated": _truncated,
    "no JSON": _no_json,
}
