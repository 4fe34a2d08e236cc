"""Picks up what was missed: reconciles at start and at every possible gap in the feed (design rule 3).

Called by the app. `gap()` is what the listener calls at every "Subscribed to PostgreSQL"; gaps that come while one is
being handled become one.
"""

from __future__ import annotations

import asyncio
import time

from loguru import logger

from consumer.dispatcher import Dispatcher
from consumer.doorbell import Doorbell
from consumer.errors import StoreError
from consumer.replies import Reconciliation
from consumer.retry import full_jitter
from consumer.store import Store
from consumer.vitals import LONGEST_CALL, Sign


class Reconciler:
    """One reconcile per gap, repeated only until the database answers."""

    def __init__(self, store: Store, dispatcher: Dispatcher, bell: Doorbell) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._bell = bell
        self._gap = asyncio.Event()
        self._gap.set()
        self._gaps = 0
        self.reconciles = 0
        self.sign = Sign("reconciler")

    def gap(self) -> None:
        """Events may have been lost: reconcile soon. Never blocks."""
        self._gaps += 1
        self._gap.set()

    async def run(self) -> None:
        """Reconcile at start and after every gap, until cancelled."""
        while True:
            await self._gap.wait()
            self._gap.clear()
            asked_at = time.monotonic()
            found = await self._reconciled()
            self.sign.rest()
            logger.debug("reconciled: {} claimable, {} processing", found.claimable, found.processing)
            if found.rescued or found.exhausted:
                logger.info("rescued {} job(s), failed {} with all retries spent", found.rescued, found.exhausted)
            if found.claimable:
                # Until the feed has begun, nothing could have announced what is there.
                self._bell.ring("ready" if self._gaps > 1 else "start")
            elif self._dispatcher.answered_at < asked_at:
                self._dispatcher.due_in(found.next_due_in)

    async def _reconciled(self) -> Reconciliation:
        for pause in full_jitter(base=0.5, cap=15):
            self.sign.within(pause + LONGEST_CALL)
            try:
                found = await self._store.reconcile()
            except StoreError as error:
                logger.warning("reconcile failed, trying again in {:.1f} s: {}", pause, error)
                await asyncio.sleep(pause)
            else:
                self.reconciles += 1
                return found
        raise AssertionError("the back-off has no end")
