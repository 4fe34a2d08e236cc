"""The commands about workers: workers, pause, resume."""

from __future__ import annotations

import re

import click

from consumer.cli.common import command, fail, print_json, with_store
from consumer.job import JOB_ID_PATTERN, JsonObject
from consumer.sysexits import EX_NOINPUT

_which = click.argument("worker_id", required=False)
_all = click.option("--all", "every", is_flag=True, help="All workers that have a row.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@_json
@command
async def workers(as_json: bool) -> None:
    """List the workers: what each does now, since when, and when it was last heard of.

    idle, busy, pausing (finishes what it has), paused, or away: stopped while paused, or silent for 2 minutes.

    \b
    Example:
      consumer workers
    """
    rows = await with_store(lambda store: store.workers())
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(_line(row))
    if not rows:
        click.echo("workers: none. Start one: consumer run", err=True)


@click.command()
@_which
@_all
@_json
@command
async def pause(worker_id: str | None, every: bool, as_json: bool) -> None:
    """Have a worker claim nothing more; it finishes what it has. Lasts until resumed, also over its restart.

    \b
    Example:
      consumer pause gpu-1
    """
    await _pause(worker_id, every, as_json, paused=True)


@click.command()
@_which
@_all
@_json
@command
async def resume(worker_id: str | None, every: bool, as_json: bool) -> None:
    """Have a paused worker claim again.

    \b
    Example:
      consumer resume --all
    """
    await _pause(worker_id, every, as_json, paused=False)


async def _pause(worker_id: str | None, every: bool, as_json: bool, *, paused: bool) -> None:
    if (worker_id is None) is not every:
        raise click.UsageError("Name one WORKER_ID, or --all.")
    known = every or re.fullmatch(JOB_ID_PATTERN, worker_id or "")
    done = await with_store(lambda store: store.pause(worker_id, paused=paused)) if known else []
    if not (done or every):
        raise fail(f"there is no worker {worker_id!r}. List them: consumer workers", EX_NOINPUT)
    if as_json:
        print_json({"paused": paused, "workers": done})
        return
    for name in done:
        click.echo(f"{name} {'paused' if paused else 'resumed'}")


def _line(row: JsonObject) -> str:
    work = f" with {', '.join(row['busy_with'])}" if row["busy_with"] else ""
    paused = f", paused since {row['paused_at']}" if row["paused_at"] else ""
    where = f"{row['hostname']}:{row['pid']} {row['version']}"
    seen = f"seen {row['seen_seconds_ago']:.0f} s ago"
    return f"{row['worker_id']:28} {row['state']}{work}{paused}  ({where}, realtime {row['realtime']}, {seen})"
