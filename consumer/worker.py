"""One worker process: its parts, wired; it works until it is told to stop, then drains.

Made by the app. The first stop ends claiming and lets running jobs finish within the grace; a second one hands them
back at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from loguru import logger

from consumer import systemd
from consumer.announcer import Announcer
from consumer.dispatcher import Dispatcher
from consumer.doorbell import Doorbell
from consumer.errand import Errand
from consumer.errors import StoreError
from consumer.heartbeat import Heartbeat, Rhythm
from consumer.inspector import Inspector
from consumer.lanes import Batching, Lanes
from consumer.listener import Listener, ListenerTimings
from consumer.metrics import Observer
from consumer.ollama import Ollama
from consumer.outcome import RetryPolicy
from consumer.reconciler import Reconciler
from consumer.recovery import CANARY, Ladder, Recovery
from consumer.runner import Limits, Runner
from consumer.service import Service
from consumer.settings import Settings
from consumer.speed import Speeds
from consumer.status import Status, identity
from consumer.store import Store
from consumer.twin import Twin
from consumer.workbench import Workbench
from handlers.registry import handler_for
from schemas.catalog import Catalog

if TYPE_CHECKING:
    from consumer.redis_bell import RedisBell

# Seconds; a session opened with an sb_secret_ key is cut off at 24 h (docs of Supabase's new API keys).
LONGEST_SESSION = 23 * 3600.0
# When the grace ends, jobs are handed back and kept outcomes written within this time.
LAST_WRITES = 10.0
# Then the Realtime session is closed and the worker's row removed, each within this time.
LAST_WORDS = 5.0


class Worker:
    """One worker process's parts, built from settings. Use `run`."""

    def __init__(
        self, settings: Settings, store: Store, ollama: Ollama, digests: dict[str, str], catalog: Catalog,
        observer: Observer, redis: Callable[[Doorbell, Dispatcher], RedisBell] | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._store = store
        self._ollama = ollama
        self._stops = 0
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self.bell = Doorbell()
        batching = Batching(settings.model_batch_size, settings.model_batch_wait)
        self.lanes = Lanes(settings.models, settings.worker_concurrency, batching)
        clocks = settings.clocks.clocks(on_gpu=False)  # the longer ones
        ladder = Ladder(canary=min(CANARY, clocks.first_token))
        self.recovery = Recovery(ollama, self.lanes, ladder, on_change=self._model_server_changed)
        self.speeds = Speeds()
        bench = Workbench(
            ollama, self.lanes, self.recovery, self.speeds, settings.models, digests, clocks.load, clocks.first_token,
            observer,
        )  # fmt: skip
        policy = RetryPolicy(base=settings.retry_delay_base)
        handlers = partial(handler_for, catalog=catalog)
        self.runner = Runner(store, bench, handlers, policy, Limits(attempt=settings.job_timeout))
        self.dispatcher = Dispatcher(store, self.runner, self.bell, self.lanes, max_retries=settings.max_retries)
        self.lanes.on_change = self.dispatcher.look_again
        self.dispatcher.on_pause = self._say
        self.reconciler = Reconciler(store, self.dispatcher, self.bell)
        self.redis = None if redis is None else redis(self.bell, self.dispatcher)
        who, beat = identity(), settings.heartbeat_seconds
        self.twin = Twin(settings.worker_id, who["hostname"], who["pid"], keep=3 * beat)
        self.listener = self._listener()
        rhythm = Rhythm(interval=beat, grace=settings.missed_event_grace)
        self.heartbeat = Heartbeat(store, self.listener, self.dispatcher, self.bell, rhythm, lambda: self.status.row())
        self.announcer = Announcer(self.listener, self._announced, patience=settings.heartbeat_seconds)
        self.inspector = Inspector(store, self.heartbeat.soon, again=2 * settings.heartbeat_seconds)
        self.status = Status(
            settings, self.listener, self.announcer, self.heartbeat, self.inspector, self.dispatcher, self.runner,
            self.lanes, self.recovery, self.speeds, self.redis, self.twin, self._stop.is_set,
        )  # fmt: skip
        self.service = Service(self.status, (self.heartbeat.sign, self.dispatcher.sign, self.reconciler.sign))
        self.runner.on_change = self.service.changed

    def _listener(self) -> Listener:
        settings, recycle = self._settings, self._settings.realtime_recycle_hours * 3600
        return Listener(
            realtime_url=settings.realtime_url,
            key=settings.supabase_service_role_key.get_secret_value(),
            worker_id=settings.worker_id,
            on_ring=self.redis.ring if self.redis else self.bell.ring,
            on_ready=self._subscribed,
            on_canary=lambda beat: self.heartbeat.heard_canary(beat),
            on_poke=self._poked,
            on_process=self.twin.heard,
            timings=ListenerTimings(recycle=(recycle, min(2 * recycle, LONGEST_SESSION)), close_timeout=LAST_WORDS),
        )

    def stop(self) -> None:
        """First call: drain. Second call: hand running jobs back at once."""
        self._stops += 1
        if self._stops > 1:
            self._hurry.set()
        self._stop.set()

    async def run(self, errand: Errand | None = None) -> None:
        """Work until `stop`, or until the errand is done, for which no doorbell is needed; then drain."""
        async with asyncio.TaskGroup() as tasks:
            services = [
                tasks.create_task(self.heartbeat.run(), name="heartbeat"),
                tasks.create_task(self.recovery.run(), name="recovery"),
                tasks.create_task(self.service.run(), name="service"),
            ]
            if errand is None:
                services += self._doorbells(tasks)
            else:
                services.append(tasks.create_task(self._on(errand), name="errand"))
            await self._stop.wait()
            await self._drain()
            for service in services:
                service.cancel()
            await farewell(self._store)
        logger.info("stopped")

    def _doorbells(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """What hears of jobs and takes them."""
        started = [
            tasks.create_task(self.listener.run(), name="listener"),
            tasks.create_task(self.reconciler.run(), name="reconciler"),
            tasks.create_task(self.announcer.run(), name="announcer"),
            tasks.create_task(self.dispatcher.run(), name="dispatcher"),
            tasks.create_task(self.inspector.run(), name="inspector"),
        ]
        if self.redis is not None:
            started.append(tasks.create_task(self.redis.run(), name="redis"))
        return started

    async def _on(self, errand: Errand) -> None:
        await errand.run(self.dispatcher)
        self._stop.set()

    async def _drain(self) -> None:
        grace = self._settings.shutdown_grace
        systemd.notify("STOPPING=1")
        self.service.changed()
        logger.info("stopping: no more claims, {} job(s) in work, grace {:g} s", len(self.runner.running), grace)
        self.dispatcher.stop()
        self.heartbeat.soon()
        async with asyncio.TaskGroup() as waits:
            drained = waits.create_task(self.dispatcher.drained(), name="drained")
            hurried = waits.create_task(self._hurry.wait(), name="hurried")
            await asyncio.wait({drained, hurried}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            self.runner.hand_back()
            await asyncio.wait({drained}, timeout=LAST_WRITES)
            for wait in (drained, hurried):
                wait.cancel()
        await self.dispatcher.work.abandon()

    def _model_server_changed(self) -> None:
        self._say()
        if self.recovery.trouble is None:
            self.bell.ring("recovered")

    def _announced(self) -> None:
        self._say()
        if self.announcer.degraded:
            self.inspector.look()

    def _say(self) -> None:
        """How the worker is has changed: tell systemd, and the worker's row."""
        self.service.changed()
        self.heartbeat.soon()

    def _subscribed(self) -> None:
        self.reconciler.gap()
        self.heartbeat.soon()

    def _poked(self) -> None:
        self.bell.ring("poke")
        self.runner.look()
        if not self.dispatcher.free_slots:
            self.heartbeat.soon()  # no claim will ask whether this worker is paused, or no longer


async def farewell(store: Store) -> None:
    """Remove the worker's row; a database that does not answer is not waited for."""
    with suppress(StoreError, TimeoutError):
        async with asyncio.timeout(LAST_WORDS):
            await store.farewell()
