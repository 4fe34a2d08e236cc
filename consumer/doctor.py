"""Looks at everything a worker needs, and says of each what was found and what to do. Called by the CLI's `doctor`.

What does not depend on a failed check is looked at all the same. Nothing stays behind: no job is made, and the row of
the worker that carries the canary is removed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack

from consumer.app import build_ollama, connected
from consumer.checkup import Check, Finding, examine, failed, ok, skipped
from consumer.doctor_database import DatabaseChecks
from consumer.doctor_host import disk, extras, packages, redis
from consumer.doctor_models import ModelChecks
from consumer.doctor_realtime import RealtimeChecks
from consumer.errors import ConfigurationError
from consumer.model_settings import ModelSettings
from consumer.settings import Settings, load_model_settings, load_settings
from consumer.sysexits import EX_CONFIG
from schemas.catalog import Catalog

_OF_THE_PROJECT = (
    "key", "database", "schema", "publication", "grants", "rls", "storage", "broadcast", "clock", "realtime", "canary",
)  # fmt: skip


async def diagnose(tell: Callable[[Finding], None] = lambda finding: None, *, load: bool = True) -> list[Finding]:
    """All findings, in order; `tell` gets each when it is there. `load` False: no model is loaded."""
    settings, wrong = _settings()
    async with AsyncExitStack() as stack:
        checks = [Check("config", lambda: _config(settings, wrong))]
        checks += await _of_the_project(settings, stack)
        checks += await _of_the_models(settings, stack, load=load)
        checks += [Check("packages", packages), Check("extras", lambda: extras(settings)), Check("disk", disk)]
        checks += [Check("redis", lambda: redis(settings), needs=("config", "extras"))]
        return await examine(checks, tell)


def _settings() -> tuple[Settings | None, str]:
    try:
        settings = load_settings()
        Catalog.load(settings.workflow_catalog)
    except ConfigurationError as error:
        return None, "; ".join(line.rstrip(".") for line in str(error).splitlines())
    return settings.model_copy(update={"worker_id": f"doctor-{secrets.token_hex(4)}"}), ""


async def _config(settings: Settings | None, wrong: str) -> Finding:
    if settings is None:
        return failed(wrong, "Then look again: consumer doctor", EX_CONFIG)
    models = ", ".join(dict.fromkeys(settings.models.values()))
    return ok(f"{settings.supabase_url}, {settings.ollama_local_url}, {models}")


async def _of_the_project(settings: Settings | None, stack: AsyncExitStack) -> list[Check]:
    if settings is None:
        return [Check(name, _never, needs=("config",)) for name in _OF_THE_PROJECT]
    store = await stack.enter_async_context(connected(settings))
    database, realtime = DatabaseChecks(settings, store), RealtimeChecks(settings, store)
    stack.push_async_callback(realtime.aclose)
    looks = (
        Check("key", database.key),
        Check("database", database.reach, needs=("key",)),
        Check("schema", database.schema, needs=("database",)),
        Check("publication", database.part("publication", "publishes jobs and workers"), needs=("schema",)),
        Check("grants", database.part("grants", "as the migrations grant them"), needs=("schema",)),
        Check("rls", database.part("rls", "is on, with our policies"), needs=("schema",)),
        Check("storage", database.storage, needs=("schema",)),
        Check("broadcast", database.broadcast, needs=("schema",)),
        Check("clock", database.clock, needs=("schema",)),
        Check("realtime", realtime.ready, needs=("publication",)),
        Check("canary", realtime.canary, needs=("realtime",)),
    )
    assert tuple(check.name for check in looks) == _OF_THE_PROJECT
    return list(looks)


async def _of_the_models(settings: Settings | None, stack: AsyncExitStack, *, load: bool) -> list[Check]:
    """They need less than the project does, so they are looked at even when its settings are wrong."""
    try:
        known: ModelSettings = settings or load_model_settings()
    except ConfigurationError:
        return [Check(name, _never, needs=("config",)) for name in ("model server", "models", "context")]
    ollama = build_ollama(known)
    stack.push_async_callback(ollama.aclose)
    looks = ModelChecks(known, ollama, load=load)
    checks = [Check("model server", looks.server)]
    for name in looks.names:
        after = [checks[-1].name]
        checks.append(Check(name, looks.model(name), needs=("model server",), after=after, seconds=looks.seconds(name)))
    needed = ["model server", *looks.names]
    return [*checks, Check("models together", looks.fit, needs=needed), Check("context", looks.context, needs=needed)]


async def _never() -> Finding:
    return skipped("needs config")
