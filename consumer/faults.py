"""Named moments of a job's life at which a test may make the worker fail; nothing happens there in production.

Called by listener, Redis bell, dispatcher, steps, lease and runner. Only code of the same process can set `hook`, and
only tests do: no setting and no variable of the environment leads here.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from consumer.job import Job


class FaultPoint(StrEnum):
    """In the order in which an attempt passes them; each is the moment just after (or before) what it names."""

    EVENT_HEARD = "event heard"
    RING_WON = "ring won"
    CLAIMED = "claimed"
    LOADING = "loading"
    STREAMING = "streaming"
    CHECKPOINTED = "checkpointed"
    BEFORE_SETTLE = "before settle"
    AFTER_SETTLE = "after settle"


hook: Callable[[FaultPoint, Job | None], None] | None = None


def reached(point: FaultPoint, job: Job | None = None) -> None:
    """The worker is at this point, with this job if it has one. May raise, or never return, in a test."""
    if hook is not None:
        hook(point, job)
