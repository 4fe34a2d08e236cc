"""Looks into the database's schema when the worker has a reason to: at its start, and when Realtime brings nothing.

Run by the worker; what it has found is told by the status. Nothing is asked while all is well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from loguru import logger

from consumer.errors import StoreError
from consumer.inspection import APPLY, Defect, defects
from consumer.store import Store

_NO_SUCH_FUNCTION, _NO_RIGHT = "PGRST202", "42501"


class Inspector:
    """`defects`: what the last look found.

    While there is one, or the look had no answer, it looks again after `again` seconds.
    """

    def __init__(self, store: Store, on_change: Callable[[], None], *, again: float) -> None:
        self._store = store
        self._on_change = on_change
        self._again = again
        self._asked = asyncio.Event()
        self._asked.set()
        self._answered = False
        self.defects: tuple[Defect, ...] = ()

    def look(self) -> None:
        """Look soon. Never blocks."""
        self._asked.set()

    async def run(self) -> None:
        """Look when asked, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._again if self.defects or not self._answered else None):
                    await self._asked.wait()
            self._asked.clear()
            await self._look()

    async def _look(self) -> None:
        before = self.defects
        try:
            self.defects = tuple(defects(await self._store.inspect()))
            self._answered = True
        except StoreError as error:
            self.defects = _refused(error)
            self._answered = False
        if self.defects != before:
            for defect in self.defects:
                logger.warning("{}", defect)
            self._on_change()


def _refused(error: StoreError) -> tuple[Defect, ...]:
    """A database that is away, or refuses the key, is the heartbeat's to tell."""
    if error.code == _NO_SUCH_FUNCTION:
        return (Defect("schema", "the database is of an older version than this program", APPLY),)
    if error.code == _NO_RIGHT:
        return (Defect("grants", "missing: service_role EXECUTE on public.inspect_workflow_schema", APPLY),)
    return ()
