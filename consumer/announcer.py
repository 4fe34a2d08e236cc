"""Says how the worker is: ready, or degraded, when Realtime brings nothing and jobs are found by heartbeat only.

Run by the app. One line of the log per change, systemd's STATUS, and a heartbeat at once, so that the worker's row says
the same. The listener's waits drive it; nothing polls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loguru import logger

from consumer import systemd
from consumer.listener import Listener

# Seconds until a worker without Realtime reports as started: half of the unit's TimeoutStartSec.
FEED_PATIENCE = 60.0


class Announcer:
    """`degraded`: why Realtime brings nothing, in a sentence; None while it does, or has been away for less than that.

    `patience`, seconds, is how long a feed that has worked may be away before that is worth a word. `started`: it has
    said for the first time how the worker is; `status` is what it said last.
    """

    def __init__(
        self, listener: Listener, on_change: Callable[[], None], *, worker_id: str, patience: float
    ) -> None:  # fmt: skip
        self._listener = listener
        self._on_change = on_change
        self._worker_id = worker_id
        self._patience = min(patience, FEED_PATIENCE)
        self.started = False
        self.degraded: str | None = None
        self.status = "starting"

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
        self._notify("degraded: no Realtime, jobs are found by heartbeat")

    def _turn_ready(self) -> None:
        if self.started and self.degraded is None:
            return
        self.degraded = None
        logger.bind(worker=self._worker_id).info("ready: waiting for jobs")
        self._notify("ready, waiting for jobs")

    def _notify(self, status: str) -> None:
        self.status = status
        systemd.notify(f"STATUS={status}" if self.started else f"READY=1\nSTATUS={status}")
        self.started = True
        self._on_change()
