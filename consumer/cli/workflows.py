"""Commands about workflows themselves: validate."""

from __future__ import annotations

import json
from typing import IO, Any

import click

from consumer.cli.common import EX_DATAERR, fail, print_json

# The table takes 4 MiB (sql_migrations/13); this leaves room for blanks.
MAX_BYTES = 16 * 2**20


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--json", "as_json", is_flag=True, help="Print the violations as JSON.")
def validate(file: IO[bytes], as_json: bool) -> None:
    """Check a workflow (flat form, JSON) against every rule; needs no server. FILE may be - for standard input.

    \b
    Example:
      consumer validate workflow.json
    """
    from schemas.catalog import Catalog
    from schemas.validator import validate_workflow

    name = getattr(file, "name", "<stdin>")
    try:
        workflow = json.loads(_text(file), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise fail(f"{name} is not usable JSON: {error}", EX_DATAERR) from error
    violations = validate_workflow(workflow, Catalog.load())
    if as_json:
        print_json([violation.as_json() for violation in violations])
    for violation in [] if as_json else violations:
        click.echo(f"{violation.code:28} {violation.pointer or '/'}  {violation.message}")
    if violations:
        raise fail(f"{name}: {len(violations)} violation(s)", EX_DATAERR)
    click.echo(f"{name}: valid", err=True)


def _text(file: IO[bytes]) -> str:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES // 2**20} MiB")
    return data.decode("utf-8-sig")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers would see two workflows in an object that names a key twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names a key twice")
    return found
