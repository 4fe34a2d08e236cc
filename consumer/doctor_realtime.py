"""The doctor's ear: a real Realtime session, and a canary over it. Called by `doctor`.

The canary is the row of a worker of its own that does no work; it is removed, whatever happens.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from realtime.types import RealtimePostgresChangesListenEvent

from consumer.checkup import Finding, failed, ok
from consumer.database import JOBS
from consumer.errors import StoreError
from consumer.heartbeat import CANARY_GRACE
from consumer.preflight import explained
from consumer.realtime_client import new_client
from consumer.session import Binding, Feed, Session
from consumer.settings import Settings
from consumer.store import Store
from consumer.sysexits import EX_CONFIG, EX_UNAVAILABLE
from consumer.worker import farewell

READY_SECONDS, CLOSE_SECONDS = 20.0, 5.0


class RealtimeChecks:
    """One session as the worker `store` is; `aclose` ends it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._url = settings.supabase_url
        self._store = store
        self._heard = asyncio.Event()
        key = settings.supabase_service_role_key.get_secret_value()
        inserts = Binding(JOBS, RealtimePostgresChangesListenEvent.Insert, lambda row: None)
        own_row = Binding(
            "workflow_workers", RealtimePostgresChangesListenEvent.All, self._on_row, f"worker_id=eq.{store.worker_id}"
        )
        feed = Feed((inserts, own_row), lambda: None, lambda source, job_id: None, "workflow_jobs")
        self._session = Session(
            1, lambda: new_client(settings.realtime_url, key), feed,
            ready_timeout=READY_SECONDS, close_timeout=CLOSE_SECONDS,
        )  # fmt: skip
        self._run: asyncio.Task[None] | None = None

    async def ready(self) -> Finding:
        """Whether the join is answered and "Subscribed to PostgreSQL" is said."""
        began = time.perf_counter()
        self._run = asyncio.create_task(self._session.run(), name="doctor's session")
        await self._session.opened.wait()
        if self._session.ready:
            return ok(f"joined and subscribed in {(time.perf_counter() - began) * 1000:.0f} ms")
        loss = self._session.loss
        assert loss is not None
        advice = "Is Realtime switched on, and is the publication in order?"
        return failed(loss.reason, advice, EX_CONFIG if loss.permanent else EX_UNAVAILABLE)

    async def canary(self) -> Finding:
        """Whether a change of a row comes back as an event."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(CANARY_GRACE):
                await self._store.heartbeat({"realtime": "doctor"})
                await self._heard.wait()
        except TimeoutError:
            advice = "Realtime is joined, but deaf: restart it, or the project"
            return failed(f"its row did not come back within {CANARY_GRACE:g} s", advice, EX_UNAVAILABLE)
        except StoreError as error:
            raise explained(error, self._url) from error
        finally:
            await farewell(self._store)
        return ok(f"its row came back after {(time.perf_counter() - began) * 1000:.0f} ms")

    async def aclose(self) -> None:
        """Close the session, if there is one."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.wait({self._run})

    def _on_row(self, record: dict[str, Any]) -> None:
        self._heard.set()
