"""The composition root: builds the worker from its settings, runs it, drains it. Nothing else sees all parts.

Called by the CLI's `run`. SIGTERM or Ctrl-C stops claiming and lets running jobs finish within the grace; a second one
hands them back at once.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from loguru import logger

from consumer import systemd
from consumer.announcer import Announcer
from consumer.dispatcher import Dispatcher
from consumer.doorbell import Doorbell
from consumer.errors import ConfigurationError, SetupError, StoreError
from consumer.heartbeat import Heartbeat, Rhythm
from consumer.lanes import Batching, Lanes
from consumer.listener import Listener, ListenerTimings
from consumer.metrics import Observer
from consumer.ollama import ModelOptions, Ollama
from consumer.outcome import RetryPolicy
from consumer.preflight import check_database, check_models
from consumer.reconciler import Reconciler
from consumer.recovery import CANARY, Ladder, Recovery
from consumer.runner import Limits, Runner
from consumer.settings import ModelSettings, Settings
from consumer.speed import Speeds
from consumer.status import Status, identity
from consumer.steps import Workbench
from consumer.store import Store
from handlers.registry import handler_for
from schemas.catalog import Catalog

if TYPE_CHECKING:
    from consumer.http import Face

# Seconds; a session opened with an sb_secret_ key is cut off at 24 h (docs of Supabase's new API keys).
LONGEST_SESSION = 23 * 3600.0
# When the grace ends, jobs are handed back and kept outcomes written within this time.
LAST_WRITES = 10.0
# Then the Realtime session is closed and the worker's row removed, each within this time.
LAST_WORDS = 5.0
STOPS = (signal.SIGTERM, signal.SIGINT)


class Worker:
    """One worker process's parts, built from settings. Use `run`."""

    def __init__(
        self, settings: Settings, store: Store, ollama: Ollama, digests: dict[str, str], catalog: Catalog,
        observer: Observer,
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
        self.reconciler = Reconciler(store, self.dispatcher, self.bell)
        self.listener = self._listener()
        rhythm = Rhythm(interval=settings.heartbeat_seconds, grace=settings.missed_event_grace)
        self.heartbeat = Heartbeat(store, self.listener, self.dispatcher, self.bell, rhythm, lambda: self.status.row())
        self.announcer = Announcer(
            self.listener, self.heartbeat.soon, worker_id=settings.worker_id, patience=settings.heartbeat_seconds
        )
        self.status = Status(
            settings, self.listener, self.announcer, self.heartbeat, self.dispatcher, self.runner, self.lanes,
            self.recovery, self.speeds, self._stop.is_set,
        )  # fmt: skip

    def _listener(self) -> Listener:
        settings, recycle = self._settings, self._settings.realtime_recycle_hours * 3600
        return Listener(
            realtime_url=settings.realtime_url,
            key=settings.supabase_service_role_key.get_secret_value(),
            worker_id=settings.worker_id,
            on_ring=self.bell.ring,
            on_ready=self._subscribed,
            on_canary=lambda beat: self.heartbeat.heard_canary(beat),
            on_poke=self._poked,
            timings=ListenerTimings(recycle=(recycle, min(2 * recycle, LONGEST_SESSION)), close_timeout=LAST_WORDS),
        )

    def stop(self) -> None:
        """First call: drain. Second call: hand running jobs back at once."""
        self._stops += 1
        if self._stops > 1:
            self._hurry.set()
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop`, then drain."""
        async with asyncio.TaskGroup() as tasks:
            services = [
                tasks.create_task(self.listener.run(), name="listener"),
                tasks.create_task(self.heartbeat.run(), name="heartbeat"),
                tasks.create_task(self.reconciler.run(), name="reconciler"),
                tasks.create_task(self.announcer.run(), name="announcer"),
                tasks.create_task(self.recovery.run(), name="recovery"),
                tasks.create_task(self.dispatcher.run(), name="dispatcher"),
            ]
            await self._stop.wait()
            await self._drain()
            for service in services:
                service.cancel()
            await _farewell(self._store)
        logger.info("stopped")

    async def _drain(self) -> None:
        grace = self._settings.shutdown_grace
        systemd.notify("STOPPING=1")
        logger.info("stopping: no more claims, {} job(s) in work, grace {:g} s", len(self.runner.running), grace)
        self.dispatcher.stop()
        async with asyncio.TaskGroup() as waits:
            drained = waits.create_task(self.dispatcher.drained(), name="drained")
            hurried = waits.create_task(self._hurry.wait(), name="hurried")
            await asyncio.wait({drained, hurried}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            self.runner.hand_back()
            await asyncio.wait({drained}, timeout=LAST_WRITES)
            for wait in (drained, hurried):
                wait.cancel()
        await self.dispatcher.abandon()

    def _model_server_changed(self) -> None:
        trouble = self.recovery.trouble
        systemd.notify(f"STATUS={self.announcer.status if trouble is None else f'no jobs taken: {trouble.why}'}")
        self.heartbeat.soon()
        if trouble is None:
            self.bell.ring("recovered")

    def _subscribed(self) -> None:
        self.reconciler.gap()
        self.heartbeat.soon()

    def _poked(self) -> None:
        self.bell.ring("poke")
        self.runner.look()


async def run_worker(settings: Settings) -> None:
    """Check the surroundings, then work until SIGTERM or SIGINT.

    Raises:
        SetupError: the surroundings are wrong; one line says what to do.
    """
    if settings.redis_url is not None:
        logger.warning("REDIS_URL is set, but this version queues doorbells in memory only")
    loop, catalog = asyncio.get_running_loop(), Catalog.load(settings.workflow_catalog)
    async with AsyncExitStack() as stack:
        for number in STOPS:
            stack.callback(loop.remove_signal_handler, number)
        face = http_face(settings)
        if face is not None:
            stack.callback(face.close)
        store = await stack.enter_async_context(connected(settings))
        ollama = build_ollama(settings)
        stack.push_async_callback(ollama.aclose)
        checks = asyncio.create_task(_checks(settings, store, ollama), name="checks")
        for number in STOPS:
            loop.add_signal_handler(number, checks.cancel)
        await asyncio.wait({checks})
        if checks.cancelled():
            logger.info("stopped before it had begun")
            return
        worker = Worker(settings, store, ollama, checks.result(), catalog, face.observer if face else Observer())
        for number in STOPS:
            loop.add_signal_handler(number, worker.stop)
        if face is not None:
            await stack.enter_async_context(face.serving(worker.status))
        await worker.run()


def http_face(settings: Settings) -> Face | None:
    """The HTTP face, with its port taken; None when it is not asked for, and then none of its packages is loaded.

    Raises:
        SetupError: its packages are missing, or the port cannot be had.
    """
    if settings.http_place is None:
        return None
    try:
        from consumer.http import Face
    except ImportError as error:
        raise ConfigurationError(
            f'--http needs packages that are not installed ({error}). Run: pip install "workflow-consumer[http]"'
        ) from error
    return Face(settings.http_place, settings.worker_api_token)


async def _checks(settings: Settings, store: Store, ollama: Ollama) -> dict[str, str]:
    """The models' digests, once the surroundings are right; a worker that does not begin leaves no row behind."""
    try:
        await check_database(store, settings.supabase_url, identity())
        return dict(await check_models(ollama, settings))
    except (SetupError, asyncio.CancelledError):
        await _farewell(store)
        raise


async def _farewell(store: Store) -> None:
    """Remove the worker's row; a database that does not answer is not waited for."""
    with suppress(StoreError, TimeoutError):
        async with asyncio.timeout(LAST_WORDS):
            await store.farewell()


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Store]:
    """A store for these settings, closed at the end."""
    store = await Store.connect(
        settings.supabase_url,
        settings.supabase_service_role_key.get_secret_value(),
        worker_id=settings.worker_id,
        lease_seconds=settings.lease_seconds,
    )
    try:
        yield store
    finally:
        await store.aclose()


def build_ollama(settings: ModelSettings) -> Ollama:
    """The driver with the four clocks and the one frozen option set."""
    options = ModelOptions(num_ctx=settings.ollama_num_ctx, keep_alive=settings.ollama_keep_alive)
    cpu, gpu = (settings.clocks.clocks(on_gpu=on_gpu) for on_gpu in (False, True))
    return Ollama(settings.ollama_local_url, clocks=cpu, gpu_clocks=gpu, options=options)
