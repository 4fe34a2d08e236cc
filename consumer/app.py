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

from consumer.errors import ConfigurationError, SetupError
from consumer.metrics import Observer
from consumer.ollama import ModelOptions, Ollama
from consumer.preflight import check_database, check_models
from consumer.settings import ModelSettings, Settings
from consumer.status import identity
from consumer.store import Store
from consumer.worker import Worker, farewell
from schemas.catalog import Catalog

if TYPE_CHECKING:
    from consumer.errand import Errand
    from consumer.http import Face

STOPS = (signal.SIGTERM, signal.SIGINT)


async def run_worker(settings: Settings, errand: Errand | None = None) -> None:
    """Check the surroundings, then work until SIGTERM or SIGINT, or until the errand is done; that answers no HTTP.

    Raises:
        SetupError: the surroundings are wrong; one line says what to do.
    """
    if settings.redis_url is not None:
        logger.warning("REDIS_URL is set, but this version queues doorbells in memory only")
    loop, catalog = asyncio.get_running_loop(), Catalog.load(settings.workflow_catalog)
    async with AsyncExitStack() as stack:
        for number in STOPS:
            stack.callback(loop.remove_signal_handler, number)
        face = None if errand else http_face(settings)
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
            await stack.enter_async_context(face.serving(worker.status, store, catalog))
        await worker.run(errand)


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
