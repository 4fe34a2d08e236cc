"""Small measurements of a project and a model server, for `consumer bench`. They leave nothing behind.

Times are milliseconds by this machine's clock, from before the request is sent to after the answer is read.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import aclosing
from secrets import token_hex
from typing import Any, NamedTuple

from realtime import AsyncRealtimeClient

from consumer.errors import ServiceUnavailable
from consumer.job import JsonObject
from consumer.ollama import Answer, Ollama, canonical
from consumer.ollama_reply import Figures
from consumer.one_session import one_session, own_row
from consumer.ports import Message, ModelRequest
from consumer.store import Store

RPC_CALLS, RPC_SECONDS = 200, 3.0
EVENTS, EVENT_SECONDS = 10, 5.0
# As many words as the answer must have make it end by itself, at a length that is always the same.
_WORDS = 24
_QUESTION = ModelRequest(
    messages=(Message("user", f"Answer with a JSON array of {_WORDS} colours, each red, green or blue."),),
    schema={"type": "array", "minItems": _WORDS, "maxItems": _WORDS, "items": {"enum": ["red", "green", "blue"]}},
    max_tokens=20 * _WORDS, temperature=0, seed=1,
)  # fmt: skip


class RoundTrips(NamedTuple):
    """How often it was measured, and how long it took."""

    times: int
    median_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: list[float]) -> RoundTrips:
        """The figures of two samples or more."""
        return cls(
            len(seconds),
            round(statistics.median(seconds) * 1000, 2),
            round(statistics.quantiles(seconds, n=100, method="inclusive")[98] * 1000, 2),
        )


class ModelSpeed(NamedTuple):
    """One short answer of a model. `load_ms` is about 1 when it `was_loaded`; without a count, no tokens per second."""

    was_loaded: bool
    load_ms: float
    first_token_ms: float
    output_tokens: int
    tokens_per_second: float | None


async def rpc(store: Store) -> RoundTrips:
    """A call that changes nothing: the cancelling of a job that is not there; 200 calls, or 3 seconds.

    Raises:
        StoreError: a call failed.
    """
    nobody, ends, taken = f"bench-{token_hex(8)}", time.monotonic() + RPC_SECONDS, list[float]()
    while len(taken) < 2 or (len(taken) < RPC_CALLS and time.monotonic() < ends):
        began = time.perf_counter()
        await store.cancel(nobody)
        taken.append(time.perf_counter() - began)
    return RoundTrips.of(taken)


async def events(store: Store, connect: Callable[[], AsyncRealtimeClient], info: JsonObject) -> RoundTrips:
    """From a heartbeat, sent as `store`'s worker, to its event (`postgres_changes`), ten times; removes the row again.

    Raises:
        ServiceUnavailable: the feed did not start, or an event did not come within five seconds.
        StoreError: a heartbeat failed.
    """
    heard: asyncio.Queue[Any] = asyncio.Queue(100)
    row = own_row(store.worker_id, lambda row: heard.put_nowait(row.get("beat")))
    async with one_session(connect, row) as session:
        if session.loss is not None:
            raise ServiceUnavailable(f"Realtime: {session.loss.reason}")
        try:
            return RoundTrips.of([await _event(store, info, heard) for _ in range(EVENTS)])
        finally:
            await store.farewell()


async def _event(store: Store, info: JsonObject, heard: asyncio.Queue[Any]) -> float:
    began = time.perf_counter()
    pulse = await store.heartbeat(info)
    try:
        async with asyncio.timeout(EVENT_SECONDS):
            while await heard.get() != pulse.beat:
                pass
    except TimeoutError:
        raise ServiceUnavailable(f"Realtime: an event did not come within {EVENT_SECONDS:g} s") from None
    return time.perf_counter() - began


async def model(ollama: Ollama, name: str) -> ModelSpeed:
    """Load the model as jobs do and have it answer once; it is dropped again unless it was loaded before.

    Raises:
        JobError: the model server could not.
    """
    was_loaded = canonical(name) in {canonical(entry.name) for entry in await ollama.ps()}
    try:
        load_ms = await ollama.preload(name)
        figures = await _answer(ollama, name)
    finally:
        if not was_loaded:
            await ollama.unload(name)
    speed = figures.tokens_per_second
    return ModelSpeed(
        was_loaded, round(load_ms, 1), round(figures.time_to_first_token_ms, 1), figures.output_tokens,
        None if speed is None else round(speed, 1),
    )  # fmt: skip


async def _answer(ollama: Ollama, name: str) -> Figures:
    async with aclosing(ollama.chat(name, _QUESTION)) as stream:
        async for piece in stream:
            if isinstance(piece, Answer):
                return piece.figures
    raise AssertionError("a stream ends with its answer or an error")
