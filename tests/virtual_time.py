"""An event loop whose clock jumps to the next timer whenever nothing else is going on: an hour takes a second.

Real sockets work: before each jump the loop looks whether one of them has something. Only for tests whose peers live in
the same loop; what another process or thread does takes no time here.
"""

from __future__ import annotations

import asyncio
import selectors

# Real seconds that sockets get before each jump.
LINGER = 0.001


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing but sockets; the time it should have waited is added to `jumped`."""

    jumped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(min(timeout, LINGER))
        if not ready:
            self.jumped += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Use as `asyncio.Runner(loop_factory=VirtualLoop)`; `time()` is in virtual seconds."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return super().time() + self._jumping.jumped
