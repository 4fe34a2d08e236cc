"""What the page shows, kept fresh while somebody looks: one source for all viewers of a worker.

Used by the page's routes. While at least one viewer is there, the database is asked once per `LOOK` seconds at most,
and for no more than one part in `SHARE` of its time; with nobody there it is not asked at all. A viewer gets the parts
that have changed since it last took any, so a slow one holds no queue of old news.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from loguru import logger

from consumer.database import Database, as_object
from consumer.errors import StoreError, StoreRefused, StoreUnavailable
from consumer.job import JsonObject
from consumer.status import Status

# Seconds. A look that takes long makes the next one later. The plots change slowly, so they are asked for less often.
LOOK, SHARE, TRENDS = 1.0, 5, 10.0
# How long a look may take, and the pause after one that failed.
PATIENCE, AWAY = 5.0, 3.0
MOST_VIEWERS = 20
# One stream's length; the page then asks anew, so that no connection need outlive the face's bound (30 s).
STREAM = 25.0


@dataclass(slots=True)
class Viewer:
    """What one viewer has taken: part → its text."""

    taken: dict[str, str] = field(default_factory=dict)


class Feed:
    """The parts of the page as JSON texts, by name. `over` ends all streams at once."""

    def __init__(self, status: Status, database: Database, over: asyncio.Event) -> None:
        self._status = status
        self._database = database
        self._over = over
        self._parts: dict[str, str] = {}
        self._now: str | None = None
        self._changed = asyncio.Event()
        self._looking = asyncio.Lock()
        self._viewers = 0
        self._task: asyncio.Task[None] | None = None
        self._looked = self._trends_looked = -TRENDS
        self._away = False
        self._job_looking = asyncio.Lock()
        self._job: tuple[str, float, JsonObject | None] = ("", -LOOK, None)

    @property
    def full(self) -> bool:
        """Whether no further stream may begin."""
        return self._viewers >= MOST_VIEWERS

    async def overview(self) -> str:
        """Everything, as a JSON text; looked up now unless somebody has just done so."""
        await self._look(_clock() - LOOK)
        return self._news(Viewer()) or "{}"

    async def events(self) -> AsyncGenerator[str, None]:
        """Server-sent events: everything, then what has changed, for `STREAM` seconds or until the worker ends."""
        viewer, deadline = Viewer(), _clock() + STREAM
        async with self._looked_at():
            while not self._over.is_set() and _clock() < deadline:
                changed = self._changed
                if news := self._news(viewer):
                    yield f"data: {news}\n\n"
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await changed.wait()

    async def job(self, job_id: str) -> JsonObject | None:
        """One job's row, no older than the last look at the queue; asked for once for all who look at it then.

        Raises:
            StoreError: the database did not answer.
        """
        try:
            async with asyncio.timeout(PATIENCE), self._job_looking:
                known, asked, row = self._job
                if known != job_id or asked < max(self._looked, _clock() - LOOK):
                    asked = _clock()
                    row = await self._database.call("workflow_page_job", {"p_job": job_id})
                    self._job = (job_id, asked, row)
                return row
        except TimeoutError:
            raise StoreUnavailable("workflow_page_job: no answer in time") from None

    @asynccontextmanager
    async def _looked_at(self) -> AsyncIterator[None]:
        self._viewers += 1
        if self._task is None or self._task.done():
            self._parts.clear()  # of the last time that somebody looked
            self._trends_looked = -TRENDS
            self._task = asyncio.create_task(self._keep_looking(), name="page")
        try:
            yield
        finally:
            self._viewers -= 1
            if not self._viewers and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _keep_looking(self) -> None:
        """Look until cancelled or the worker ends; then wake everybody."""
        try:
            while not self._over.is_set():
                began = _clock()
                await self._look(began)
                pause = AWAY if self._away else max(LOOK, SHARE * (_clock() - began))
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._over.wait()
        except Exception:
            logger.exception("a defect of the page; the next stream looks anew")
        self._wake()

    async def _look(self, since: float) -> None:
        """Ask the database, unless that was done since then; what the worker knows of itself needs no asking."""
        async with self._looking:
            if self._looked < since:
                await self._ask()
                self._looked = _clock()
                self._parts["health"] = _text(self._status.health().as_json())
                self._wake()

    async def _ask(self) -> None:
        trends = _clock() - self._trends_looked >= TRENDS
        try:
            async with asyncio.timeout(PATIENCE):
                found = as_object(await self._database.call("workflow_page", {"p_trends": trends}))
            self._now = found.pop("now")
        except (StoreError, TimeoutError, KeyError) as error:  # KeyError: something else than our function answered
            self._gone(error)
            return
        if trends:
            self._trends_looked = _clock()
        self._away = False
        self._parts |= {name: _text(part) for name, part in found.items()}
        self._parts["database"] = _text({"ok": True})

    def _gone(self, error: Exception) -> None:
        if not self._away:
            logger.warning("the page shows old figures, the database did not answer: {}", error)
        self._away = True
        why = "The database does not answer."
        if isinstance(error, StoreRefused):
            why = "The database refuses the page's query. Apply all of sql_migrations/ (supabase db push)."
        self._parts["database"] = _text({"ok": False, "why": why})

    def _news(self, viewer: Viewer) -> str | None:
        """What this viewer has not got yet, as a JSON text; None when that is nothing."""
        fresh = {name: text for name, text in self._parts.items() if viewer.taken.get(name) != text}
        viewer.taken |= fresh
        if not fresh:
            return None
        parts = ",".join(f'"{name}":{text}' for name, text in fresh.items())
        return f'{{"now":{_text(self._now)},"parts":{{{parts}}}}}'

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
