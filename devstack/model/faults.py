"""Faults on request, for tests of clients: the next answers break in a chosen way.

Active only when `ModelServer` is given one of these. Called by `devstack.model.server`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal

from devstack.model.runner import BROKE_OFF
from devstack.model.wire import ApiError, JsonObject


class Dropped(Exception):
    """The connection ends here without a terminator, as when the server dies."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls one answer after `after` chunks (0: before the header).

    `error`: an error line, as when the runner is killed · `end`: the stream ends without a final chunk · `drop`: the
    connection breaks · `stall`: nothing more comes until the client goes away · `refuse`: status and text, no answer.
    """

    kind: Literal["error", "end", "drop", "stall", "refuse"]
    after: int = 0
    status: int = 503
    text: str = "server busy, please try again.  maximum pending requests exceeded"


@dataclass(slots=True)
class Faults:
    """The faults of the next answers, in order, and a delay in seconds for every load."""

    queue: deque[Fault] = field(default_factory=deque)
    load_delay: float = 0.0

    async def spoil(self, chunks: AsyncGenerator[JsonObject, None]) -> AsyncGenerator[JsonObject, None]:
        """Pass the chunks on until the next fault strikes."""
        fault = self.queue.popleft() if self.queue else None
        count = 0
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                if fault and count == fault.after:
                    await self._strike(fault)
                    return
                yield chunk
                count += 1

    async def _strike(self, fault: Fault) -> None:
        match fault.kind:
            case "error":
                raise ApiError(500, BROKE_OFF, relayed=True)
            case "refuse":
                raise ApiError(fault.status, fault.text)
            case "drop":
                raise Dropped
            case "stall":
                await asyncio.Event().wait()
