"""Signs of life of the worker's tasks. Each task gives its own, before every piece of work; systemd's watchdog asks."""

from __future__ import annotations

import time

# Seconds for one call of the database, above all of its own clocks (consumer/database.py: 5 s connect, 15 s silence).
LONGEST_CALL = 60.0


class Sign:
    """One task's sign of life: either it rests, waiting for an event, or it must be heard of within a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._due: float | None = None

    def within(self, seconds: float) -> None:
        """The task has begun something that takes no longer than so many seconds."""
        self._due = time.monotonic() + seconds

    def rest(self) -> None:
        """The task waits for an event, for as long as it takes."""
        self._due = None

    @property
    def overdue(self) -> bool:
        """Whether the task is stuck: it should have been heard of."""
        return self._due is not None and time.monotonic() > self._due
