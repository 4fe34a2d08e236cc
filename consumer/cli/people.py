"""Commands of the people who want workflows: submit, status, cancel, retry."""

from __future__ import annotations

import json
from typing import Any

import click

from consumer.cli.common import checked_job_id, command, fail, no_such_job, print_json, with_store
from consumer.cli.watch import follow
from consumer.errors import StoreError
from consumer.job import JsonObject
from consumer.replies import Decision
from consumer.sysexits import EX_DATAERR

# By the names that sql_migrations/13_workflow_generation_jobs.sql gives its rules, and two SQLSTATEs.
REFUSALS = {
    "workflow_job_prompt_size": "PROMPT: must have 1 to 20,000 characters and not only blanks. Shorten or fill it.",
    "workflow_job_edit_has_workflow": "--mode edit: no workflow to edit. Name it with --current-workflow FILE.",
    "workflow_job_input_sizes": "--current-workflow or --config: is too large (2 MiB and 256 KiB). Make it smaller.",
    "workflow_job_idempotency_key_size": "--idempotency-key: must have 1 to 200 characters. Shorten it.",
    "23503": "--user-id: there is no such user. Take the id from Authentication > Users.",
    "22P02": "--user-id: is not a uuid. Take the id from Authentication > Users.",
    "workflow_job_json_readable": "--current-workflow or --config: is nested deeper than 63 levels, or holds a number "
    "beyond 1e308. Make it plainer.",
    "in the request or the answer": "PROMPT or a JSON value: cannot be written as JSON text. Remove what is not text.",
    "22P05": "PROMPT or a JSON value: holds a NUL character, which cannot be stored. Remove it.",
}


def _json_object(context: click.Context, parameter: click.Parameter, value: str | None) -> JsonObject | None:
    if value is None:
        return None
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise click.BadParameter('must be a JSON object, e.g. \'{"webhookUrl": "https://…"}\'')
    return parsed


@click.command()
@click.argument("prompt")
@click.option("--mode", type=click.Choice(["create", "edit"]), default="create", show_default=True)
@click.option("--current-workflow", type=click.File(), help="File with the workflow to edit (mode edit).")
@click.option("--config", callback=_json_object, help="JSON object of values that nodes may use.")
@click.option("--user-id", help="Submit for this user (uuid).")
@click.option("--idempotency-key", help="Repeating with the same key gives the same job.")
@click.option("--wait", is_flag=True, help="Watch the job until it has ended, as `consumer watch` does.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --wait, one line per change.")
@command
async def submit(prompt: str, current_workflow: Any, wait: bool, as_json: bool, **fields: Any) -> None:
    """Submit a job with the service key and print its id.

    With --wait the exit code is 0 when the job is completed, 65 when it has failed or was cancelled.

    \b
    Example:
      consumer submit "Every morning at 9, post the open orders to Slack" --wait
    """
    workflow = _json_object_file(current_workflow)
    answer = await with_store(
        lambda store: store.submit(prompt=prompt, current_workflow=workflow, **fields), known=_refused
    )
    if not (as_json and wait):
        print_json(answer) if as_json else click.echo(answer["job_id"])
    if wait:
        await follow(answer["job_id"], as_json)


@click.command()
@click.argument("job_id", callback=checked_job_id)
@click.option("--json", "as_json", is_flag=True, help="Print the whole row as JSON.")
@command
async def status(job_id: str, as_json: bool) -> None:
    """Show how a job is doing.

    \b
    Example:
      consumer status job_1764000000_0a1b2c3d4e
    """
    row = await with_store(lambda store: store.job_row(job_id))
    if row is None:
        raise no_such_job(job_id)
    if as_json:
        print_json(row)
        return
    for name in ("id", "status", "current_phase", "progress_percentage", "created_at", "started_at", "finished_at",
                 "duration_ms", "worker_id", "attempt", "retry_count", "error_message"):  # fmt: skip
        if row.get(name) is not None:
            click.echo(f"{name:20} {row[name]}")


@click.command()
@click.argument("job_id", callback=checked_job_id)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def cancel(job_id: str, as_json: bool) -> None:
    """Cancel a job: one that waits at once, one in work as soon as its worker hears of it.

    \b
    Example:
      consumer cancel job_1764000000_0a1b2c3d4e
    """
    decision = await with_store(lambda store: store.cancel(job_id))
    _show(job_id, decision, as_json, "only a job that is pending or processing can be cancelled")


@click.command()
@click.argument("job_id", callback=checked_job_id)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def retry(job_id: str, as_json: bool) -> None:
    """Start a failed or cancelled job again, with all its retries.

    \b
    Example:
      consumer retry job_1764000000_0a1b2c3d4e
    """
    decision = await with_store(lambda store: store.retry(job_id))
    _show(job_id, decision, as_json, "only a job that failed or was cancelled can be started again")


def _show(job_id: str, decision: Decision, as_json: bool, rule: str) -> None:
    """The job and its status; a job still in work has been asked to stop."""
    if not decision.found:
        raise no_such_job(job_id)
    if not decision.accepted:
        raise fail(f"job {job_id} is {decision.status}: {rule}.", EX_DATAERR)
    asked = ", asked to stop" if decision.status == "processing" else ""
    print_json({"job_id": job_id, **decision.model_dump()}) if as_json else click.echo(
        f"{job_id} {decision.status}{asked}"
    )


def _refused(error: StoreError) -> click.exceptions.Exit | None:
    sentence = refusal(str(error))
    return fail(sentence, EX_DATAERR) if sentence else None


def refusal(message: str) -> str | None:
    """The broken rule, or the bad value, as a sentence for the one who submits; None when it is neither."""
    return next((sentence for rule, sentence in REFUSALS.items() if rule in message), None)


def _json_object_file(file: Any) -> JsonObject | None:
    if file is None:
        return None
    try:
        parsed = json.load(file)
    except (ValueError, RecursionError) as error:
        raise fail(f"--current-workflow: {file.name} is not JSON: {error}", EX_DATAERR) from error
    if not isinstance(parsed, dict):
        raise fail(f"--current-workflow: {file.name} must hold a JSON object", EX_DATAERR)
    return parsed
