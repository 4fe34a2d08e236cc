"""The states of jobs as they change, heard through Realtime; of one job until it ends, or of all.

Called by the CLI. Nothing is polled: rows are read where events may be missing, that is when the feed begins, when it
is lost, and after a long silence. One session at a time: unlike the worker's listener it may be deaf for a moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, NoReturn

from pydantic import ValidationError
from realtime import AsyncRealtimeClient
from realtime.types import RealtimePostgresChangesListenEvent

from consumer.database import JOBS
from consumer.doorbell import Source
from consumer.errors import ConfigurationError, StoreUnavailable
from consumer.loss import Loss
from consumer.reader import Reader
from consumer.replies import JobState
from consumer.retry import full_jitter
from consumer.session import Binding, Feed, Session

# Seconds: without a word for so long, the rows are read once.
SILENCE = 60.0
READY_TIMEOUT, CLOSE_TIMEOUT = 20.0, 5.0
# A session that lasted so long begins the waits between tries anew.
HEALTHY_AFTER = 60.0
# Jobs that may change before they are shown; beyond that they are read.
MOST_NEWS = 1000


class Watching:
    """Follows `job_id`, or all jobs. `show` gets each new state of a job, `say` a sentence when the feed is lost."""

    def __init__(
        self, reader: Reader, connect: Callable[[], AsyncRealtimeClient], *, show: Callable[[JobState], None],
        say: Callable[[str], None], job_id: str | None = None, silence: float = SILENCE,
    ) -> None:  # fmt: skip
        self._reader, self._connect, self._job_id = reader, connect, job_id
        self._show, self._say = show, say
        self._silence = silence
        self._news: dict[str, JobState] = {}
        self._last: dict[str, JobState] = {}
        self._woken = asyncio.Event()
        self._gap = self._gone = False
        self._first = True
        self._session: Session | None = None
        self._feed = Feed((self._binding(),), self._on_gap, self._on_unclear)

    async def run(self) -> JobState | None:
        """Until the job has ended: gives its last state, None when there is no such job. Without a job, for ever.

        Raises:
            ConfigurationError: this project's Realtime refuses the key for good.
            StoreError: the first read failed.
        """
        following = asyncio.create_task(self._follow(), name="follow jobs")
        listening = asyncio.create_task(self._listen(), name="listen to jobs")
        tasks: set[asyncio.Task[Any]] = {following, listening}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return following.result() if following in done else listening.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _binding(self) -> Binding:
        if self._job_id is None:
            return Binding(JOBS, RealtimePostgresChangesListenEvent.All, self._on_row)
        return Binding(JOBS, RealtimePostgresChangesListenEvent.Update, self._on_row, f"id=eq.{self._job_id}")

    async def _listen(self) -> NoReturn:
        waits = full_jitter()
        for number in count(1):
            session = self._session = Session(
                number, self._connect, self._feed, ready_timeout=READY_TIMEOUT, close_timeout=CLOSE_TIMEOUT
            )
            await session.run()
            assert session.loss is not None
            if session.ready_since is None and session.loss.permanent:
                raise ConfigurationError(f"Realtime: {session.loss.reason}.")
            if session.ready_since and time.monotonic() - session.ready_since > HEALTHY_AFTER:
                waits = full_jitter()
            wait = next(waits)
            self._say(f"Realtime is lost: {session.loss.reason}; next try in {wait:.1f} s")
            self._on_gap()
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _follow(self) -> JobState | None:
        while True:
            silent = not await self._anything()
            for state in await self._fresh(silent):
                self._tell(state)
            if self._job_id is not None:
                last = self._last.get(self._job_id)
                if self._gone or (last is not None and last.ended):
                    return None if self._gone else last

    async def _anything(self) -> bool:
        """Until something may have changed; False after a long silence."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._silence):
                await self._woken.wait()
        heard = self._woken.is_set()
        self._woken.clear()
        return heard

    async def _fresh(self, silent: bool) -> list[JobState]:
        """The states that were not shown yet. What the feed should have said by now ends its session: it is deaf."""
        gap, self._gap = self._gap, False
        heard, self._news = list(filter(self._is_new, self._news.values())), {}
        if not (gap or silent or self._is_over(heard)):
            return heard
        try:
            read = list(filter(self._is_new, await self._read()))
        except StoreUnavailable as error:
            if self._first:
                raise
            self._say(f"the database did not answer ({error})")
            return heard
        if silent and read and self._session is not None:
            self._session.end(Loss("it did not tell what has changed"))
        return read

    def _is_new(self, state: JobState) -> bool:
        last = self._last.get(state.id)
        return last is None or (state.updated_at >= last.updated_at and state != last)

    def _is_over(self, heard: list[JobState]) -> bool:
        """The end is read from the row: the event of a large one leaves out what does not fit."""
        return self._job_id is not None and any(state.ended for state in heard)

    async def _read(self) -> list[JobState]:
        if self._job_id is None:
            found = await self._reader.states(self._last)
        else:
            state = await self._reader.state(self._job_id)
            self._gone = state is None
            found = [] if state is None else [state]
        self._first = False
        return found

    def _tell(self, state: JobState) -> None:
        self._last[state.id] = state
        if self._job_id is None and state.status != "processing":
            del self._last[state.id]
        self._show(state)

    def _on_row(self, record: dict[str, Any]) -> None:
        if "id" not in record:
            return  # the row was deleted
        try:
            state = JobState.of_row(record)
        except (ValidationError, AttributeError, TypeError):
            self._on_gap()
            return
        if len(self._news) >= MOST_NEWS:
            self._on_gap()
            return
        self._news[state.id] = state
        self._woken.set()

    def _on_gap(self) -> None:
        self._gap = True
        self._woken.set()

    def _on_unclear(self, _: Source) -> None:
        self._on_gap()
