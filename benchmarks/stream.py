"""`python -m benchmarks.stream`: what reading a streamed answer costs, as ratios of CPU times in one run.

The stream is one token a line and one line a read, as recorded (tests/recordings/ollama): 127 to 133 bytes a line.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import httpx

from consumer.ollama import Delta, Ollama
from consumer.ollama_reply import Reply
from consumer.ports import Message, ModelRequest
from handlers.stream import NodeReader

Line = Callable[[str, float, str, float], None]
MODEL, MB = "mistral:7b", 1_000_000
REQUEST = ModelRequest((Message("user", "x"),), {"type": "object"}, max_tokens=1, temperature=0.0, seed=1)
ROUNDS = 5


def main() -> int:
    """Measure both bars; returns 1 when one is short."""
    from benchmarks.lines import Bars  # here, because bars.py calls `measure`

    bars = Bars()
    measure(bars.line)
    return 1 if bars.short else 0


def measure(line: Line) -> None:
    """The driver's cost per token, and how it grows with the stream; `line` is `Bars.line` of benchmarks/bars.py."""
    measure_overhead(line)
    measure_growth(line)


def measure_overhead(line: Line) -> None:
    """CPU per token against `json.loads` of the same lines, given as texts: from bytes it would take longer."""
    chunks = stream(2 * MB)
    texts = [chunk.decode() for chunk in chunks]
    parsing, reading, chatting = fastest(
        partial(loads, texts), partial(read, chunks), lambda: asyncio.run(chat(chunks))
    )
    print(f"json.loads of a line of {len(chunks[0])} bytes: {parsing / len(chunks) * 1e6:.2f} µs of CPU")
    line("driver overhead per token / json.loads of its line", reading / parsing, "x", 3)
    print(f"   the same with all that `chat` and httpx add per read, but the socket: {chatting / parsing:.2f} x")


def measure_growth(line: Line) -> None:
    """The time of a stream of 2 MB against one of 1 MB, in three cuts, and of the preview of its text."""
    long = stream(2 * MB)
    short = long[: len(long) // 2]
    for name, size in (("a line", None), ("1 byte", 1), ("64 kB", 65_536)):
        once, twice = fastest(partial(read, cut(short, size)), partial(read, cut(long, size)))
        line(f"2 MB / 1 MB of 1-token chunks, read by {name}", twice / once, "x", 2.3)
    once, twice = fastest(partial(preview, deltas(short)), partial(preview, deltas(long)))
    line("2 MB / 1 MB of 1-token chunks, the preview", twice / once, "x", 2.3)


def fastest(*tasks: Callable[[], object]) -> list[float]:
    """Seconds of CPU of each task, the best of some rounds; the tasks take turns, so that noise meets all of them."""
    best = [float("inf")] * len(tasks)
    for _ in range(ROUNDS):
        for number, task in enumerate(tasks):
            gc.collect()
            began = time.process_time()
            task()
            best[number] = min(best[number], time.process_time() - began)
    return best


def stream(size: int) -> list[bytes]:
    """At least so many bytes of lines, each with the next token of an answer full of nodes."""
    dice, lines, total = random.Random(1), list[bytes](), 0
    while total < size:
        for token in _tokens(dice):
            lines.append(_line(token, dice))
            total += len(lines[-1])
    return lines


def _tokens(dice: random.Random) -> list[str]:
    """One node, in pieces of about the length of a token."""
    words = " ".join("".join(dice.choices("abcdefghijklmnoprstuvwz", k=dice.randint(2, 9))) for _ in range(12))
    config = {"message": f"{words} {{{{input.title}}}}", "channel": f"#{words[:6]}"}
    node = json.dumps({"type": "slack_message", "label": words[-20:], "after": "n1", "config": config}) + ", "
    return [node[at : at + 4] for at in range(0, len(node), 4)]


def _line(token: str, dice: random.Random) -> bytes:
    created = f"2026-11-23T14:42:{dice.randint(10, 59)}.{dice.randint(10**8, 10**9 - 1)}Z"
    chunk = {"model": MODEL, "created_at": created, "message": {"role": "assistant", "content": token}, "done": False}
    return json.dumps(chunk, separators=(",", ":")).encode() + b"\n"


def cut(lines: Sequence[bytes], size: int | None) -> Sequence[bytes]:
    """The same bytes in pieces of this size; None leaves a line a piece."""
    if size is None:
        return lines
    data = b"".join(lines)
    return [data[at : at + size] for at in range(0, len(data), size)]


def deltas(lines: Sequence[bytes]) -> list[str]:
    """The tokens of these lines."""
    return [json.loads(line)["message"]["content"] for line in lines]


def loads(texts: Sequence[str]) -> None:
    """What the cost is compared with."""
    for text in texts:
        json.loads(text)


def read(pieces: Sequence[bytes]) -> None:
    """Feed a reply."""
    reply = Reply(MODEL, max_chars=REQUEST.max_chars)
    for piece in pieces:
        for _ in reply.feed(piece):
            pass


def preview(texts: Sequence[str]) -> None:
    """Feed the preview."""
    reader = NodeReader()
    for text in texts:
        reader.feed(text)


class _Body(httpx.AsyncByteStream):
    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        yield b'{"done":true,"done_reason":"stop"}\n'


async def chat(pieces: Sequence[bytes]) -> int:
    """Read a whole answer through the driver; its transport hands it over without a socket."""
    ollama = Ollama("http://127.0.0.1:1")
    await ollama.aclose()
    reply = httpx.MockTransport(lambda _: httpx.Response(200, stream=_Body(pieces)))
    ollama._client._http = httpx.AsyncClient(base_url="http://127.0.0.1:1", transport=reply)
    tokens = 0
    async for item in ollama.chat(MODEL, REQUEST):
        tokens += isinstance(item, Delta)
    await ollama.aclose()
    assert tokens == len(pieces)
    return tokens


if __name__ == "__main__":
    sys.exit(main())
