"""What goes wrong in a chaos run, and when: a seeded schedule. Every kind comes once before any comes twice."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from benchmarks.chaos.fleet import HASTE, Member
from devstack.postgres import StopMode
from devstack.stack import DevStack

LEASE = float(HASTE["LEASE_SECONDS"])


class Trouble:
    """Does one thing after another to the stack and the workers, `pause` seconds apart; `done` counts them by name.

    What lasts, lasts for a drawn number of leases times `severity`. `only` names the kinds that may come.
    """

    def __init__(
        self, rng: random.Random, stack: DevStack, members: list[Member], *, pause: tuple[float, float],
        severity: float, only: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        self._rng = rng
        self._stack = stack
        self._members = members
        self._pause = pause
        self._lease = LEASE * severity
        self.done: Counter[str] = Counter()
        # The weight says how often a kind comes after each has come once.
        kinds: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "worker killed": (4, self._kill),
            "worker stopped": (2, self._stop),
            "worker frozen": (2, self._freeze),
            "connections cut": (5, self._cut),
            "connections stalled": (3, self._stall),
            "connections refused": (2, self._refuse),
            "gateway restarted": (2, self._restart_gateway),
            "feed deaf": (2, self._deafen),
            "database crashed": (1, lambda: self._restart_database("immediate")),
            "database restarted": (1, lambda: self._restart_database("fast")),
            "database sessions ended": (1, self._end_sessions),
        }
        self._kinds = {name: kind for name, kind in kinds.items() if only is None or name in only}

    @property
    def kinds(self) -> list[str]:
        """The names of all that can go wrong."""
        return list(self._kinds)

    async def run(self, over: asyncio.Event) -> None:
        """Trouble until it is over; the one that is under way then is mended first."""
        first = self._rng.sample(self.kinds, len(self._kinds))
        weights = [weight for weight, _ in self._kinds.values()]
        while not await self._over_within_a_pause(over):
            name = first.pop() if first else self._rng.choices(self.kinds, weights)[0]
            await self._kinds[name][1]()
            self.done[name] += 1

    async def _over_within_a_pause(self, over: asyncio.Event) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), self._rng.uniform(*self._pause))
        return over.is_set()

    @property
    def _victim(self) -> Member:
        return self._rng.choice(self._members)

    async def _last(self, least: float, most: float) -> None:
        await asyncio.sleep(self._rng.uniform(least, most) * self._lease)

    async def _kill(self) -> None:
        self._victim.send(signal.SIGKILL)

    async def _stop(self) -> None:
        self._victim.send(signal.SIGTERM)

    async def _freeze(self) -> None:
        """For up to two leases: a job of this worker may be somebody else's when it wakes."""
        victim = self._victim
        victim.send(signal.SIGSTOP)
        await self._last(0.2, 2)
        victim.send(signal.SIGCONT)

    async def _cut(self) -> None:
        self._victim.proxy.cut()

    async def _stall(self) -> None:
        proxy = self._victim.proxy
        proxy.stall()
        await self._last(0.1, 1.5)
        proxy.flow()

    async def _refuse(self) -> None:
        proxy = self._victim.proxy
        proxy.refusing = True
        proxy.cut()
        await self._last(0.1, 1)
        proxy.refusing = False

    async def _restart_gateway(self) -> None:
        await self._stack.gateway.stop()
        await self._last(0, 0.4)
        await self._stack.gateway.start()

    async def _deafen(self) -> None:
        self._stack.realtime.deaf = True
        await self._last(0.2, 2)
        self._stack.realtime.deaf = False

    async def _restart_database(self, mode: StopMode) -> None:
        postgres = self._stack.postgres
        await asyncio.to_thread(postgres.halt, mode)
        await self._last(0, 1)
        # In this thread, which lives as long as the server should (devstack/postgres.py).
        postgres.start()

    async def _end_sessions(self) -> None:
        self._stack.postgres.psql(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'authenticator'",
            user="supabase_admin",
        )
