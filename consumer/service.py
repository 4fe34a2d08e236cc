"""The worker as a service of systemd: ready, how it is, alive, and that it still drains. Made and run by the worker.

`WATCHDOG=1` is fed by progress: a blocked event loop sends nothing by nature, and a task that is stuck while the loop
lives withholds it, so that systemd ends the process and starts it anew. Leases bring the jobs back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from loguru import logger

from consumer import systemd
from consumer.status import Status
from consumer.vitals import Sign

# Seconds between two words to systemd where it does not watch.
PAUSE = 10.0
# Words to the watchdog in the time after which it would end us.
WORDS = 3
# Seconds a start or a stop may take from one word to the next, over the pause: more than all that follows the last.
MARGIN = 30.0


class Service:
    """Speaks to systemd, if it is there. `changed` wherever something may have; `run` is the pulse between."""

    def __init__(self, status: Status, signs: Sequence[Sign]) -> None:
        self._status = status
        self._signs = signs
        self._said = ""
        self._ready = False
        watchdog = systemd.watchdog_seconds()
        self._food = [] if watchdog is None else ["WATCHDOG=1"]
        self._pause = PAUSE if watchdog is None else watchdog / WORDS

    def changed(self) -> None:
        """Say how the worker is, if that is news."""
        if words := self._news():
            systemd.notify(*words)

    async def run(self) -> None:
        """Feed the watchdog, and extend a start or a stop, until cancelled."""
        if not systemd.present():
            return
        while True:
            systemd.notify(*self._pulse())
            await asyncio.sleep(self._pause)

    def _news(self) -> list[str]:
        line, words = systemd.status(self._status.sentence), []
        if self._status.announcer.started and not self._ready:
            self._ready = True
            words.append("READY=1")
        if line != self._said:
            self._said = line
            words.append(line)
        return words

    def _pulse(self) -> list[str]:
        stuck = [sign.name for sign in self._signs if sign.overdue]
        if stuck:
            logger.error("stuck, systemd's watchdog is not fed: {}", ", ".join(stuck))
            return self._news()
        words = [*self._news(), *self._food]
        if self._status.stopping() or not self._ready:
            words.append(systemd.extension(self._pause + MARGIN))
        return words
