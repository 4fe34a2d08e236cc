"""Looks before the worker starts: is this a project with our migrations, is the key right, are the models there?

Called by the app and the CLI. Each finding is one line that says what to do (exit 78: configuration, 69: unavailable).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from consumer.errors import (
    ConfigurationError,
    JobError,
    ModelNotFound,
    ServiceUnavailable,
    SetupError,
    StoreError,
    StoreRefused,
)
from consumer.job import JsonObject
from consumer.model_settings import ModelSettings
from consumer.ollama import Ollama, canonical
from consumer.pulling import pull_all
from consumer.replies import Pulse
from consumer.store import Store

_MISSING_OBJECT = frozenset({"PGRST202", "PGRST205", "42883", "42P01", "42703"})
# disk_full; read_only_sql_transaction, which a Supabase project with a full disk answers
_NOT_WRITABLE = frozenset({"53100", "25006"})
# PostgREST's: it cannot connect, reach or read the database, or gets no connection in time
_NO_DATABASE = frozenset({"PGRST000", "PGRST001", "PGRST002", "PGRST003"})
_WRONG_KEY = frozenset({None, "PGRST301", "PGRST302", "PGRST303", "401"})


async def check_database(store: Store, url: str, info: JsonObject) -> Pulse:
    """Send the first heartbeat.

    Raises:
        ConfigurationError: wrong key, missing migrations or grants, or not a Supabase project.
        ServiceUnavailable: nobody answers.
    """
    try:
        return await store.heartbeat(info)
    except StoreError as error:
        raise explained(error, url) from error


def explained(error: StoreError, url: str) -> SetupError:
    """A database error as one line for the person who set the worker up."""
    if error.code in _NOT_WRITABLE:
        return ServiceUnavailable(
            f"the database at {url} cannot write ({error.code}): its disk is full or it is read only. "
            "Free or add disk space, then make it writable again."
        )
    if error.code in _NO_DATABASE:
        return ServiceUnavailable(
            f"SUPABASE_URL: {url} answers, but its database does not ({error.code}): it is paused, restarting, or out "
            "of connections. Look at the project's dashboard."
        )
    if not isinstance(error, StoreRefused):
        return ServiceUnavailable(f"SUPABASE_URL: no usable answer from {url} ({error}). Is the project running?")
    if error.code in _MISSING_OBJECT:
        return ConfigurationError(
            f"the database at {url} lacks the consumer's tables and functions ({error.code}). "
            "Apply the migrations: supabase db push (or run sql_migrations/*.sql in order)."
        )
    if error.code in _WRONG_KEY:
        return ConfigurationError(
            f"SUPABASE_SERVICE_ROLE_KEY: the project at {url} refuses this key. "
            "Copy the secret key (sb_secret_… or service_role) of this very project."
        )
    if error.code == "42501":
        return ConfigurationError(
            f"SUPABASE_SERVICE_ROLE_KEY: this key may not call the worker's functions at {url}. "
            "Use the secret (service_role) key, and apply all migrations: they hold the grants."
        )
    return ConfigurationError(f"SUPABASE_URL: {url} does not answer like a Supabase project ({error}). Check the URL.")


async def check_models(ollama: Ollama, settings: ModelSettings) -> Mapping[str, str]:
    """Digest by canonical name of the configured models; with `pull_missing`, what is not there is pulled first.

    Raises:
        ServiceUnavailable: the model server does not answer, or a pull failed.
        ConfigurationError: a configured model is not there, or nowhere to be had.
    """
    found = await check_server(ollama, settings)
    if settings.pull_missing and (missing := _missing(settings, found)):
        await _pull(ollama, settings, missing)
        found = await check_server(ollama, settings)
    if missing := _missing(settings, found):
        pulls = " && ".join(f"ollama pull {name}" for name in missing)
        raise ConfigurationError(
            f"model {', '.join(missing)} is not on {settings.ollama_local_url}. "
            f"Run: {pulls} (or: consumer run --pull-missing)"
        )
    return {canonical(name): found[canonical(name)] for name in settings.models.values()}


def _missing(settings: ModelSettings, found: Mapping[str, str]) -> list[str]:
    return [name for name in dict.fromkeys(settings.models.values()) if canonical(name) not in found]


async def check_server(ollama: Ollama, settings: ModelSettings) -> Mapping[str, str]:
    """Digest by canonical name of all models that are there.

    Raises:
        ServiceUnavailable: the model server does not answer.
    """
    try:
        return await ollama.models()
    except JobError as error:
        raise ServiceUnavailable(f"OLLAMA_LOCAL_URL: {error}. Is `ollama serve` running?") from error


async def _pull(ollama: Ollama, settings: ModelSettings, missing: Sequence[str]) -> None:
    try:
        await pull_all(ollama, missing, bars=sys.stderr.isatty() and settings.log_format != "json")
    except ModelNotFound as error:
        raise ConfigurationError(f"{error}. Check ANALYZE_MODEL and GENERATE_MODEL.") from error
    except JobError as error:
        raise ServiceUnavailable(
            f"{error}. See the log and the disk of the model server at {settings.ollama_local_url}, then start again: "
            "a pull goes on where it ended."
        ) from error
