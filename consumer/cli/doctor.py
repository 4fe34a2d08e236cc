"""Commands that say what is wrong and what to do: doctor (the surroundings), health (the running workers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from consumer.cli.common import command, fail, print_json, with_store
from consumer.errors import ServiceUnavailable
from consumer.logs import configure_logs
from consumer.settings import Settings, load_settings
from consumer.sysexits import EX_UNAVAILABLE

if TYPE_CHECKING:
    from consumer.checkup import Finding
    from consumer.roll_call import Presence
    from consumer.store import Store


@click.command()
@click.option("--no-load", is_flag=True, help="Load no model, so that one in use stays in memory.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def doctor(no_load: bool, as_json: bool) -> None:
    """Look at everything a worker needs, and say of each part what was found and what to do.

    Exit code 0 when work can be done (warnings included), 78 when something is set up wrong, 69 when something is away.

    \b
    Example:
      consumer doctor --no-load
    """
    from consumer.checkup import exit_code
    from consumer.doctor import diagnose

    configure_logs("ERROR", "text")
    findings = await diagnose(_ignored if as_json else _line, load=not no_load)
    code = exit_code(findings)
    if as_json:
        print_json({"exit_code": code, "checks": [finding.as_json() for finding in findings]})
    if code:
        names = ", ".join(finding.name for finding in findings if finding.status == "failed")
        raise fail(f"doctor: failed: {names}. Mend the first one and look again: consumer doctor", code)


@click.command()
@click.option("--url", help="Ask the worker that answers here, e.g. http://127.0.0.1:8001 (default: HTTP_LISTEN).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def health(url: str | None, as_json: bool) -> None:
    """Say how the workers are, as their /health does: one by its address, or all by their rows in the database.

    Exit code 0 when all are healthy, 69 when one is not or there is none.

    \b
    Example:
      consumer health --url http://127.0.0.1:8001
    """
    workers = await _workers(load_settings(), url)
    if as_json:
        print_json({"workers": [worker.as_json() for worker in workers]})
    for worker in [] if as_json else workers:
        _show(worker)
    unwell = [worker.worker_id for worker in workers if worker.status != "healthy"]
    if not workers:
        raise fail("health: no worker is running. Start one: consumer run", EX_UNAVAILABLE)
    if unwell:
        raise fail(f"health: not healthy: {', '.join(unwell)}. Their reasons say what to do.", EX_UNAVAILABLE)


async def _workers(settings: Settings, url: str | None) -> list[Presence]:
    from consumer.roll_call import ask

    if url:
        return [await ask(url, settings.worker_api_token)]
    if settings.http_place:
        try:
            return [await ask(f"http://{settings.http_place}", settings.worker_api_token)]
        except ServiceUnavailable:
            click.echo(f"consumer: no worker answers at {settings.http_place}; looking at their rows", err=True)
    return await with_store(_rows)


async def _rows(store: Store) -> list[Presence]:
    from consumer.roll_call import from_rows

    return from_rows(await store.workers())


def _show(worker: Presence) -> None:
    click.echo(f"{worker.status:10} {worker.worker_id}")
    for kind, lines in (("reason", worker.reasons), ("warning", worker.warnings)):
        for line in lines:
            click.echo(f"  {kind:8} {line}")


def _line(finding: Finding) -> None:
    click.echo(str(finding))


def _ignored(finding: Finding) -> None:
    """JSON is printed at the end."""
