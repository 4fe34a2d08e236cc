"""Commands that look at one finished job: show (its workflow as a picture) and replay (today's rules on it)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from consumer.cli.common import checked_job_id, command, fail, no_such_job, print_json, with_store
from consumer.job import Job, JsonObject
from consumer.sysexits import EX_CANTCREAT, EX_DATAERR, EX_DIFFERENT
from schemas.clean import one_line

if TYPE_CHECKING:
    from handlers.replay import Change, Replay

SIGNS = {"added": "+", "removed": "-", "changed": "~"}
NEXT = {
    "pending": "Wait for it: consumer status",
    "processing": "Wait for it: consumer status",
    "failed": "Start it again: consumer retry",
    "cancelled": "Start it again: consumer retry",
}


@click.command()
@click.argument("job_id", callback=checked_job_id)
@click.option("--svg", type=click.Path(dir_okay=False), metavar="FILE", help="Write a picture to FILE (- prints it).")
@click.option("--mermaid", "form", flag_value="mermaid", help="Print a Mermaid flowchart.")
@click.option("--json", "form", flag_value="json", help="Print the workflow as it is stored (flat form).")
@click.option("--editor-form", "form", flag_value="editor", help="Print the workflow as the editor loads it, JSON.")
@command
async def show(job_id: str, svg: str | None, form: str | None) -> None:
    """Show the workflow of a completed job: its nodes in order with their settings, and what is to be filled in.

    Values of credentials are shown by --json and --editor-form only.

    \b
    Example:
      consumer show job_1764000000_0a1b2c3d4e --svg workflow.svg
    """
    from schemas.catalog import Catalog
    from schemas.picture import svg as drawn

    if svg and form:
        raise click.UsageError("--svg cannot be combined with another form. Ask for one at a time.")
    workflow = _workflow(await _row(job_id))
    if svg:
        _write(svg, drawn(workflow, Catalog.load()))
    else:
        _print(workflow, form)


def _write(place: str, text: str) -> None:
    try:
        with click.open_file(place, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise fail(f"--svg: cannot write {place} ({error.strerror}). Choose another file.", EX_CANTCREAT) from error


def _print(workflow: JsonObject, form: str | None) -> None:
    from handlers.editor import editor_form
    from handlers.outline import outline
    from schemas.catalog import Catalog
    from schemas.picture import mermaid

    match form:
        case "json":
            print_json(workflow)
        case "editor":
            print_json(editor_form(workflow))
        case "mermaid":
            click.echo(mermaid(workflow, Catalog.load()), nl=False)
        case _:
            click.echo(outline(workflow, Catalog.load()))


@click.command()
@click.argument("job_id", callback=checked_job_id)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def replay(job_id: str, as_json: bool) -> None:
    """Run today's repair and validator on a job's stored answers, without a model, and show what is different.

    Where the answers are gone, the stored workflow itself is repaired and judged. Exit code 0: the same; 1: different.

    \b
    Example:
      consumer replay job_1764000000_0a1b2c3d4e
    """
    from handlers.replay import differences
    from handlers.replay import replay as replayed

    row = await _row(job_id)
    stored = _workflow(row) if row["status"] == "completed" else None
    found = replayed(_job(row), stored)
    if found is None:
        raise _unfinished(row)
    changes = differences(stored, found.workflow) if stored and found.workflow else []
    same = not changes and (stored is None) == (found.workflow is None)
    if as_json:
        print_json(_as_json(same, found, changes))
    else:
        _tell(same, found, changes)
    if not same:
        raise click.exceptions.Exit(EX_DIFFERENT)


async def _row(job_id: str) -> JsonObject:
    row = await with_store(lambda store: store.job_row(job_id))
    if row is None:
        raise no_such_job(job_id)
    return row


def _workflow(row: JsonObject) -> JsonObject:
    """The stored workflow; of sound shape, so that everything can be drawn."""
    from schemas import rules_shape

    workflow: JsonObject | None = row["workflow_result"]
    if row["status"] != "completed" or workflow is None:
        raise _unfinished(row)
    if broken := next(iter(rules_shape.check(workflow)), None):
        where = one_line(broken.pointer, 200) or "/"
        raise fail(f"job {row['id']} holds no workflow that can be shown: {where} {broken.message}", EX_DATAERR)
    return workflow


def _unfinished(row: JsonObject) -> click.exceptions.Exit:
    status = row["status"]
    return fail(f"job {row['id']} is {status}: it has no workflow. {NEXT[status]} {row['id']}", EX_DATAERR)


def _as_json(same: bool, found: Replay, changes: list[Change]) -> JsonObject:
    return {
        "same": same,
        "source": found.source,
        "changes": [change.as_json() for change in changes],
        "repairs": list(found.repairs),
        "violations": [violation.as_json() for violation in found.violations],
    }


def _tell(same: bool, found: Replay, changes: list[Change]) -> None:
    told = {"answers": "the stored answers", "workflow": "the stored workflow (its answers are not kept)"}
    click.echo(f"Replayed from {told[found.source]}: {'the same' if same else 'different'}")
    for repair in found.repairs:
        click.echo(f"repair {repair['code']:28} {one_line(repair['pointer'], 200)}  {one_line(repair['message'], 300)}")
    for violation in found.violations:
        where = one_line(violation.pointer, 200) or "/"
        click.echo(f"broken {violation.code:28} {where}  {violation.message} {violation.fix}")
    for change in changes:
        click.echo(_line(change))


def _line(change: Change) -> str:
    head = f"{SIGNS[change.kind]} {one_line(change.what, 200)}"
    if not change.field:
        return f"{head} [{one_line(change.type)}]" if change.type else head
    before, after = (_value(change, value) for value in (change.before, change.after))
    said = {"added": after, "removed": before, "changed": f"{before} -> {after}"}[change.kind]
    return f"{head} {one_line(change.field)}: {said}"


def _value(change: Change, value: object) -> str:
    from handlers.outline import shown_value
    from schemas.catalog import Catalog

    return shown_value(change.type, change.field.removeprefix("config."), value, Catalog.load())


def _job(row: JsonObject) -> Job:
    try:
        return Job.model_validate(row)
    except ValidationError as error:
        fields = ", ".join(sorted({str(wrong["loc"][0]) for wrong in error.errors()}))
        raise fail(f"job {row['id']} cannot be read: {fields} is not as expected", EX_DATAERR) from error
