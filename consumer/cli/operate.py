"""Commands of the operator: run, reconcile, audit."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta

import click

from consumer.cli.common import command, fail, parse_since, print_json, with_store
from consumer.errors import StoreError
from consumer.logs import configure_logs
from consumer.settings import HTTP_HOST, HTTP_PORT, load_settings
from consumer.sysexits import EX_DATAERR, EX_UNAVAILABLE

# Where reconcile_workflow_jobs stops counting (sql_migrations/17).
COUNTED_UP_TO = 1000
STATEMENT_TIMEOUT = ": 57014: "


@click.command()
@click.option("--pull-missing", is_flag=True, help="First pull the models that are missing (also: PULL_MISSING=true).")
@click.option(
    "--http", is_flag=False, flag_value=f"{HTTP_HOST}:{HTTP_PORT}", metavar="[HOST:PORT]",
    help=f"Answer HTTP here, /health, /metrics, /jobs and more; without a value on {HTTP_HOST}:{HTTP_PORT}.",
)  # fmt: skip
@command
async def run(pull_missing: bool, http: str | None) -> None:
    """Run the worker until SIGTERM or Ctrl-C (a second one hands running jobs back at once).

    \b
    Example:
      SUPABASE_URL=https://ref.supabase.co SUPABASE_SERVICE_ROLE_KEY=sb_secret_… consumer run
    """
    from consumer.app import run_worker  # the settings are checked before the heavy imports

    asked = {"pull_missing": pull_missing or None, "http_listen": http}
    settings = load_settings(**{name: value for name, value in asked.items() if value is not None})
    configure_logs(settings.log_level, settings.log_format)
    await run_worker(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # it has stopped: one signal more must not change the exit code


@click.command()
@click.option("--dry-run", is_flag=True, help="Only look: change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def reconcile(dry_run: bool, as_json: bool) -> None:
    """Return jobs of dead workers to the queue: what was found, what was done, what remains. Use after an outage.

    \b
    Example:
      consumer reconcile --dry-run
    """
    done = await with_store(lambda store: store.reconcile(dry_run=dry_run))
    found = done.rescued + done.exhausted + done.cancelled
    if as_json:
        print_json({"dry_run": dry_run, "found": found, **done.model_dump()})
        return
    would = " (would be)" if dry_run else ""
    click.echo(f"found       {found} lease(s) that ran out{_names(done.job_ids, found)}")
    click.echo(f"rescued     {done.rescued}{would}")
    click.echo(f"failed      {done.exhausted} with all retries spent{would}")
    click.echo(f"cancelled   {done.cancelled} as their users had asked{would}")
    click.echo(f"claimable   {_capped(done.claimable)}{_since(done.oldest_claimable_seconds)}")
    click.echo(f"delayed     {_capped(done.delayed)}")
    click.echo(f"processing  {done.processing}{_expired(done.expired, dry_run)}")
    if done.next_due_in is not None:
        click.echo(f"next due in {done.next_due_in:.1f} s")


@click.command()
@click.option("--since", callback=parse_since, help="Only jobs that changed since: a duration (24h, 7d) or a time.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def audit(since: datetime | timedelta | None, as_json: bool) -> None:
    """Prove by the history that no job is lost and none is done twice. Exit code 65 when it is not so.

    \b
    Example:
      consumer audit --since 24h
    """
    found = await with_store(lambda store: store.audit(since), known=_took_too_long)
    if as_json:
        print_json(found.model_dump())
    for violation in [] if as_json else found.violations:
        click.echo(f"{violation.rule:26} {violation.job_id}  {violation.message}")
    checked = f"{found.jobs} job(s), {found.attempts} attempt(s), {found.events} event(s)"
    if found.violation_count:
        unlisted = found.violation_count - len(found.violations)
        more = f", {unlisted} of them not listed" if unlisted else ""
        raise fail(
            f"audit: {found.violation_count} violation(s){more}, in {found.offending_jobs} of {checked}", EX_DATAERR
        )
    click.echo(f"audit: clean, {checked}", err=True)


def _took_too_long(error: StoreError) -> click.exceptions.Exit | None:
    if STATEMENT_TIMEOUT not in str(error):
        return None
    return fail("--since: these are more jobs than the database checks in its time. Narrow it: 24h.", EX_UNAVAILABLE)


def _names(job_ids: list[str], found: int) -> str:
    more = f" and {found - len(job_ids)} more" if found > len(job_ids) else ""
    return f": {', '.join(job_ids)}{more}" if job_ids else ""


def _capped(count: int) -> str:
    return f"{count} or more" if count >= COUNTED_UP_TO else str(count)


def _since(seconds: float | None) -> str:
    return "" if seconds is None else f", the oldest for {seconds:.0f} s"


def _expired(count: int, dry_run: bool) -> str:
    if not count:
        return ""
    return f", {count} with a lease that ran out" + ("" if dry_run else ": reconcile again")
