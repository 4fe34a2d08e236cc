"""Commands about many jobs: jobs (the list) and prune (delete old ones)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import click

from consumer.cli.common import command, parse_duration, parse_since, print_json, with_store
from schemas.clean import one_line

if TYPE_CHECKING:
    from consumer.replies import JobLine

STATUSES = ("pending", "processing", "completed", "failed", "cancelled")
STYLES = {"processing": "cyan", "completed": "green", "failed": "red", "cancelled": "yellow"}
COLUMNS = ("job", "status", "step", "%", "created", "waited", "worked", "attempt", "prompt or error")
# As consumer/reader.py has it, which takes long to import.
MOST_LISTED = 500
# As prune_workflow_jobs has it (sql_migrations/18), and what its parameter can hold.
PRUNED_AT_ONCE, MOST = 10_000, 2_147_483_647


@click.command()
@click.option("--status", type=click.Choice(STATUSES), help="Only jobs in this status.")
@click.option("--user", type=click.UUID, help="Only jobs of this user (uuid).")
@click.option("--since", callback=parse_since, help="Only jobs created since: a duration (24h, 7d) or a time.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=50, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def jobs(
    status: str | None, user: UUID | None, since: datetime | timedelta | None, limit: int, as_json: bool
) -> None:
    """List jobs, the newest first. A duration for --since is counted back by this machine's clock.

    \b
    Example:
      consumer jobs --status failed --since 24h
    """
    from consumer.reader import Reader

    after = datetime.now(UTC) - since if isinstance(since, timedelta) else since
    found = await with_store(
        lambda store: Reader(store.database).jobs(
            status=status, user=None if user is None else str(user), since=after, limit=limit
        )
    )  # fmt: skip
    if as_json:
        print_json([job.model_dump(mode="json") for job in found.jobs])
    elif found.jobs:
        _print(found.jobs)
    if not found.jobs:
        click.echo("consumer: no such jobs", err=True)
    elif found.next:
        click.echo(f"consumer: the newest {limit}; more with --limit", err=True)


def _print(found: list[JobLine]) -> None:
    from consumer.cli.table import print_table

    print_table(COLUMNS, [_cells(job) for job in found], [STYLES.get(job.status, "") for job in found])


def _cells(job: JobLine) -> list[str]:
    about = f"{job.error_code}: {job.error_start}" if job.error_code else job.prompt_start
    return [
        job.id,
        "cancelling" if job.cancel_requested and job.status == "processing" else job.status,
        job.current_phase or "" if job.status == "processing" else "",
        str(job.progress_percentage or 0),
        job.created_at.astimezone().isoformat(" ", "seconds"),
        _seconds(job.waited_seconds),
        _seconds(job.worked_seconds),
        str(job.attempt),
        one_line(about, 80),
    ]


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


@click.command()
@click.option(
    "--older-than",
    callback=parse_duration,
    default="7d",
    show_default=True,
    help="How long ago they must have finished: a duration (12h, 7d, 4w).",
)
@click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    default=PRUNED_AT_ONCE,
    show_default=True,
    help="Delete at most so many, the oldest first.",
)
@click.option("--dry-run", is_flag=True, help="Only count them: delete nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def prune(older_than: timedelta, limit: int, dry_run: bool, as_json: bool) -> None:
    """Delete jobs that have long been finished, with their history. Jobs that wait or are in work stay.

    \b
    Example:
      consumer prune --older-than 30d --dry-run
    """
    count = await with_store(lambda store: store.prune(older_than, limit, dry_run=dry_run))
    if as_json:
        print_json({"pruned": 0 if dry_run else count, "found": count, "dry_run": dry_run})
        return
    click.echo(f"{count} job(s) {'would be deleted' if dry_run else 'deleted'}")
    if count >= limit:
        click.echo("consumer: there may be more; run it again", err=True)
