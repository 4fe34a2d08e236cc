"""The clocks of one model call (design rule 15): the settings, and the stopwatch that keeps them. Used by `ollama`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from consumer.errors import Clock, ModelTimeout

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Clocks:
    """How long a call may take, in seconds. The defaults suit a CPU; `total` caps one call (OLLAMA_TIMEOUT)."""

    load: float = 300
    first_token: float = 120
    between_tokens: float = 60
    total: float = 600


class Stopwatch:
    """The clocks of one call. Waiting ends by the armed clock or by the total one, whichever is first."""

    def __init__(self, clock: Clock, seconds: float, total: float = math.inf) -> None:
        self._now = asyncio.get_running_loop().time
        self._total: tuple[float, float, Clock] = (self._now() + total, total, "total")
        self.arm(clock, seconds)

    def arm(self, clock: Clock, seconds: float) -> None:
        """Start this clock now, in place of the one before."""
        self._limit = min(self._total, (self._now() + seconds, seconds, clock))

    async def wait(self, step: Awaitable[T]) -> T:
        """Await `step`; its cancellation by the caller passes through.

        Raises:
            ModelTimeout: names the clock that ran out.
        """
        at, seconds, clock = self._limit
        try:
            async with asyncio.timeout_at(at):
                return await step
        except TimeoutError:
            raise ModelTimeout(clock, seconds) from None
