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
    """How long a call may take, in seconds; `total` caps one call (OLLAMA_TIMEOUT). The defaults suit a CPU.

    A 7B model reads 20 to 60 tokens/s there, and is loaded from a disk (facts/ollama.md §3, "Timeouts").
    """

    load: float = 300
    first_token: float = 120
    between_tokens: float = 60
    total: float = 600


# For a model that is wholly on a GPU. A runner told to stop keeps its stream silent for 30 s (traces, fact 18).
ON_GPU = Clocks(first_token=60, between_tokens=25)


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """What the user has set, in seconds; None leaves a clock to the hardware."""

    load: float | None = None
    first_token: float | None = None
    between_tokens: float | None = None
    total: float = 600

    def clocks(self, *, on_gpu: bool) -> Clocks:
        """The clocks for this hardware."""
        usual = ON_GPU if on_gpu else Clocks()
        return Clocks(
            load=self.load or usual.load,
            first_token=self.first_token or usual.first_token,
            between_tokens=self.between_tokens or usual.between_tokens,
            total=self.total,
        )


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
