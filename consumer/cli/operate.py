"""Commands of the operator: run, reconcile."""

from __future__ import annotations

import signal

import click

from consumer.cli.common import command, print_json
from consumer.errors import StoreError
from consumer.logs import configure_logs
from consumer.settings import load_settings


@click.command()
@command
async def run() -> None:
    """Run the worker until SIGTERM or Ctrl-C (a second one hands running jobs back at once).

    \b
    Example:
      SUPABASE_URL=https://ref.supabase.co SUPABASE_SERVICE_ROLE_KEY=sb_secret_… consumer run
    """
    from consumer.app import run_worker  # the settings are checked before the heavy imports

    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    await run_worker(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # it has stopped: one signal more must not change the exit code


@click.command()
@click.option("--dry-run", is_flag=True, help="Only look: change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def reconcile(dry_run: bool, as_json: bool) -> None:
    """Return jobs of dead workers to the queue, and say what is waiting. Use after an outage.

    \b
    Example:
      consumer reconcile --dry-run
    """
    from consumer.app import connected
    from consumer.preflight import explained

    settings = load_settings()
    async with connected(settings) as store:
        try:
            found = await store.reconcile(dry_run=dry_run)
        except StoreError as error:
            raise explained(error, settings.supabase_url) from error
    if as_json:
        print_json(found.model_dump())
        return
    click.echo(f"rescued     {found.rescued}{' (would be)' if dry_run else ''}")
    click.echo(f"failed      {found.exhausted} with all retries spent{' (would be)' if dry_run else ''}")
    click.echo(f"cancelled   {found.cancelled} as their users had asked{' (would be)' if dry_run else ''}")
    click.echo(f"claimable   {found.claimable}" + _since(found.oldest_claimable_seconds))
    click.echo(f"processing  {found.processing}")
    if found.next_due_in is not None:
        click.echo(f"next due in {found.next_due_in:.1f} s")


def _since(seconds: float | None) -> str:
    return "" if seconds is None else f", the oldest for {seconds:.0f} s"
