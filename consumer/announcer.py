"""Says how the worker is: ready, or degraded, when Realtime brings nothing and jobs are found by heartbeat only.

Run by the worker. One line of the log per change, and a word to whoever passes it on: to systemd, and by a heartbeat at
once to the worker's row. The listener's waits drive it; nothing polls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loguru import logger

from consumer.listener import Listener

# Seconds until a worker without Realtime reports as started: half of the unit's TimeoutStartSec.
FEED_PATIENCE = 60.0


class Announcer:
    """`degraded`: why Realtime brings nothing, in a sentence; None while it does, or has been away for less than that.

    `patience`, seconds, is how long a feed that has worked may be away before that is worth a word. `started`: it has
    said for the first time how the worker is.
    """

    def __init__(self, listener: Listener, on_change: Callable[[], None], *, patience: float) -> None:
        self._listener = listener
        self._on_change = on_change
        self._patience = min(patience, FEED_PATIENCE)
        self.started = False
        self.degraded: str | None = None

    async def run(self) -> None:
        """Announce every change until cancelled."""
        patience = FEED_PATIENCE
        while True:
            try:
                async with asyncio.timeout(patience):
                    await self._listener.wait_hearing()
            except TimeoutError:
                self._turn_degraded()
                await self._listener.wait_hearing()
            self._turn_ready()
            patience = self._patience
            await self._listener.wait_lost()

    def _turn_degraded(self) -> None:
        self.degraded = self._listener.trouble or "no answer yet"
        logger.warning("degraded: no Realtime, jobs are found by heartbeat ({})", self.degraded)
        self._tell()

    def _turn_ready(self) -> None:
        if self.started and self.degraded is None:
            return
        self.degraded = None
        logger.info("ready: waiting for jobs")
        self._tell()

    def _tell(self) -> None:
        self.started = True
        self._on_change()
