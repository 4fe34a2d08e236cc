"""What is done about a model server that fails: a ladder of cures, and a circuit that opens when none helps.

Run by the app; the steps report a suspect and wait for the verdict. While it is looked into, the lanes give no turns.
The ladder (facts/ollama.md §3, traces/ollama.md facts 4 and 5): the call is closed → version and ps → one token of the
same model → if it hangs, unload what is loaded, which ends a hung runner and frees a stuck scheduler, and load again →
the circuit opens: no job is taken, those in work go back, and the same ladder is climbed again after growing pauses
until it leads to a token.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from consumer.errors import (
    JobError,
    ModelNotFound,
    ModelOutOfMemory,
    ModelOverloaded,
    ModelTimeout,
    ModelUnavailable,
)
from consumer.job import JsonObject
from consumer.lanes import Lanes
from consumer.ollama import LOAD_SIGN_MS, Ollama
from consumer.retry import full_jitter

# What makes the server a suspect; all else is about the request or the answer.
SUSPICIOUS = (ModelUnavailable, ModelNotFound, ModelOverloaded, ModelTimeout, ModelOutOfMemory)
# Seconds for one token of a loaded model (facts/ollama.md §3).
CANARY = 30.0


@dataclass(frozen=True, slots=True)
class Ladder:
    """Seconds: for the one token, for the memory to come free, between two looks at it, and between climbs."""

    canary: float = CANARY
    unload: float = 30.0
    look: float = 0.25
    first_pause: float = 5.0
    longest_pause: float = 60.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the circuit is open: the model, the reason with the way out, and since when (time.time())."""

    model: str
    why: str
    since: float

    def as_json(self) -> JsonObject:
        """As the worker's row shows it."""
        return {"model": self.model, "why": self.why, "since": round(self.since, 3)}


class Recovery:
    """Owns the circuit. `trouble` says why it is open; `cures` counts the ladders that ended well by an unload.

    `looks` counts the reports that were looked into; `loads`, by model, what it had to load.
    """

    def __init__(
        self, ollama: Ollama, lanes: Lanes, ladder: Ladder | None = None, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._ollama = ollama
        self._lanes = lanes
        self._ladder = ladder or Ladder()
        self._on_change = on_change
        self._suspect: tuple[str, JobError] | None = None
        self._reported = asyncio.Event()
        self._verdict: asyncio.Future[str | None] | None = None
        self.trouble: Trouble | None = None
        self.cures = 0
        self.looks = 0
        self.loads: Counter[str] = Counter()

    @property
    def suspicion(self) -> str | None:
        """What is being looked into, before the verdict."""
        return str(self._suspect[1]) if self._suspect and self._verdict is not None else None

    def report(self, model: str, error: JobError) -> None:
        """A call of `model` failed; called before its turn ends, so that nobody else walks into the same hole."""
        if self._verdict is None and self.trouble is None:
            logger.warning("looking into the model server: {}", error)
            self.looks += 1
            self._suspect = (model, error)
            self._verdict = asyncio.get_running_loop().create_future()
            self._lanes.pause()
            self._reported.set()

    async def verdict(self) -> str | None:
        """Why the server cannot be used, once that is known; None when it works (again)."""
        if self._verdict is not None:
            return await asyncio.shield(self._verdict)
        return self.trouble.why if self.trouble else None

    async def run(self) -> None:
        """Look into every report until cancelled."""
        try:
            while True:
                await self._reported.wait()
                self._reported.clear()
                assert self._suspect is not None
                await self._look_into(*self._suspect)
        finally:
            self._conclude("the worker stops")

    async def _look_into(self, model: str, first: JobError) -> None:
        pauses = full_jitter(base=self._ladder.first_pause, cap=self._ladder.longest_pause)
        # A load that took too long is not tried again before what may block it is unloaded.
        stuck = isinstance(first, ModelTimeout) and first.clock == "load"
        error = await self._climb(model, first if stuck else await self._try(model))
        while error is not None:
            why = _why(model, error)
            self._open(model, why)
            self._conclude(why)
            await asyncio.sleep(self._ladder.look + next(pauses))
            error = await self._climb(model, await self._try(model))
        self._close()
        self._conclude(None)

    def _open(self, model: str, why: str) -> None:
        if self.trouble is None or self.trouble.why != why:
            logger.error("circuit open, no job is taken: {}", why)
            self.trouble = Trouble(model, why, self.trouble.since if self.trouble else time.time())
            self._lanes.bar(why)
            self._on_change()

    def _close(self) -> None:
        was, self.trouble = self.trouble, None
        logger.info("the model server works{}", "" if was is None else f" again after {time.time() - was.since:.0f} s")
        self._lanes.resume()
        if was is not None:
            self._on_change()

    def _conclude(self, why: str | None) -> None:
        if self._verdict is not None:
            self._verdict.set_result(why)
            self._verdict = None

    async def _climb(self, model: str, error: JobError | None) -> JobError | None:
        """The upper rungs, after `error` on the lower ones: None once there is a token, else what the last one met."""
        if not isinstance(error, ModelTimeout | ModelOutOfMemory):
            return error  # an unload cures what hangs and what lacks memory, nothing else
        await self._lanes.quiet()
        try:
            await self._unload(others=isinstance(error, ModelTimeout) and self.trouble is None)
        except JobError as failed:
            return failed
        error = await self._try(model)
        self.cures += error is None
        return error

    async def _try(self, model: str) -> JobError | None:
        """Ask for the version, what is loaded, and one token."""
        try:
            await self._ollama.version()
            await self._ollama.ps()
            async with self._lanes.loading:
                took = await self._ollama.preload(model)
                self.loads[model] += took > LOAD_SIGN_MS
            await self._ollama.canary(model, self._ladder.canary)
        except JobError as error:
            return error
        return None

    async def _unload(self, *, others: bool) -> None:
        """Unload our models; and `others`, of other clients, at most once: a stuck load may wait for one (fact 5)."""
        asked = [entry.name for entry in await self._ollama.ps() if others or self._lanes.owns(entry.name)]
        for name in asked:
            logger.warning("unloading {!r}, to set the model server free", name)
            await self._ollama.unload(name)
        deadline = time.monotonic() + self._ladder.unload
        while kept := [entry.name for entry in await self._ollama.ps() if entry.name in asked]:
            if time.monotonic() > deadline:
                busy = f"the model server does not unload {kept[0]!r}: it works for another client, or hangs"
                raise ModelUnavailable(f"{busy}. Look at `ollama ps`; restart it if nothing moves")
            await asyncio.sleep(self._ladder.look)


def _why(model: str, error: JobError) -> str:
    if isinstance(error, ModelTimeout):
        done = "is not loaded" if error.clock == "load" else "gives no token"
        return f"{model!r} {done} within {error.seconds:g} s, not even after an unload: restart the model server"
    return str(error)
