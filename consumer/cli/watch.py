"""The command watch, and the same for `submit --wait`: jobs live, until the one that is watched has ended."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from consumer.cli.common import checked_job_id, command, fail, no_such_job, quiet_logs, with_store
from consumer.settings import load_settings
from consumer.sysexits import EX_DATAERR

if TYPE_CHECKING:
    from consumer.replies import JobState
    from consumer.settings import Settings
    from consumer.store import Store


@click.command()
@click.argument("job_id", required=False, callback=checked_job_id)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line per change.")
@command
async def watch(job_id: str | None, as_json: bool) -> None:
    """Watch a job, live, until it has ended: progress, phase, and the nodes as they come. Without JOB_ID: all jobs.

    Exit code 0 when the job is completed, 65 when it has failed or was cancelled. Ctrl-C stops the watching only.

    \b
    Example:
      consumer watch job_1764000000_0a1b2c3d4e
    """
    await follow(job_id, as_json)


async def follow(job_id: str | None, as_json: bool) -> None:
    """Show a job until it has ended, or all jobs until Ctrl-C.

    Raises:
        Exit: there is no such job, or it is not completed.
    """
    settings = load_settings()
    quiet_logs(settings)
    last = await with_store(lambda store: _watched(store, settings, job_id, as_json))
    if job_id is not None and last is None:
        raise no_such_job(job_id)
    if last is not None and last.status != "completed":
        raise fail(f"job {last.id} is {last.status}. Start it again: consumer retry {last.id}", EX_DATAERR)


async def _watched(store: Store, settings: Settings, job_id: str | None, as_json: bool) -> JobState | None:
    from consumer.cli.progress import ProgressView
    from consumer.reader import Reader
    from consumer.realtime_client import new_client
    from consumer.watching import Watching

    key = settings.supabase_service_role_key.get_secret_value()
    with nullcontext() if as_json else ProgressView(many=job_id is None) as view:
        return await Watching(
            Reader(store.database), lambda: new_client(settings.realtime_url, key), job_id=job_id,
            show=view.show if view else lambda state: click.echo(state.model_dump_json()),
            say=lambda words: click.echo(f"consumer: {words}", err=True),
        ).run()  # fmt: skip
