"""Faults on request, for tests of clients: the server, its loads, its runners and its pulls fail in a chosen way.

Active only where a test asks for them. `ModelServer.faults` is read at every request, load and pull, so a test may
switch a field while the server runs, from any thread. Called by `devstack.model.server` and its scheduler.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Literal

from devstack.model.runner import BROKE_OFF
from devstack.model.wire import ApiError, JsonObject

BUSY = "server busy, please try again.  maximum pending requests exceeded"
LOAD_FAILED = "llama-server process has terminated: signal: killed"
# How often a stalled load looks whether it may go on.
_LOOK = 0.01


class Dropped(Exception):
    """The connection ends here without a terminator, as when the server dies."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls one answer, or one pull, after `after` chunks (0: before the header).

    `error`: an error line, as when the runner is killed · `end`: the stream ends without a final chunk · `drop`: the
    connection breaks · `stall`: nothing more comes until the client goes away · `hang`: the same, because the runner's
    process is stopped (SIGSTOP) and stays so · `drain`: nothing comes for `seconds`, then the error line, as when the
    runner of 0.33 gets SIGTERM (traces/ollama.md fact 18) · `refuse`: status and text, no answer.
    """

    kind: Literal["error", "end", "drop", "stall", "hang", "drain", "refuse"]
    after: int = 0
    status: int = 503
    text: str = ""
    seconds: float = 30.0


@dataclass(slots=True)
class Faults:
    """The faults of the next answers and pulls, in order, and how the server as a whole is; times in seconds.

    `load_delay`: before every load · `loads`: every load `fail`s with `load_error`, or `stall`s until this is changed
    or its client leaves (a stall was not recorded; the real one gives up after 5 minutes without a sign of its runner,
    facts/ollama.md §2) · `ping_seconds`: how long a runner is asked whether it lives (10 in Ollama's needsReload) ·
    `deadlock`: whether the scheduler has #17408 · `pull_delay`: between two lines of a pull (0.06 in download.go).
    """

    queue: deque[Fault] = field(default_factory=deque)
    pulls: deque[Fault] = field(default_factory=deque)
    load_delay: float = 0.0
    loads: Literal["work", "fail", "stall"] = "work"
    load_error: str = LOAD_FAILED
    ping_seconds: float = 10.0
    deadlock: bool = False
    pull_delay: float = 0.0

    async def load(self) -> None:
        """Pass when a load may begin.

        Raises:
            ApiError: 500, loads fail.
        """
        await asyncio.sleep(self.load_delay)
        while self.loads == "stall":  # noqa: ASYNC110  # an event could not be set from another thread
            await asyncio.sleep(_LOOK)
        if self.loads == "fail":
            raise ApiError(500, self.load_error)


async def spoil(
    chunks: AsyncGenerator[JsonObject, None], faults: deque[Fault], freeze: Callable[[], None] = lambda: None
) -> AsyncGenerator[JsonObject, None]:
    """Pass the chunks on until the next of `faults` strikes; `freeze` stops the runner that they come from.

    Raises:
        ApiError, Dropped: what the fault says.
    """
    fault = faults.popleft() if faults else None
    count = 0
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            if fault and count == fault.after:
                await _strike(fault, freeze)
                return
            yield chunk
            count += 1


async def _strike(fault: Fault, freeze: Callable[[], None]) -> None:
    match fault.kind:
        case "error":
            raise ApiError(500, fault.text or BROKE_OFF, relayed=True)
        case "refuse":
            raise ApiError(fault.status, fault.text or BUSY)
        case "drop":
            raise Dropped
        case "stall":
            await asyncio.Event().wait()
        case "hang":
            freeze()
            await asyncio.Event().wait()
        case "drain":
            await asyncio.sleep(fault.seconds)
            raise ApiError(500, BROKE_OFF, relayed=True)
