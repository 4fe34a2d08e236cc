"""The limit on change events: above it what a poll found is dropped, and nobody is told. Used by `capture`.

As the real server was seen to do it (traces/realtime.md §1 "Limits", trace 17d): an average over up to a minute, in
which only what was delivered counts, looked at once per poll, so that a transaction comes whole or not at all.
"""

from __future__ import annotations

import time
from collections import deque

WINDOW = 60.0


class EventRate:
    """`limit`: change events per second; None: no limit. `dropped` counts what was lost."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._since = time.monotonic()
        self._delivered: deque[tuple[float, int]] = deque()
        self.dropped = 0

    def admits(self, events: int) -> bool:
        """Whether so many events may be delivered now; counts them either way."""
        if self._limit is None:
            return True
        now = time.monotonic()
        while self._delivered and self._delivered[0][0] < now - WINDOW:
            self._delivered.popleft()
        seconds = min(max(now - self._since, 1.0), WINDOW)
        if sum(count for _, count in self._delivered) > self._limit * seconds:
            self.dropped += events
            return False
        self._delivered.append((now, events))
        return True
