"""What a one-shot worker does: one job by its name, or all that is claimable now (`consumer process`, `consumer poll`).

Made by the CLI, run by the worker instead of its doorbells. One attempt per job: what is to be retried is back in the
queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import islice

from consumer.claims import Closed, Taken
from consumer.dispatcher import Dispatcher
from consumer.errors import StoreError, StoreUnavailable
from consumer.retry import full_jitter

# A claim without an answer is repeated so often before the database counts as away: a minute at the most.
REPEATS = 6


@dataclass
class Errand:
    """`taken`: the jobs that were begun. `closed`: why no more were, None when there were none; `lost`: no answer."""

    job_id: str | None = None
    taken: list[str] = field(default_factory=list)
    closed: Closed | None = None
    lost: StoreError | None = None

    async def run(self, dispatcher: Dispatcher) -> None:
        """Claim and wait for the ends of the attempts."""
        try:
            if self.job_id is not None:
                await self._take(dispatcher, self.job_id)
            else:
                while await self._take(dispatcher) or self.closed == "busy":
                    await dispatcher.slot_free()
        except StoreError as error:
            self.lost = error
        await dispatcher.work.ended()

    async def _take(self, dispatcher: Dispatcher, job_id: str | None = None) -> bool:
        found = await _answered(dispatcher.poll if job_id is None else lambda: dispatcher.process(job_id))
        self.taken += found.jobs
        self.closed = found.closed
        return bool(found.jobs)


async def _answered(call: Callable[[], Awaitable[Taken]]) -> Taken:
    for pause in islice(full_jitter(base=0.5, cap=15), REPEATS):
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(pause)
    return await call()
