"""Commands about workflows themselves: validate."""

from __future__ import annotations

import json
from typing import IO

import click

from consumer.cli.common import fail, print_json

EX_DATAERR = 65


@click.command()
@click.argument("file", type=click.File())
@click.option("--json", "as_json", is_flag=True, help="Print the violations as JSON.")
def validate(file: IO[str], as_json: bool) -> None:
    """Check a workflow (flat form, JSON) against every rule; needs no server. FILE may be - for standard input.

    \b
    Example:
      consumer validate workflow.json
    """
    from schemas.catalog import Catalog
    from schemas.validator import validate_workflow

    try:
        workflow = json.load(file)
    except (ValueError, RecursionError) as error:
        raise fail(f"{file.name} is not JSON: {error}", EX_DATAERR) from error
    violations = validate_workflow(workflow, Catalog.load())
    if as_json:
        print_json([violation.as_json() for violation in violations])
    for violation in [] if as_json else violations:
        click.echo(f"{violation.code:28} {violation.pointer or '/'}  {violation.message}")
    if violations:
        raise fail(f"{file.name}: {len(violations)} violation(s)", EX_DATAERR)
    click.echo(f"{file.name}: valid", err=True)
