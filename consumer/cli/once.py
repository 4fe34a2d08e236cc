"""The commands process and poll: a worker in the foreground for one job, or for what is claimable now."""

from __future__ import annotations

import secrets

import click

from consumer.cli.common import checked_job_id, command, fail, no_such_job, print_json, with_store
from consumer.errors import StoreError
from consumer.job import JsonObject
from consumer.logs import configure_logs
from consumer.settings import load_settings
from consumer.sysexits import EX_DATAERR, EX_TEMPFAIL, EX_UNAVAILABLE

TOLD = ("status", "error_message", "error_details", "workflow_result", "duration_ms", "attempt")


@click.command()
@click.argument("job_id", callback=checked_job_id)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def process(job_id: str, as_json: bool) -> None:
    """Process one pending job here and now, also before its time: one attempt by a worker of its own.

    Exit code 0: completed; 65: it failed, or is not pending; 66: there is no such job; 75: it is back in the queue.

    \b
    Example:
      consumer process job_1764000000_0a1b2c3d4e
    """
    before = await _row(job_id)
    if before["finished_at"]:
        raise _not_pending(before)
    if not await _taken(job_id):
        raise _not_pending(await _row(job_id))
    row = await _row(job_id)
    print_json(_told(row)) if as_json else click.echo(f"{job_id} {row['status']}")
    _judge([row])


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def poll(as_json: bool) -> None:
    """Process all that is claimable now, by a worker of its own, then end.

    Exit code 0: all completed, or there was nothing; 65: one failed; 75: one is back in the queue.

    \b
    Example:
      consumer poll --json
    """
    rows = [await _row(job_id) for job_id in await _taken(None)]
    if as_json:
        print_json({"count": len(rows), "jobs": [_told(row) for row in rows]})
    else:
        for row in rows:
            click.echo(f"{row['id']} {row['status']}")
        click.echo(f"poll: {len(rows)} job(s)", err=True)
    _judge(rows)


async def _row(job_id: str) -> JsonObject:
    row = await with_store(lambda store: store.job_row(job_id))
    if row is None:
        raise no_such_job(job_id)
    return row


async def _taken(job_id: str | None) -> list[str]:
    """The jobs that a one-shot worker has had in work, each once."""
    from consumer.app import run_worker
    from consumer.errand import Errand

    # A name of its own: beside a worker of the settings' name, it would take that one's row for its own.
    settings = load_settings(worker_id=f"once-{secrets.token_hex(8)}")
    configure_logs(settings.log_level, settings.log_format)
    errand = Errand(job_id)
    await run_worker(settings, errand)
    if errand.lost:
        raise StoreError(str(errand.lost)) from errand.lost
    if errand.closed == "model server" and not errand.taken:
        raise fail("the model server is not usable: see the lines above, then try again.", EX_UNAVAILABLE)
    return list(dict.fromkeys(errand.taken))


def _told(row: JsonObject) -> JsonObject:
    return {"job_id": row["id"], **{name: row.get(name) for name in TOLD}}


def _not_pending(row: JsonObject) -> click.exceptions.Exit:
    if row["status"] == "pending":  # its row was locked, or it was in work elsewhere for a moment
        return fail(f"job {row['id']} was held by another worker or call at that moment: try again.", EX_TEMPFAIL)
    return fail(f"job {row['id']} is {row['status']}: only a pending job can be processed.", EX_DATAERR)


def _judge(rows: list[JsonObject]) -> None:
    """The exit code; the reasons of what is not completed on stderr."""
    codes = {"completed": 0, "failed": EX_DATAERR, "cancelled": EX_DATAERR}
    ends = [(codes.get(row["status"], EX_TEMPFAIL), row) for row in rows if row["status"] != "completed"]
    for code, row in ends:
        back = " It is back in the queue: process it again, or leave it to a worker." if code == EX_TEMPFAIL else ""
        fail(f"job {row['id']} is {row['status']}: {row['error_message'] or 'no reason is noted.'}{back}", code)
    if ends:
        raise click.exceptions.Exit(min(code for code, _ in ends))
