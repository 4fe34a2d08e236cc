"""The composition root: checks the surroundings, builds the worker from its settings and runs it.

Called by the CLI's `run`. SIGTERM or Ctrl-C lets the worker drain; a second one has it hand running jobs back at once.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from loguru import logger

from consumer import systemd
from consumer.errors import SetupError
from consumer.extras import http_face, redis_bell, tracing_to
from consumer.metrics import Observer, Observers
from consumer.model_settings import ModelSettings
from consumer.ollama import ModelOptions, Ollama
from consumer.preflight import check_database, check_models
from consumer.settings import Settings
from consumer.status import identity
from consumer.store import Store
from consumer.worker import Worker, farewell
from schemas.catalog import Catalog

if TYPE_CHECKING:
    from consumer.errand import Errand
    from consumer.http import Face
    from consumer.traces import Tracing

STOPS = (signal.SIGTERM, signal.SIGINT)


async def run_worker(settings: Settings, errand: Errand | None = None) -> None:
    """Check the surroundings, then work until SIGTERM or SIGINT, or until the errand is done; that answers no HTTP.

    Raises:
        SetupError: the surroundings are wrong; one line says what to do.
    """
    loop, catalog = asyncio.get_running_loop(), Catalog.load(settings.workflow_catalog)
    async with AsyncExitStack() as stack:
        stack.enter_context(logger.contextualize(worker=settings.worker_id))
        for number in STOPS:
            stack.callback(loop.remove_signal_handler, number)
        face, redis = None if errand else http_face(settings), redis_bell(settings)
        if face is not None:
            stack.callback(face.close)
        observer = observers(face, tracing_to(settings), stack)
        store = await stack.enter_async_context(connected(settings))
        ollama = build_ollama(settings)
        stack.push_async_callback(ollama.aclose)
        systemd.notify(systemd.status("starting: checking the database and the models"))
        checks = asyncio.create_task(_checks(settings, store, ollama), name="checks")
        for number in STOPS:
            loop.add_signal_handler(number, checks.cancel)
        await asyncio.wait({checks})
        if checks.cancelled():
            logger.info("stopped before it had begun")
            return
        worker = Worker(settings, store, ollama, checks.result(), catalog, observer, redis)
        for number in STOPS:
            loop.add_signal_handler(number, worker.stop)
        if face is not None:
            await stack.enter_async_context(face.serving(worker.status, store, catalog))
        await worker.run(errand)


def observers(face: Face | None, tracing: Tracing | None, stack: AsyncExitStack) -> Observer:
    """What keeps figures and traces, as far as they are asked for; what is left of them is sent when `stack` ends."""
    kept: list[Observer] = []
    if face is not None:
        kept.append(face.observer)
    if tracing is not None:
        stack.push_async_callback(tracing.aclose)
        kept.append(tracing)
    return Observers(*kept)


async def _checks(settings: Settings, store: Store, ollama: Ollama) -> dict[str, str]:
    """The models' digests, once the surroundings are right; a worker that does not begin leaves no row behind."""
    try:
        await check_database(store, settings.supabase_url, identity())
        return dict(await check_models(ollama, settings))
    except (SetupError, asyncio.CancelledError):
        await farewell(store)
        raise


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
