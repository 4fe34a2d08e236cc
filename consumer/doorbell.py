"""The bell between everything that may mean work and the dispatcher: any number of rings is one wake-up.

Rung by the listener's callbacks, freed slots, deadlines and the heartbeat; awaited and cleared by the dispatcher,
which clears it *before* it claims, so that no ring is lost (design rule 1). A ring may name a job: only a hint, used to
measure event → claim and to spread the rings over workers, never to decide what is claimed.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Literal

from consumer.job import JOB_ID_PATTERN

Source = Literal[
    "postgres_changes", "broadcast", "ready", "deadline", "slot", "heartbeat", "poke", "manual", "start",
    "recovered",
]  # fmt: skip

# A deadline is met a moment late, so that the database's clock has surely passed it.
DEADLINE_SLACK = 0.05
# The event loop's timers are not for months; the heartbeat names the deadline again anyway.
LONGEST_TIMER = 3600.0


def job_ids(named: object) -> list[str]:
    """Those of an event's values that can be ids of jobs: anybody may have written them."""
    values = named if isinstance(named, list) else [named]
    return [value for value in values if isinstance(value, str) and re.fullmatch(JOB_ID_PATTERN, value)]


@dataclass(frozen=True, slots=True)
class Ring:
    """One ring: who rang, when (`time.monotonic()`, seconds), and for which job, if known."""

    source: Source
    at: float
    job_id: str | None = None


class Doorbell:
    """A bell that stays rung until it is cleared; belongs to one event loop.

    It remembers the first ring of each job, and of each source that named none, at most `bound` in all. Beyond that
    only hints are lost, counted in `dropped`.
    """

    def __init__(self, *, bound: int = 1000) -> None:
        self._bound = bound
        self._rung = asyncio.Event()
        self._hints: dict[str, Ring] = {}
        self._dropped = 0
        self._alarm: asyncio.TimerHandle | None = None

    def ring(self, source: Source, job_id: str | None = None, at: float | None = None) -> None:
        """Wake the dispatcher. O(1), never blocks, never raises: safe inside the socket's reader.

        `at`: when it was rung (`time.monotonic()`), if that was not now.
        """
        self._rung.set()
        key = job_id or f"({source})"
        if key in self._hints:
            return
        if len(self._hints) >= self._bound:
            self._dropped += 1
            return
        self._hints[key] = Ring(source, time.monotonic() if at is None else at, job_id)

    def ring_in(self, seconds: float | None) -> None:
        """Ring as "deadline" in so many seconds; only the last word counts, and None takes it back."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if seconds is not None:
            delay = min(max(seconds, 0) + DEADLINE_SLACK, LONGEST_TIMER)
            self._alarm = asyncio.get_running_loop().call_later(delay, self.ring, "deadline")

    async def wait(self) -> None:
        """Until it is rung; at once when it is rung already."""
        await self._rung.wait()

    def clear(self) -> dict[str, Ring]:
        """Silence the bell, before claiming; returns what rang since the last clear, by job id.

        A source that named no job is under its name in brackets, e.g. "(ready)", which no job id can be.
        """
        self._rung.clear()
        hints, self._hints = self._hints, {}
        return hints

    @property
    def depth(self) -> int:
        """Hints held since the last clear."""
        return len(self._hints)

    @property
    def dropped(self) -> int:
        """Hints lost to the bound, in all. A job without a hint is claimed all the same."""
        return self._dropped
