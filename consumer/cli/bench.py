"""The command bench: a few honest figures of the project and the model server, as this machine sees them."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.common import command, fail, print_json, quiet_logs, with_store
from consumer.errors import JobError, ServiceUnavailable
from consumer.settings import load_settings
from consumer.sysexits import EX_UNAVAILABLE

if TYPE_CHECKING:
    from consumer.measuring import ModelSpeed, RoundTrips
    from consumer.settings import Settings
    from consumer.store import Store


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON; what could not be measured is null.")
@command
async def bench(as_json: bool) -> None:
    """Measure round trips to the database, events of Realtime, and load time and speed of the models.

    Takes seconds, and as long as the models take to load. It appears as a worker for that time and leaves nothing
    behind: a model that was not loaded is dropped again. On a model server with jobs it waits in their queue.

    \b
    Example:
      consumer bench --json
    """
    settings = load_settings(worker_id=f"bench-{token_hex(8)}")  # not that of a worker that runs here
    quiet_logs(settings)
    troubles: list[str] = []
    rpc, event = await with_store(lambda store: _database(store, settings, troubles), settings=settings)
    models = await _models(settings, troubles)
    _show(rpc, event, models, as_json)
    if troubles:
        raise fail("\n".join(troubles), EX_UNAVAILABLE)


async def _database(store: Store, settings: Settings, troubles: list[str]) -> tuple[RoundTrips, RoundTrips | None]:
    from consumer import measuring
    from consumer.realtime_client import new_client
    from consumer.status import identity

    key = settings.supabase_service_role_key.get_secret_value()
    rpc = await measuring.rpc(store)
    try:
        return rpc, await measuring.events(store, lambda: new_client(settings.realtime_url, key), identity())
    except ServiceUnavailable as error:
        troubles.append(f"{error}. See: consumer run, whose log says what Realtime lacks.")
        return rpc, None


async def _models(settings: Settings, troubles: list[str]) -> dict[str, ModelSpeed | None]:
    from consumer import measuring
    from consumer.app import build_ollama

    ollama, found = build_ollama(settings), dict[str, "ModelSpeed | None"]()
    try:
        for name in dict.fromkeys(settings.models.values()):
            try:
                found[name] = await measuring.model(ollama, name)
            except JobError as error:
                found[name] = None
                troubles.append(f"model {name}: {error}. Is it on {settings.ollama_local_url}?")
    finally:
        await ollama.aclose()
    return found


def _show(rpc: RoundTrips, event: RoundTrips | None, models: dict[str, ModelSpeed | None], as_json: bool) -> None:
    if as_json:
        print_json({"rpc": _dict(rpc), "event": _dict(event), "models": {key: _dict(models[key]) for key in models}})
        return
    from consumer.cli.table import print_table

    rows = [_trips("call of a function", rpc)]
    if event:
        rows.append(_trips("heartbeat to its event", event))
    for name, speed in models.items():
        if speed:
            loaded = "was loaded" if speed.was_loaded else f"loaded in {speed.load_ms / 1000:.1f} s"
            tokens = "?" if speed.tokens_per_second is None else f"{speed.tokens_per_second:.1f}"
            rows.append([name, loaded, f"{tokens} tokens/s", f"first token after {speed.first_token_ms:.0f} ms"])
    print_table(("what", "median or load", "p99 or speed", ""), rows)


def _trips(name: str, trips: RoundTrips) -> list[str]:
    return [name, f"{trips.median_ms:.1f} ms", f"{trips.p99_ms:.1f} ms", f"{trips.times} times"]


def _dict(figures: RoundTrips | ModelSpeed | None) -> dict[str, Any] | None:
    return None if figures is None else figures._asdict()
