"""The doctor's ear: a real Realtime session, and a canary over it. Called by `doctor`.

The canary is the row of a worker of its own that does no work; it is removed, whatever happens.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from realtime.types import RealtimePostgresChangesListenEvent

from consumer.checkup import Finding, failed, ok
from consumer.database import JOBS
from consumer.errors import StoreError
from consumer.heartbeat import CANARY_GRACE
from consumer.one_session import one_session, own_row
from consumer.preflight import explained
from consumer.realtime_client import new_client
from consumer.session import Binding
from consumer.settings import Settings
from consumer.store import Store
from consumer.sysexits import EX_CONFIG, EX_UNAVAILABLE
from consumer.worker import farewell


class RealtimeChecks:
    """One session as the worker `store` is; `aclose` ends it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._heard = asyncio.Event()
        self._stack = AsyncExitStack()

    async def ready(self) -> Finding:
        """Whether the join is answered and "Subscribed to PostgreSQL" is said."""
        began = time.perf_counter()
        key, url = self._settings.supabase_service_role_key.get_secret_value(), self._settings.realtime_url
        inserts = Binding(JOBS, RealtimePostgresChangesListenEvent.Insert, lambda row: None)
        row = own_row(self._store.worker_id, lambda record: self._heard.set())
        session = await self._stack.enter_async_context(
            one_session(lambda: new_client(url, key), inserts, row, topic="workflow_jobs")
        )
        if session.ready:
            return ok(f"joined and subscribed in {(time.perf_counter() - began) * 1000:.0f} ms")
        loss = session.loss
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
            raise explained(error, self._settings.supabase_url) from error
        finally:
            await farewell(self._store)
        return ok(f"its row came back after {(time.perf_counter() - began) * 1000:.0f} ms")

    async def aclose(self) -> None:
        """Close the session, if there is one."""
        await self._stack.aclose()
