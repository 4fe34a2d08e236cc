"""What needs the packages of an extra, each loaded only where a setting asks for it. Called by the app.

A package that is missing is one line that names the setting and the command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from consumer.errors import ConfigurationError
from consumer.settings import Settings

if TYPE_CHECKING:
    from consumer.dispatcher import Dispatcher
    from consumer.doorbell import Doorbell
    from consumer.http import Face
    from consumer.redis_bell import RedisBell
    from consumer.traces import Tracing


@contextmanager
def _needed(setting: str, extra: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f'{setting}: needs packages that are not installed ({error}). Run: pip install "workflow-consumer[{extra}]"'
        ) from error


def http_face(settings: Settings) -> Face | None:
    """The HTTP face, with its port taken; None when it is not asked for.

    Raises:
        SetupError: its packages are missing, or the port cannot be had.
    """
    if settings.http_place is None:
        return None
    with _needed("HTTP_LISTEN (--http)", "http"):
        from consumer.http import Face
    return Face(settings.http_place, settings.worker_api_token)


def tracing_to(settings: Settings) -> Tracing | None:
    """What sends traces; None when no endpoint is set.

    Raises:
        ConfigurationError: its packages are missing, or an OTEL_* variable is wrong.
    """
    if settings.traces_url is None:
        return None
    with _needed("OTEL_EXPORTER_OTLP_ENDPOINT", "otel"):
        from consumer.traces import Tracing

        try:
            return Tracing(settings.traces_url, worker_id=settings.worker_id, model_server=settings.ollama_local_url)
        except ValueError as error:
            raise ConfigurationError(
                f"OTEL_…: a variable has a wrong value ({error}). Correct or remove it."
            ) from error


def redis_bell(settings: Settings) -> Callable[[Doorbell, Dispatcher], RedisBell] | None:
    """What makes the Redis bell; None without REDIS_URL.

    Raises:
        ConfigurationError: the package is missing.
    """
    if settings.redis_url is None:
        return None
    with _needed("REDIS_URL", "redis"):
        from consumer.redis_bell import RedisBell, Waits
        from consumer.redis_client import RedisClient
    client = RedisClient(settings.redis_url, project=settings.supabase_url)
    waits = Waits(
        deadline=min(1.0, settings.missed_event_grace / 2),
        lease=settings.lease_seconds,
        check=settings.heartbeat_seconds,
    )
    return partial(RedisBell, client, waits=waits)
