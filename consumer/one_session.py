"""One Realtime session for somebody who looks or measures: open while it is needed, never begun anew.

Used by the doctor and by `measuring`; a worker's ear is the listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from realtime import AsyncRealtimeClient
from realtime.types import RealtimePostgresChangesListenEvent

from consumer.session import Binding, Feed, Session

READY_SECONDS, CLOSE_SECONDS = 20.0, 5.0


def own_row(worker_id: str, on_row: Callable[[dict[str, Any]], None]) -> Binding:
    """Every change of this worker's row."""
    return Binding("workflow_workers", RealtimePostgresChangesListenEvent.All, on_row, f"worker_id=eq.{worker_id}")


@asynccontextmanager
async def one_session(
    connect: Callable[[], AsyncRealtimeClient], *bindings: Binding, topic: str | None = None
) -> AsyncIterator[Session]:
    """A session that is `ready`, or whose `loss` says why it is not; closed at the end. `topic`: broadcasts, too."""
    feed = Feed(bindings, lambda: None, lambda source, job_id: None, topic)
    session = Session(1, connect, feed, ready_timeout=READY_SECONDS, close_timeout=CLOSE_SECONDS)
    serving = asyncio.create_task(session.run(), name="one Realtime session")
    try:
        await session.opened.wait()
        yield session
    finally:
        serving.cancel()
        await asyncio.wait({serving})
