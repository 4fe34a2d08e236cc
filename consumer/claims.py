"""Asks the database for jobs. A call without an answer keeps its key and is repeated: it may have taken some.

Used by the dispatcher, one call at a time.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from consumer.errors import StoreRefused
from consumer.lanes import StepName
from consumer.replies import Claim
from consumer.retry import full_jitter
from consumer.store import Store

# Why a worker takes no job now: it drains; an operator has paused it; its model server is given up or looked into; all
# its slots are in use.
Closed = Literal["stopping", "paused", "model server", "busy"]


@dataclass(frozen=True, slots=True)
class Taken:
    """The jobs that are in work because of a call; or why there are none, None when the database had none to give."""

    jobs: tuple[str, ...] = ()
    closed: Closed | None = None


class Claims:
    """One worker's claims. `owed`: the jobs that were asked for by name in a call that has had no answer."""

    def __init__(self, store: Store, max_retries: int | None) -> None:
        self._store = store
        self._max_retries = max_retries
        self._keys: dict[str | None, str] = {}
        self._pauses = full_jitter(base=0.5, cap=15)
        self._looks = full_jitter(base=0.2, cap=5)

    @property
    def owed(self) -> list[str]:
        """Names of jobs that may be ours already."""
        return [job for job in self._keys if job is not None]

    def pause(self) -> float:
        """Seconds to wait before a claim is repeated; more each time until one is answered."""
        return next(self._pauses)

    async def ask(
        self, how_many: int, running: Sequence[str], prefer: StepName | None, job: str | None = None
    ) -> Claim:
        """Claim the best jobs, or the one that is named.

        Raises:
            StoreError: there was no answer; the next call for the same repeats this one.
        """
        key = self._keys.setdefault(job, secrets.token_hex(8))
        try:
            claim = await self._store.claim(
                how_many, key, running=running, max_retries=self._max_retries, job=job, prefer=prefer
            )
        except StoreRefused:
            del self._keys[job]  # it was answered: what it took, its lease brings back
            raise
        del self._keys[job]
        self._pauses = full_jitter(base=0.5, cap=15)
        return claim

    def next_look(self, claim: Claim, room: int) -> float | None:
        """Seconds to the next deadline; soon, when there is more that another claim has locked at this moment."""
        if not claim.more or claim.alone or room <= len(claim.jobs):
            self._looks = full_jitter(base=0.2, cap=5)
            return claim.next_due_in
        soon = next(self._looks)
        return soon if claim.next_due_in is None else min(soon, claim.next_due_in)
