"""Which model may be used when: one at a time for all slots of this worker (design rule 11).

Called by the steps around preload and chat. Two models at once on a server with room for one evict each other, or
hang its scheduler until the loaded model is unloaded (traces/ollama.md fact 5), so the queue is kept here, not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter


class ModelLane:
    """The one way to the model server; whoever waits longest goes first."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._model: str | None = None

    @property
    def model(self) -> str | None:
        """The model in use now; None when the lane is free."""
        return self._model

    @asynccontextmanager
    async def use(self, model: str) -> AsyncIterator[float]:
        """Hold the lane for calls of `model`. Gives the milliseconds waited for it, to be added to `queue_time_ms`."""
        asked = perf_counter()
        async with self._turn:
            self._model = model
            try:
                yield (perf_counter() - asked) * 1000
            finally:
                self._model = None
