"""Notices another process with this worker's name: both write one row, whose changes come back to each of them.

Fed by the listener, told by the status. Jobs are safe all the same: each attempt has one holder.
"""

from __future__ import annotations

import time

from loguru import logger


class Twin:
    """`keep` seconds after its last sign, the other process counts as ended."""

    def __init__(self, worker_id: str, hostname: str, pid: int, *, keep: float) -> None:
        self._worker_id = worker_id
        self._ours = (hostname, pid)
        self._keep = keep
        self._other: tuple[object, object] | None = None
        self._until = 0.0

    def heard(self, hostname: object, pid: object) -> None:
        """The row was written by this process. Never blocks."""
        if pid is None or (hostname, pid) == self._ours:
            return
        new = self.trouble is None
        self._other, self._until = (hostname, pid), time.monotonic() + self._keep
        if new:
            logger.warning("{}", self.trouble)

    @property
    def trouble(self) -> str | None:
        """Who else has the name, and the way out; None while nobody has."""
        if self._other is None or time.monotonic() > self._until:
            return None
        hostname, pid = self._other
        return (
            f"WORKER_ID: process {pid} on {hostname} is called {self._worker_id!r}, too, so only one is listed. "
            "Give each a name of its own, or stop one"
        )
