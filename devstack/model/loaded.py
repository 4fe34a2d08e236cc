"""One loaded model: who uses it, how long it stays, whether its process still answers.

Kept by `devstack.model.scheduler`.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field

from devstack.model.models import Model
from devstack.model.requests import Launch
from devstack.model.runner import Runner
from devstack.model.wire import FOREVER_NS, JsonObject, timestamp


@dataclass(eq=False, slots=True)
class Loaded:
    """A loaded model and who uses it. `keep_alive` in seconds, `used_at` and `unload_at` on the wall clock in ns.

    `evicting`: another load waits for its memory · `hung`: its process did not answer the scheduler.
    """

    model: Model
    runner: Runner
    keep_alive: float
    users: int = 0
    used_at: int = field(default_factory=time.time_ns)
    unload_at: int | None = None
    evicting: bool = False
    hung: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    timer: asyncio.TimerHandle | None = None

    def usable(self, launch: Launch, *, evicting_too: bool) -> bool:
        """Whether a request with this launch can use it without a load."""
        fit = self.runner.alive and not self.hung and self.runner.launch == launch
        return fit and (evicting_too or not self.evicting)

    async def answers(self, seconds: float) -> bool:
        """Ask its process whether it lives. An unload of it waits until this question is answered or given up."""
        async with self.asking:
            return await self.runner.ping(seconds)

    def entry(self) -> JsonObject:
        """The entry of `/api/ps`. `expires_at` is now while it waits to be evicted, and the past after an unload."""
        kept = FOREVER_NS if self.keep_alive == math.inf else int(self.keep_alive * 1e9)
        expires = time.time_ns() if self.evicting else self.unload_at or self.used_at + kept
        num_ctx = self.runner.launch.num_ctx
        return self.model.identity | {
            "size": self.model.size_loaded(num_ctx), "digest": self.model.digest, "details": self.model.details,
            "expires_at": timestamp(expires), "size_vram": 0, "context_length": num_ctx,
        }  # fmt: skip
